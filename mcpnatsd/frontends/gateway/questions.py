"""What the gateway itself asks a server: its list of tools."""

from importlib import metadata
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError
from mcpnatsd.frontends.asking import ask
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.protocol import eras, jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Members, Request

MOST_PAGES: Final = 100

_list: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode


async def listed_tools(principal: Principal, server: str) -> list[Members]:
    """Return all tools that a server shows a principal, each member as it came.

    Raises:
        McpnatsdError: The server does not answer, or with an error.
    """
    found: list[Members] = []
    cursor: Raw | None = None
    for _ in range(MOST_PAGES):
        result = await _page(principal, server, cursor)
        try:
            found += _list(result.get("tools", Raw(b"[]")))
        except msgspec.DecodeError:
            raise McpnatsdError("its list of tools is no list of tools") from None
        cursor = result.get("nextCursor")
        if cursor is None:
            break
    return found


async def tools_of(principal: Principal, server: str) -> list[tuple[str, str]]:
    """Return name and description of each tool.

    Raises:
        McpnatsdError: The server does not answer, or with an error.
    """
    tools = await listed_tools(principal, server)
    return [
        (jsonrpc.text_of(tool, "name") or "", jsonrpc.text_of(tool, "description") or "")
        for tool in tools
    ]


async def _page(principal: Principal, server: str, cursor: Raw | None) -> Members:
    params: dict[str, object] = {eras.META: eras.our_meta(metadata.version("mcpnatsd"))}
    if cursor is not None:
        params["cursor"] = cursor
    line = jsonrpc.encode({"jsonrpc": "2.0", "id": 1, "method": eras.LIST_TOOLS, "params": params})
    request = jsonrpc.decode(line)
    assert isinstance(request, Request)  # noqa: S101
    members = jsonrpc.params_of(request.members)
    asked = outgoing.read(request, line, members, jsonrpc.object_of(members, eras.META))
    answer = jsonrpc.split(await ask(principal.bus.requester, server, asked, principal.edge))
    if "error" in answer:
        raise jsonrpc.reported(jsonrpc.encode(answer))
    return jsonrpc.object_of(answer, "result")
