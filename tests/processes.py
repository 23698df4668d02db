"""Processes of this machine, looked at from outside."""

from pathlib import Path

from tests.waiting import until

BOUND = 20.0


def state(pid: int) -> str:
    """Return the letter of its state, such as S or T; empty when it is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    letter = stat.rpartition(")")[2].split()[0]
    return "" if letter in "ZX" else letter


def descendants(pid: int) -> set[int]:
    """Return the pids of everything that a process started, and what that started."""
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            started = {int(number) for number in listing.read_text(encoding="ascii").split()}
        except OSError:
            continue  # the thread ended
        found |= started.union(*map(descendants, started))
    return found


def resident_bytes(pid: int) -> int:
    """Return how much memory a process alone holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def gone(*pids: int, bound: float = BOUND) -> None:
    """Return when none of these processes is there any more."""
    await until(lambda: not any(map(state, pids)), bound)
