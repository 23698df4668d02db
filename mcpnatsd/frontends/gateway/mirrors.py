"""Which arguments of each tool clients mirror into headers, learnt from the servers' lists."""

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, Mismatch, RemoteProtocolError
from mcpnatsd.frontends.gateway.http_request import Later
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.gateway.questions import listed_tools
from mcpnatsd.protocol import http_headers, jsonrpc
from mcpnatsd.protocol.http_headers import Param
from mcpnatsd.protocol.jsonrpc import Members

FRESH_FOR: Final = 30.0
"""Seconds until a list is asked for again."""

FRESH_ENOUGH: Final = 1.0
"""Seconds for which a list is not asked for again even if a call does not fit it."""

WITHIN: Final = 10.0
MOST: Final = 10_000
"""Lists that are known: one of each server, or one of each server for each name on NATS."""


class Mirrors:
    """What is known of the servers that are called over HTTP."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str], _Tools] = {}

    def check(
        self,
        server: str,
        principal: Principal,
        headers: Mapping[str, str],
        tool: str,
        params: Members,
    ) -> Later:
        """Compare the headers of a call with its arguments, later if the server must be asked.

        Raises:
            Mismatch: An argument that is to be mirrored is not, or by something else.
        """
        # NATS may let one principal list the tools, and another one not.
        place = (server, principal.bus.prefix)
        tools = self._servers.get(place)
        if tools is None:
            if len(self._servers) >= MOST:
                del self._servers[next(iter(self._servers))]
            tools = self._servers[place] = _Tools(server)
        arguments = params.get("arguments")
        if tools.let_pass(tool, headers, arguments):
            return None
        return tools.check(tool, principal, headers, arguments)


class _Tools:
    """What one server's tools want mirrored."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._known: dict[str, tuple[Param, ...]] = {}
        self._asked_at = self._fresh_until = -FRESH_FOR
        self._asking = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    def let_pass(self, tool: str, headers: Mapping[str, str], arguments: Raw | None) -> bool:
        """Say whether a call fits what is known, without asking anybody."""
        if self._now() >= self._fresh_until:
            return False
        wanted = self._known.get(tool)
        if wanted is None:
            return True
        try:
            http_headers.check_mirrored(headers, wanted, arguments)
        except Mismatch:
            return False  # the server may have changed since, and the client may know
        return True

    async def check(
        self, tool: str, principal: Principal, headers: Mapping[str, str], arguments: Raw | None
    ) -> None:
        """Ask the server, unless that was done just now, and compare.

        Raises:
            Mismatch: An argument that is to be mirrored is not, or by something else.
        """
        if self._now() - self._asked_at >= FRESH_ENOUGH:
            async with self._asking:
                if self._now() - self._asked_at >= FRESH_ENOUGH:
                    await self._ask(principal)
        # A server that does not list its tools wants nothing.
        http_headers.check_mirrored(headers, self._known.get(tool, ()), arguments)

    async def _ask(self, principal: Principal) -> None:
        try:
            async with asyncio.timeout(WITHIN):
                self._known = await self._listed(principal)
            fresh_for = FRESH_FOR
        except (McpnatsdError, TimeoutError):
            # What is known goes on. The call itself will meet the same fault, and tell it.
            fresh_for = FRESH_ENOUGH
        self._asked_at = self._now()
        self._fresh_until = self._asked_at + fresh_for

    async def _listed(self, principal: Principal) -> dict[str, tuple[Param, ...]]:
        found: dict[str, tuple[Param, ...]] = {}
        for tool in await listed_tools(principal, self._server):
            wanted = _params_of(tool)
            if wanted:
                found[jsonrpc.text_of(tool, "name") or ""] = wanted
        return found


def _params_of(tool: Members) -> tuple[Param, ...]:
    try:
        return http_headers.params_in(tool.get("inputSchema"))
    except RemoteProtocolError:
        return ()  # clients drop such a tool, and mirror nothing
