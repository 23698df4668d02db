"""Which arguments of each tool clients mirror into headers, learnt from the servers' lists."""

import asyncio
from collections.abc import Mapping
from typing import Final

from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import McpnatsdError, Mismatch, RemoteProtocolError
from mcpnatsd.frontends.gateway.questions import listed_tools
from mcpnatsd.protocol import http_headers, jsonrpc
from mcpnatsd.protocol.http_headers import Param
from mcpnatsd.protocol.jsonrpc import Members

FRESH_FOR: Final = 30.0
"""Seconds until a list is asked for again."""

FRESH_ENOUGH: Final = 1.0
"""Seconds for which a list is not asked for again even if a call does not fit it."""

WITHIN: Final = 10.0
MOST_SERVERS: Final = 1000


class Mirrors:
    """What is known of the servers that are called over HTTP."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._servers: dict[str, _Tools] = {}

    async def check(
        self, server: str, edge: str, headers: Mapping[str, str], tool: str, params: Members
    ) -> None:
        """Compare the headers of a call with its arguments.

        Raises:
            Mismatch: An argument that is to be mirrored is not, or by something else.
        """
        tools = self._servers.get(server)
        if tools is None:
            if len(self._servers) >= MOST_SERVERS:
                del self._servers[next(iter(self._servers))]
            tools = self._servers[server] = _Tools(self._requester, server)
        wanted = await tools.params(tool, edge, FRESH_FOR)
        if not wanted:
            return
        try:
            http_headers.check_mirrored(headers, wanted, params.get("arguments"))
        except Mismatch:
            # The server may have changed since, and the client may know.
            wanted = await tools.params(tool, edge, FRESH_ENOUGH)
            http_headers.check_mirrored(headers, wanted, params.get("arguments"))


class _Tools:
    """What one server's tools want mirrored."""

    def __init__(self, requester: Requester, server: str) -> None:
        self._requester = requester
        self._server = server
        self._known: dict[str, tuple[Param, ...]] = {}
        self._asked_at = -FRESH_FOR
        self._asking = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    async def params(self, tool: str, edge: str, fresh_for: float) -> tuple[Param, ...]:
        """Return what to compare. A server that does not list its tools wants nothing."""
        if self._now() - self._asked_at >= fresh_for:
            async with self._asking:
                if self._now() - self._asked_at >= fresh_for:
                    await self._ask(edge)
        return self._known.get(tool, ())

    async def _ask(self, edge: str) -> None:
        try:
            async with asyncio.timeout(WITHIN):
                self._known = await self._listed(edge)
        except (McpnatsdError, TimeoutError):
            self._known = {}  # the call itself will meet the same fault, and tell it
        self._asked_at = self._now()

    async def _listed(self, edge: str) -> dict[str, tuple[Param, ...]]:
        found: dict[str, tuple[Param, ...]] = {}
        for tool in await listed_tools(self._requester, self._server, edge):
            wanted = _params_of(tool)
            if wanted:
                found[jsonrpc.text_of(tool, "name") or ""] = wanted
        return found


def _params_of(tool: Members) -> tuple[Param, ...]:
    try:
        return http_headers.params_in(tool.get("inputSchema"))
    except RemoteProtocolError:
        return ()  # clients drop such a tool, and mirror nothing
