"""How the files of a configuration look: enough to see that one is not what it was.

Their content is not read. A link is followed, so another target is another look.
"""

from collections.abc import Iterable
from pathlib import Path

from mcpnatsd.config.dropins import folder_of

Looks = dict[Path, tuple[int, ...]]


def looks_of(path: Path, named: Iterable[Path]) -> Looks:
    """Return how a configuration file, its drop-ins and the files that they name look now."""
    drop_ins = folder_of(path)
    return {one: _look(one) for one in {path, drop_ins, *named, *_within(drop_ins)}}


def _within(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _look(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    # What chmod and chown change is told by ctime alone: a file may now be ours to read, or not.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
