"""The packages under test, built once from what is in this tree, and kept below `.cache/`."""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system.trees import CACHE

ROOT = Path(__file__).resolve().parents[2]
OUT = CACHE.parent / "system"
SOURCES = (
    "mcpnatsd",
    "systemd",
    "packaging",
    "etc",
    "pyproject.toml",
    "CHANGELOG.md",
    "README.md",
    "LICENSE",
)
KEPT = 4
"""Builds of other sources that stay: somebody may be installing one just now."""

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def deb() -> Path:
    """Return the deb for this machine."""
    return _built("*.deb")


def rpm() -> Path:
    """Return the rpm for this machine."""
    return _built("*.rpm")


@functools.cache
def _built(pattern: str) -> Path:
    OUT.mkdir(parents=True, exist_ok=True)
    folder = OUT / _digest()
    with (OUT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _build(folder)
    (found,) = folder.glob(pattern)
    return found


def _build(folder: Path) -> None:
    fresh = OUT / "fresh"
    folders = [one for one in OUT.iterdir() if one.is_dir()]
    kept = sorted(folders, key=lambda one: one.stat().st_mtime)
    for stale in (fresh, *kept[:-KEPT]):
        shutil.rmtree(stale, ignore_errors=True)
    argv = [sys.executable, "-m", "linux_packages", "--quick"]
    argv += ["--arch", MACHINES[platform.machine()], "--out", str(fresh)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "packaging")}
    subprocess.run(argv, env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, check=True)
    fresh.rename(folder)


def _digest() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        top = ROOT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
