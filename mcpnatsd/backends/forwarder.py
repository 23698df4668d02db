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
from mcpnatsd.errors import McpnatsdError, ProtocolError, RemoteProtocolError
from mcpnatsd.protocol import eras, headers, jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.statistics import error_in

_FRESH_BYTES: Final = 8
_ROOM: Final = 2 * _FRESH_BYTES + 18
"""Of a token of ours beside the client's part of it."""


class _Forwarded:
    """One request on its way to another instance."""

    def __init__(self, caller: Caller, on_over: Callable[[str], None]) -> None:
        self.edge = f"{caller.edge}.{secrets.token_hex(_FRESH_BYTES)}"
        self._caller = caller
        self._on_over = on_over

    def receive_note(self, _call: Call, line: bytes) -> None:
        self._caller.note(line)

    def receive_final(self, _call: Call, line: bytes) -> None:
        self._on_over(self.edge)
        try:
            response = jsonrpc.decode(line)
        except ProtocolError as fault:
            self._caller.fail(fault)
            return
        if isinstance(response, Response):
            method = self._caller.asked.request.method
            self._caller.error = error_in(method, response, line)
        self._caller.finish(line)

    def receive_end(self, _call: Call) -> None:
        self._caller.end(b"")

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        self._caller.fail(fault)


class Forwarder:
    """Opens exchanges for callers whose request came to the wrong instance."""

    def __init__(self, connection: Connection, inbox: Inbox, prefix: str, server: str) -> None:
        self._server = server
        self._requester = Requester(connection, inbox, prefix)

    def forward(self, caller: Caller, instance: str) -> None:
        """Have an instance answer a request; it hears of the client, and under whose prefix.

        Raises:
            RemoteProtocolError: The request does not name what its method needs.
        """
        if len(caller.edge) > headers.LONGEST_CALL - _ROOM:
            raise RemoteProtocolError(f"{headers.CALL} is too long to be forwarded")
        asked = caller.asked
        line = jsonrpc.encode(asked.request.members)
        meta = jsonrpc.object_of(asked.params, eras.META)
        request = outgoing.read(asked.request, line, asked.params, meta)
        one = _Forwarded(caller, self._requester.forget)
        call = self._requester.open(self._server, request, one, holder=instance, prefix=caller.base)
        caller.on_cancel = partial(self._requester.cancel, call)

    async def run(self) -> None:
        """Keep the clocks until cancelled."""
        await self._requester.run()
