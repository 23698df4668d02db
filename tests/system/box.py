"""A box: a Debian tree booted with systemd as PID 1, for one test or for many.

    with Box(tree("bookworm")) as box:
        box.put(package, "/root/mcpnatsd.deb")             # copy a file or a folder in
        box.write("/etc/mcpnatsd.yaml", "servers: {}\n")   # with mode=0o644
        box.run("dpkg", "-i", "/root/mcpnatsd.deb")        # raises with both outputs on failure
        done = box.run("systemctl", "reload", "mcpnatsd", check=False)   # done.returncode, .stdout
        box.show("mcpnatsd")["StatusText"]                 # `systemctl show`, as a mapping
        box.journal("mcpnatsd")                            # entries, as mappings of their fields
        box.processes()                                    # pid there -> command line
        box.read("/etc/mcpnatsd.yaml"); box.path("/run/x") # the box's files, seen from here

What a box writes is gone with it: its root is the tree under an overlay in memory, so boxes of the
same tree start at once and beside each other. It has a network of its own that leads nowhere but
to its loopback. `binds` are folders of this machine it may read. It costs about a second.

Nothing of it outlives its end, nor the end of the tests by whatever signal: it lives in namespaces
and cgroups of its own.
"""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.cgroups import Cgroups

BOOT_TIMEOUT = 60.0
RUN_TIMEOUT = 120.0
_VARIABLES = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
    "DEBIAN_FRONTEND=noninteractive",
)
_ENTER = ("--mount", "--uts", "--ipc", "--net", "--pid")
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'
_HIDE = 'mkdir -p /run/systemd && mount -t tmpfs box /run/systemd && exec "$@"'
"""What nspawn makes for its containers is gone with it, too."""

_numbers = itertools.count(1)


class Box:
    """One running system. Made stopped; `with` boots it, and ends it."""

    def __init__(self, tree: Path, *, binds: Mapping[Path, str] | None = None) -> None:
        self._tree = tree
        self._binds = binds or {}
        self._cgroups: Cgroups | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._console = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe could fill up
        self.leader = 0
        """The box's PID 1, as this machine numbers it."""

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What a test does with it.

    def run(
        self, *argv: str, check: bool = True, timeout: float = RUN_TIMEOUT, text: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as root, with a text as its stdin; its failure raises if `check`."""
        enter = ["nsenter", "--target", str(self.leader), *_ENTER, "--wdns=/", "--", "env", "-i"]
        done = subprocess.run(
            [*enter, *_VARIABLES, *argv],
            input=text, capture_output=True, encoding="utf-8", errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"{shlex.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def path(self, inside: str) -> Path:
        """Return where this machine sees a file of the box."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def read(self, inside: str) -> str:
        return self.path(inside).read_text("utf-8")

    def write(self, inside: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of root's, with its folder."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)

    def put(self, ours: Path, inside: str) -> None:
        """Copy a file or a folder in, as it is."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        if ours.is_dir():
            shutil.copytree(ours, path, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(ours, path)

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties that systemd shows of a unit."""
        lines = self.run("systemctl", "show", unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, unit: str, *more: str) -> list[dict[str, str]]:
        """Return what the journal has of a unit: entries as mappings of their fields."""
        self.run("journalctl", "--sync")
        argv = ["journalctl", "--output=json", "--all", "--unit", unit, *more]
        done = self.run(*argv, check=False)  # 1: nothing was found
        assert not done.stderr, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def processes(self) -> dict[int, str]:
        """Return the command lines of all its processes, by their pid there."""
        found = {}
        ours = self._namespace(self.leader)
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            if self._namespace(pid) == ours and (status := _status(pid)):
                words = _bytes(folder / "cmdline").replace(b"\0", b" ").decode(errors="replace")
                found[int(status["NSpid"].split()[-1])] = words.strip() or f"[{status['Name']}]"
        return found

    def signal(self, name: str, pid: int) -> None:
        """Send a signal, such as KILL; a minimal Debian has no program that does."""
        self.run("sh", "-c", f"kill -{name} {pid}")

    def until(self, condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
        """Return as soon as the condition holds; fail when it does not in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen in time: {what}"
            time.sleep(0.02)

    def close(self) -> None:
        """End it at once, and see that nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self.until(lambda: not runs(self.leader), "its PID 1 is dead")
        self._console.close()
        if self._cgroups is not None:
            cgroups, self._cgroups = self._cgroups, None
            left: list[Path] = []

            def removed() -> bool:
                left[:] = cgroups.remove()
                return not left

            self.until(removed, f"the box left {left}")

    # How it comes up.

    def _boot(self) -> None:
        number = next(_numbers)
        self._cgroups = Cgroups(number)
        binds = [f"--bind-ro={ours}:{inside}" for ours, inside in self._binds.items()]
        argv = [
            "sh", "-c", _JOIN, "sh", *self._cgroups.doors, "--",
            # Should the tests be killed, this is killed; then all in its namespace of pids is.
            "setpriv", "--pdeathsig", "KILL", "--",
            "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--",
            "sh", "-c", _HIDE, "sh",
            "systemd-nspawn", "--directory", str(self._tree), "--volatile=overlay", "--boot",
            f"--machine=box-{number}", "--register=no", "--keep-unit", "--private-network",
            "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off", *binds,
        ]  # fmt: skip
        own = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0"}
        self._process = subprocess.Popen(
            argv, env={**os.environ, **own}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.until(self._found_leader, "a PID 1", BOOT_TIMEOUT)
        self.until(self._is_up, "systemd is up", BOOT_TIMEOUT)

    def _found_leader(self) -> bool:
        """Find the PID 1 of the namespace within nspawn's own, once it is systemd."""
        pending = [self._alive()]
        depth = len(_numbers_of(pending[0])) + 2
        while pending:
            pid = pending.pop()
            numbers = _numbers_of(pid)
            if len(numbers) == depth and numbers[-1] == "1" and _status(pid)["Name"] == "systemd":
                self.leader = pid
                return True
            pending += _children(pid)
        return False

    def _is_up(self) -> bool:
        self._alive()
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _alive(self) -> int:
        """Return the pid of what keeps the box; fail with its last words when that ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            self._console.seek(0)
            said = self._console.read().decode(errors="replace")
            raise AssertionError(f"the box ended: {said[-2000:]}")
        return self._process.pid

    def _namespace(self, pid: int) -> str:
        try:
            return str(Path(f"/proc/{pid}/ns/pid").readlink())
        except OSError:
            return ""


def runs(pid: int) -> bool:
    """Tell whether a process of this machine runs: whoever is dead and not buried does not."""
    return _status(pid).get("State", "Z")[0] not in "XZ"


def _status(pid: int) -> dict[str, str]:
    text = _bytes(Path(f"/proc/{pid}/status")).decode(errors="replace")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _numbers_of(pid: int) -> list[str]:
    """Return a process' pid in each namespace, from ours inwards."""
    return _status(pid).get("NSpid", "").split()


def _children(pid: int) -> list[int]:
    return [int(one) for one in _bytes(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
