"""The greeting: nothing in it acts on a terminal, and nobody need be there to read it."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.recall import Recall
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.daemon import banner
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Response


def view(*tools: str, fault: str | None = None) -> Any:
    """Return what the banner looks at of a daemon with one server."""
    catalogue = Catalogue(ServerConfig(name="one", command=("serve",)), Recall(None))
    result = {"tools": [{"name": name} for name in tools]}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    response = jsonrpc.decode(line)
    assert isinstance(response, Response)
    catalogue.learn_page(response, line)
    return SimpleNamespace(
        version="1",
        embedded=False,
        connection=SimpleNamespace(url="nats://here", connected=True),
        bridges=(SimpleNamespace(server="one", catalogue=catalogue, last_fault=fault),),
        frontends=(),
        closed=(),
    )


def test_what_a_server_says_is_escaped() -> None:
    tools = banner.text(view("a\x1b[2J", "b\nfake"))
    fault = banner.text(view(fault="its last words: \x1b]0;title\x07"))

    assert r"a\x1b[2J, b\nfake" in tools
    assert r"\x1b]0;title\x07" in fault
    assert "\x1b" not in tools + fault


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as stream:
        banner.show(view("né"), stream)

    assert r"n\xe9" in path.read_text(encoding="ascii")


def test_nobody_need_read_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        banner.show(view("a"), stream)  # and its close has nothing left to write
    banner.show(view("a"), stream)
    banner.show(view("a"), None)
