"""How much memory a process and its descendants hold, where /proc tells."""

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_MOST: Final = 256
"""Processes looked at: a number for a metric is not worth more."""


def rss_bytes(pid: int) -> int | None:
    """Return the resident memory of a process with all its descendants. None: it is gone."""
    own = _resident(pid)
    if own is None:
        return None
    total, pending = own, _descend(pid)
    for _ in range(_MOST):
        if not pending:
            break
        pid = pending.pop()
        total += _resident(pid) or 0
        pending += _descend(pid)
    return total


def _resident(pid: int) -> int | None:
    try:
        pages = (_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _descend(pid: int) -> list[int]:
    """Return the processes that any thread of this one started."""
    found: list[int] = []
    for listing in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            found += map(int, listing.read_text(encoding="ascii").split())
        except OSError:
            continue  # the thread ended
    return found
