"""Debian trees to boot, built once and kept below `.cache/trees/`. Nobody writes into them."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

CACHE = (Path(__file__).resolve().parents[2] / ".cache").resolve() / "trees"
SUITES = ("bookworm", "trixie")
"""Debian 12 with systemd 252 and Python 3.11, Debian 13 with systemd 257 and Python 3.13."""

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "ca-certificates")
TOOLS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}


def install_tools() -> None:
    """Have the system's packages bring what builds and boots trees."""
    missing = [package for program, package in TOOLS.items() if not shutil.which(program)]
    if missing:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "--quiet=2", "--no-install-recommends", "--yes"]
        for argv in ([*apt, "update"], [*apt, "install", *missing]):
            subprocess.run(argv, env=quiet, stdin=subprocess.DEVNULL, check=True)


def tree(suite: str, *packages: str) -> Path:
    """Return the folder of a minimal Debian with systemd and Python; `packages` are added to it."""
    folder = CACHE / "+".join((suite, *packages))
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps([*PACKAGES, *packages])
    stamp = folder.with_name(f"{folder.name}.json")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            _build(suite, (*PACKAGES, *packages), folder)
            stamp.write_text(wanted, "utf-8")
    return folder


def _build(suite: str, packages: Sequence[str], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
         f"--include={','.join(packages)}", suite, str(folder)],
        stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
