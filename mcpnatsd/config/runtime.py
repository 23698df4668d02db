"""The files by which a running daemon is found on its machine.

`NAME.json` says where its NATS is, `NAME.sock` is its control socket. An operator's credentials are
never written here; the token of an embedded NATS is, because nobody else could know it.
Imported by the shim: standard library only.
"""

import json
import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from mcpnatsd.errors import ConfigError, UsageError

OVERRIDE: Final = "MCPNATSD_RUNTIME_DIRECTORY"
"""Names the only folder that counts, for a daemon and for its clients."""

MOST_SOCKET_BYTES: Final = 103
"""Of a unix socket's path: 108 on Linux, 104 on macOS, each with a final NUL."""

_BEGAN: Final = "began"
"""Of a daemon's file: tells its process from a later one of the same number."""

_TICKS_AT: Final = 19
"""proc_pid_stat(5): `starttime` is the 22nd field, and the name in brackets is the second."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SYSTEM: Final = Path("/run/mcpnatsd")
"""Of the system's daemon. Beside it, `mcpnatsd-NAME` is of the unit `mcpnatsd@NAME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One daemon that runs, as its file says."""

    name: str
    pid: int
    instance: str
    prefix: str
    url: str
    """Where it is connected. No credentials."""

    urls: tuple[str, ...]
    """All that it may use. No credentials."""

    started: str
    token: str | None = None
    """Of an embedded NATS only."""


def checked_name(name: str) -> str:
    """Return the name of a daemon, if it can be one.

    Raises:
        UsageError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} names no daemon: only letters, digits, _ and - may stand in it")
    return name


def own_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder for a daemon's files, and see that it is there and ours alone.

    Raises:
        ConfigError: It cannot be made, or is somebody else's.
    """
    folder = _candidates(environ)[0]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}; set {OVERRIDE}") from None
    if not _is_trusted(folder):
        raise ConfigError(f"{folder} is not ours alone; remove it, or set {OVERRIDE}")
    return folder


def socket_path(folder: Path, name: str) -> Path:
    """Return where a daemon's control socket is.

    Raises:
        ConfigError: The path is longer than the system allows.
    """
    path = folder / f"{name}.sock"
    if len(os.fsencode(path)) > MOST_SOCKET_BYTES:
        raise ConfigError(
            f"{path} is too long for a unix socket ({MOST_SOCKET_BYTES} bytes); "
            f"set {OVERRIDE} to a shorter one"
        )
    return path


def write(folder: Path, running: Running) -> Path:
    """Write a daemon's file; readers see the old one or the new one, nothing between.

    Raises:
        ConfigError: Another daemon of that name runs, or the folder cannot be written to.
    """
    path = folder / f"{running.name}.json"
    refuse_second(folder, running.name, running.pid)
    text = json.dumps({**asdict(running), _BEGAN: _began(running.pid)})
    try:
        _replace(path, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return path


def refuse_second(folder: Path, name: str, pid: int) -> None:
    """See that no other daemon of this name runs, before anything is started for one.

    Raises:
        ConfigError: One does.
    """
    other = _read(folder / f"{name}.json")
    if other is not None and other.pid != pid:
        raise ConfigError(
            f"a daemon named {name!r} runs already, pid {other.pid}; "
            "stop it, or give this one another `name:` in its file"
        )


def remove(folder: Path, name: str) -> None:
    """Remove a daemon's files. Those that are gone are no fault."""
    for path in (folder / f"{name}.json", folder / f"{name}.sock"):
        path.unlink(missing_ok=True)


def running_daemons(environ: Mapping[str, str]) -> dict[Path, Running]:
    """Return the daemons that run on this machine and let us know, by their file."""
    found: dict[Path, Running] = {}
    for folder in dict.fromkeys(_candidates(environ)):
        if not _is_trusted(folder):
            continue
        for path in _json_files(folder):
            running = _read(path)
            if running is not None:
                found[path] = running
    return found


def find_daemon(environ: Mapping[str, str], name: str | None) -> tuple[Path, Running] | None:
    """Return the daemon of that name, or without one the only daemon that runs.

    Raises:
        UsageError: There is none of that name, or there are several to choose from.
    """
    found = running_daemons(environ)
    if name is not None:
        checked_name(name)
        found = {path: one for path, one in found.items() if one.name == name}
        if not found:
            raise UsageError(f"no daemon named {name!r} runs here, or this user may not know it")
    names = sorted({one.name for one in found.values()})
    if len(names) > 1:  # of one name in several folders, the first counts: no flag tells them apart
        raise UsageError(f"several daemons run here ({', '.join(names)}): choose one with --name")
    return next(iter(found.items()), None)


def _candidates(environ: Mapping[str, str]) -> list[Path]:
    """Return where files may be; a daemon uses the first."""
    if only := environ.get(OVERRIDE):
        return [Path(only)]
    folders = []
    if own := environ.get("RUNTIME_DIRECTORY"):
        folders.append(Path(own.split(":")[0]))  # systemd.exec: there may be several
    root = _uid() == 0
    if root:
        folders.append(_SYSTEM)
    if session := environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(session) / "mcpnatsd")
    folders.append(Path(_temporary(environ)) / f"mcpnatsd-{_uid()}")
    others = sorted(_SYSTEM.parent.glob(f"{_SYSTEM.name}-*"))
    return [*folders, *others] if root else [*folders, _SYSTEM, *others]


def _temporary(environ: Mapping[str, str]) -> str:
    """Return the folder for temporary files; `tempfile` would cost the shim its start-up time."""
    return environ.get("TMPDIR") or "/tmp"  # noqa: S108  # the folder in it is ours alone


def _uid() -> int:
    return -1 if sys.platform == "win32" else os.getuid()


def _is_trusted(folder: Path) -> bool:
    """Tell whether only we, or whom root trusts, could have put something there."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    # In /run only root makes a folder, and for whom it likes: systemd does for a unit's user.
    of_trusted = folder.parent == _SYSTEM.parent or status.st_uid in (0, _uid())
    if not stat.S_ISDIR(status.st_mode) or not of_trusted:
        return False
    return not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _json_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.json"))
    except OSError:
        return []


def _read(path: Path) -> Running | None:
    """Return the daemon of a file; None for one that ended without a goodbye, or is not ours."""
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name: members[field.name] for field in fields(Running)}
        running = Running(**{**known, "urls": tuple(known["urls"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if running.name != path.stem or not _lives(running.pid):
        return None
    # After a crash, or a boot, the number may be that of any other process.
    then, now = members.get(_BEGAN), _began(running.pid)
    return None if then is not None and now is not None and then != now else running


def _lives(pid: object) -> bool:
    if sys.platform == "win32" or not isinstance(pid, int) or pid <= 0:
        return False  # there is no daemon on Windows, and `kill(pid, 0)` would end something
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _began(pid: int) -> int | None:
    """Return when a process began, in ticks since the system did; None where that is not told."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat_line.rpartition(")")[2].split()[_TICKS_AT])
    except (OSError, ValueError, IndexError):
        return None


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  # 0600 from the start
        file.write(text)
    fresh.replace(path)
