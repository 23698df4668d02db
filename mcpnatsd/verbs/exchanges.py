"""A verb's requests to a modern server: each stands for itself."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final

from mcpnatsd.bus.call import Call
from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.errors import InstanceLost, McpnatsdError, Reported
from mcpnatsd.protocol import eras, jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.verbs.answers import (
    OnProgress,
    Result,
    list_in,
    request_line,
    settle,
    tell_progress,
)
from mcpnatsd.verbs.session import version

ERA_ERROR: Final = -31006
_OURS: Final = range(-31099, -31000)
"""Codes of mcpnatsd's own (WIRE.md, "Errors of ours"): they say nothing of the server's era."""


class Exchanges:
    """Opens a call for each request."""

    def __init__(self, bus: ClientBus, server: str) -> None:
        self._bus = bus
        self._server = server
        self._edge = secrets.token_hex(16)
        self._last = 0

    async def discover(self) -> Result | None:
        """Return what a modern server says of itself; None for a server that is not modern."""
        try:
            welcome = await self.request(eras.DISCOVER, {}, None)
        except Reported as fault:
            if fault.jsonrpc_code in eras.MODERN_ERRORS or (
                fault.jsonrpc_code in _OURS and fault.jsonrpc_code != ERA_ERROR
            ):
                raise
            return None
        revisions = list_in(welcome.get("supportedVersions"))
        return welcome if set(map(str, revisions)) & set(eras.MODERN_REVISIONS) else None

    async def request(
        self, method: str, params: Mapping[str, object], on_progress: OnProgress | None
    ) -> Result:
        self._last += 1
        meta = eras.our_meta(version())
        if on_progress is not None:
            meta[eras.PROGRESS_TOKEN] = self._last
        line = request_line(self._last, method, {**params, eras.META: meta})
        message = jsonrpc.decode(line)
        assert isinstance(message, Request)  # noqa: S101  # we made it
        members = jsonrpc.params_of(message.members)
        wanted = outgoing.read(message, line, members, jsonrpc.object_of(members, eras.META))
        exchange = _Exchange(self._edge, on_progress)
        call = self._bus.requester.open(self._server, wanted, exchange)
        try:
            return await exchange.result
        finally:
            self._bus.requester.cancel(call, "the caller gave up")


class _Exchange:
    """The owner of one call: a future that its end resolves."""

    def __init__(self, edge: str, on_progress: OnProgress | None) -> None:
        self.edge = edge
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._on_progress = on_progress

    def receive_note(self, _call: Call, line: bytes) -> None:
        tell_progress(line, self._on_progress)

    def receive_final(self, _call: Call, line: bytes) -> None:
        settle(self.result, line)

    def receive_end(self, _call: Call) -> None:
        self.failed(_call, InstanceLost("the server ended the call without an answer"))

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        if not self.result.done():
            self.result.set_exception(fault)
