"""The MCP SDK: its messages, and its server objects."""

import json
from typing import Any

import pytest
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.message import SessionMessage

from mcpnatsd.transport import sdk

LINES = [
    {"jsonrpc": "2.0", "id": "7", "method": "x/y", "params": {"a": None, "_meta": {"b": "ü"}}},
    {"jsonrpc": "2.0", "method": "notifications/x"},
    {"jsonrpc": "2.0", "id": 0, "result": {"resultType": "complete", "n": [1.5, None]}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no", "data": None}},
]


@pytest.mark.parametrize("message", LINES)
def test_a_message_keeps_all_that_it_says(message: dict[str, Any]) -> None:
    item = sdk.decode(json.dumps(message).encode())

    assert isinstance(item, SessionMessage)
    assert json.loads(sdk.encode(item)) == message


@pytest.mark.parametrize("server", [MCPServer("mine"), Server("mine")])
def test_a_server_object_is_known_by_its_own_name(server: Any) -> None:
    assert sdk.name_of(server) == "mine"
    assert sdk.body_of(server)


def test_a_function_of_two_streams_is_a_server() -> None:
    async def mine(_read: object, _write: object) -> None: ...

    assert sdk.body_of(mine) is mine
    assert sdk.name_of(mine).endswith("mine")


@pytest.mark.parametrize("server", [None, "github", MCPServer, 7])
def test_what_is_no_server_is_refused(server: Any) -> None:
    with pytest.raises(TypeError, match="no server"):
        sdk.body_of(server)


def test_a_class_in_place_of_its_object_is_named() -> None:
    with pytest.raises(TypeError, match="the class MCPServer"):
        sdk.body_of(MCPServer)
