"""Cgroups of a box's own, in every hierarchy of this machine.

A systemd that starts in a cgroup it shares moves other processes about, and two of them under one
parent take each other's units for their own.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NAME = re.compile(r"mcpnatsd-box-(\d+)-\d+")


class Cgroups:
    """One cgroup per hierarchy, made at once and removed by `remove`."""

    def __init__(self, number: int) -> None:
        sweep()
        name = f"mcpnatsd-box-{os.getpid()}-{number}"
        self._folders = [folder / name for folder in own()]
        for folder in self._folders:
            folder.mkdir(exist_ok=True)

    @property
    def doors(self) -> list[str]:
        """The files that a process writes itself into."""
        return [str(folder / "cgroup.procs") for folder in self._folders]

    def remove(self) -> list[Path]:
        """Remove them with all below; return what could not be removed."""
        return [left for folder in self._folders for left in _removed(folder)]


def sweep() -> None:
    """Remove what a run left that was killed."""
    for top in own():
        for folder in top.iterdir():
            match = NAME.fullmatch(folder.name)
            if match and not Path("/proc", match[1]).exists():
                _removed(folder)


def is_anothers(folder: Path) -> bool:
    """Tell whether a box's cgroup belongs to another process that runs."""
    match = NAME.fullmatch(folder.name)
    return bool(match and match[1] != str(os.getpid()) and Path("/proc", match[1]).exists())


def own() -> Iterator[Path]:
    """Yield our cgroup of each hierarchy. A cpuset takes nobody before it was told its CPUs."""
    ours = dict(_memberships())
    mounts = (line.split() for line in Path("/proc/mounts").read_text("utf-8").splitlines())
    for _device, place, kind, options, *_rest in mounts:
        if kind == "cgroup2":
            yield Path(place + ours[""])
        elif kind == "cgroup":
            name = next((one for one in options.split(",") if one in ours), "cpuset")
            if "cpuset" not in options.split(","):
                yield Path(place + ours[name])


def _memberships() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, "" if path == "/" else path


def _removed(folder: Path) -> list[Path]:
    below = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for path in (*below, folder):
        with suppress(OSError):
            path.rmdir()
    return [path for path in (*below, folder) if path.exists()]
