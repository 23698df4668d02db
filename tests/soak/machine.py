"""The processes of a soak, seen from outside: whose they are, and what they hold."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "MCPNATSD_SOAK"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    command: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds at a time."""

    at: float
    rss: int
    files: int


def marked(token: str) -> dict[int, Process]:
    """Return the processes that run with the mark of a soak, zombies left out."""
    sought = f"{MARK}={token}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if sought not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(folder.name)] = Process(int(folder.name), int(fields[1]), command)
    return found


def orphans(token: str, root: int) -> dict[int, Process]:
    """Return the marked processes that do not descend from the root."""
    return {pid: one for pid, one in marked(token).items() if not descends(pid, root)}


def descends(pid: int, root: int) -> bool:
    while pid > 1 and pid != root:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return True  # it is gone
        pid = int(stat.rpartition(")")[2].split()[1])
    return pid == root


def doing(pid: int) -> str:
    """Return what a process that does not answer is busy with, for all that the system tells."""
    found = []
    for name in ("stat", "wchan", "stack"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text(errors="replace").strip()
        except OSError as error:
            text = str(error)
        found.append(text.rpartition(")")[2].split()[0] if name == "stat" else text[:300])
    return " | ".join(found)


def held(pid: int, at: float) -> Held:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    rss = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return Held(at, rss, open_files(pid))


def open_files(pid: int) -> int:
    """Count what a process has open, without pipes: there are as many as servers run just now."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found += not str(link.readlink()).startswith("pipe:")
    return found
