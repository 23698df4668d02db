"""Requests whose state another instance holds: it answers them, and its frames pass through."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

from mcpnatsd.backends.caller import Caller
from mcpnatsd.bus.call import Call
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import Busy, InstanceLost, McpnatsdError, ProtocolError, RemoteProtocolError
from mcpnatsd.protocol import eras, headers, jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.statistics import error_in

MOST_OPEN: Final = 1024
"""Requests on their way to other instances. More are refused as busy."""

_FRESH_BYTES: Final = 8
_ROOM: Final = 2 * _FRESH_BYTES + 18
"""Of a token of ours beside the client's part of it."""


class _Forwarded:
    """One request on its way to another instance."""

    def __init__(self, caller: Caller, on_over: Callable[["_Forwarded"], None]) -> None:
        self.edge = f"{caller.edge}.{secrets.token_hex(_FRESH_BYTES)}"
        self.caller = caller
        self._on_over = on_over

    def receive_note(self, _call: Call, line: bytes) -> None:
        self.caller.note(line)

    def receive_final(self, call: Call, line: bytes) -> None:
        try:
            response = jsonrpc.decode(line)
        except ProtocolError as fault:
            self.failed(call, fault)
            return
        if isinstance(response, Response):
            method = self.caller.asked.request.method
            self.caller.error = error_in(method, response, line)
        self.caller.finish(line)
        self._on_over(self)

    def receive_end(self, _call: Call) -> None:
        self.caller.end(b"")
        self._on_over(self)

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        self.caller.fail(fault)
        self._on_over(self)


class Forwarder:
    """Opens exchanges for callers whose request came to the wrong instance."""

    def __init__(self, connection: Connection, inbox: Inbox, prefix: str, server: str) -> None:
        self._server = server
        self._requester = Requester(connection, inbox, prefix)
        self._open: dict[Caller, tuple[_Forwarded, Call]] = {}

    def has(self, caller: Caller) -> bool:
        """Say whether another instance answers this request, and counts it."""
        return caller in self._open

    def forward(self, caller: Caller, instance: str) -> None:
        """Have an instance answer a request; it hears of the client, and under whose prefix.

        Raises:
            RemoteProtocolError: The request does not name what its method needs, or its token
                cannot be passed on.
            Busy: Too many are on their way already.
        """
        if len(caller.edge) > headers.LONGEST_CALL - _ROOM:
            raise RemoteProtocolError(f"{headers.CALL} is too long to be forwarded")
        if caller.edge and headers.safe(caller.edge) != caller.edge:
            raise RemoteProtocolError(f"{headers.CALL} is not printable ASCII")
        if len(self._open) >= MOST_OPEN:
            raise Busy(f"{MOST_OPEN} requests of server {self._server!r} are being forwarded")
        asked = caller.asked
        line = jsonrpc.encode(asked.request.members)
        meta = jsonrpc.object_of(asked.params, eras.META)
        request = outgoing.read(asked.request, line, asked.params, meta)
        one = _Forwarded(caller, self._over)
        call = self._requester.open(self._server, request, one, holder=instance, prefix=caller.base)
        self._open[caller] = one, call
        caller.on_cancel = partial(self._cancel, one, call)

    async def run(self) -> None:
        """Keep the clocks until cancelled."""
        try:
            await self._requester.run()
        finally:
            text = f"this instance of {self._server!r} was stopped; what became of the call is open"
            for one, call in list(self._open.values()):
                self._cancel(one, call, "the instance is stopping")
                one.caller.fail(InstanceLost(text))
            self._requester.stop()  # the connection outlives a server that a reload removes

    def _cancel(self, one: _Forwarded, call: Call, reason: str) -> None:
        self._requester.cancel(call, reason)
        self._over(one)

    def _over(self, one: _Forwarded) -> None:
        self._open.pop(one.caller, None)
        self._requester.clients.forget(one.edge)
