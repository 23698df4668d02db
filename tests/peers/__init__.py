"""The real SDKs and servers we meet, and how to start them.

`install.py` puts them below `.cache/`; nothing here installs, and a peer that is missing fails.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache"

SDK1_PYTHON = CACHE / "sdk1" / "bin" / "python"
SDK2_PYTHON = Path(sys.executable)
SERVERS_BIN = CACHE / "servers" / "bin"
NODE = CACHE / "node" / "bin" / "node"
NPM_ROOT = CACHE / "npm"

# `peers` in NPM_ROOT is a link to this folder: node then finds the packages beside it.
_NODE = [str(NODE), "--preserve-symlinks", "--preserve-symlinks-main"]


def _script(name: str) -> list[str]:
    return [*_NODE, str(NPM_ROOT / "peers" / name)]


def _package(name: str) -> list[str]:
    return [str(NODE), str(NPM_ROOT / "node_modules" / "@modelcontextprotocol" / name)]


SERVERS = {
    "py1": [str(SDK1_PYTHON), str(HERE / "server_py.py")],
    "py2": [str(SDK2_PYTHON), str(HERE / "server_py.py")],
    "ts1": _script("server_ts1.mjs"),
    "ts2": _script("server_ts2.mjs"),
    "everything": _package("server-everything/dist/index.js"),
    "filesystem": _package("server-filesystem/dist/index.js"),
    "memory": _package("server-memory/dist/index.js"),
    "time": [str(SERVERS_BIN / "mcp-server-time"), "--local-timezone", "UTC"],
    "git": [str(SERVERS_BIN / "mcp-server-git")],
}

CLIENTS = {
    "py1": [str(SDK1_PYTHON), str(HERE / "client_py.py")],
    "py2": [str(SDK2_PYTHON), str(HERE / "client_py.py")],
    "ts1": _script("client_ts1.mjs"),
    "ts2": _script("client_ts2.mjs"),
}

TOOLS = [
    "add", "ask_model", "ask_user", "big", "cancelled", "echo", "fail", "grow",
    "progress", "slow", "touch",
]  # fmt: skip
"""What the four small servers offer, sorted."""

MODERN = "2026-07-28"


def command_of(name: str, *arguments: str) -> list[str]:
    """Return the command that starts a server on stdio."""
    return [*SERVERS[name], *arguments]


def serving_command(sdk: str, name: str, url: str, way: str) -> list[str]:
    """Return the command that puts a small Python server on NATS by itself: `serve` or `pair`."""
    python = {"py1": SDK1_PYTHON, "py2": SDK2_PYTHON}[sdk]
    return [str(python), str(HERE / "serve_py.py"), name, url, way]


def client_command(client: str, server: Sequence[str], *options: str) -> list[str]:
    """Return the command of a client that plays its script against a server's command."""
    return [*CLIENTS[client], *options, "--", *server]


def said(stderr: bytes | None) -> str:
    """Return the end of what a client wrote on stderr."""
    return (stderr or b"").decode("utf-8", "replace")[-4000:]


def findings(line: bytes) -> dict[str, Any]:
    """Read the one line that a client prints."""
    found: dict[str, Any] = json.loads(line)
    return found


def play(client: str, server: Sequence[str], *options: str, bound: float = 60) -> dict[str, Any]:
    """Run a client's script to its end, and return what it found.

    Args:
        client: One of `CLIENTS`.
        server: The command that the client shall start.
        options: `--mode legacy|auto|modern`, or `--call TOOL --arguments JSON`. With `--nats URL`
            a client by a Python SDK uses our transport, and `server` is a name on the bus. With
            `--over http|sse|ws` it is a URL.
        bound: Seconds until the client is killed.

    Raises:
        AssertionError: The client failed, or took too long; the message is what it wrote on stderr.
    """
    try:
        done = subprocess.run(
            client_command(client, server, *options),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=bound,
            check=False,
            env=dict(os.environ),
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{client} took over {bound} s:\n{said(late.stderr)}") from None
    assert done.returncode == 0, f"{client} ended with {done.returncode}:\n{said(done.stderr)}"
    return findings(done.stdout)


@functools.cache
def direct(client: str, server: str, mode: str) -> dict[str, Any]:
    """Return what a client finds at one of the small servers without us; played once a session."""
    return play(client, command_of(server), "--mode", mode)
