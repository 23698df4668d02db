"""Modern Streamable HTTP: each POST is one message, and each request one exchange on the bus.

There is no session and nothing to resume. A client that closes its connection cancels.
"""

import asyncio
from typing import Final

from mcpnatsd.bus.call import Call
from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.errors import Busy, HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway.http_request import KEEP_ALIVE_AFTER, Arrivals, HttpRequest
from mcpnatsd.frontends.gateway.mirrors import Mirrors
from mcpnatsd.frontends.output import MOST_WAITING_BYTES
from mcpnatsd.protocol import eras, headers, http_rules, jsonrpc, outgoing
from mcpnatsd.protocol.event_stream import event
from mcpnatsd.protocol.http_rules import EVENTS, JSON
from mcpnatsd.protocol.jsonrpc import Message, Notification, Request
from mcpnatsd.protocol.outgoing import Outgoing

QUICK: Final = 0.25
"""Seconds in which most answers come. Only then it is worth a task to see that a client leaves."""


class ModernGateway:
    """Requests of the modern era to all servers of one listener."""

    def __init__(self, bus: ClientBus) -> None:
        self._bus = bus
        self._mirrors = Mirrors(bus.requester)

    async def receive(
        self, http: HttpRequest, server: str, edge: str, message: Message, line: bytes
    ) -> None:
        """Answer one POST.

        Raises:
            McpnatsdError: It is against the rules.
        """
        http_rules.check_accept(http.headers, JSON, EVENTS)
        if isinstance(message, Request):
            params = jsonrpc.params_of(message.members)
            http_rules.check_modern(http.headers, message, params)
            asked = outgoing.read(message, line, params, jsonrpc.object_of(params, eras.META))
            if message.method == eras.CALL_TOOL:
                await self._mirrors.check(server, edge, http.headers, asked.name or "", params)
            await self._exchange(http, server, edge, asked)
        elif isinstance(message, Notification):
            http_rules.check_revision(http.headers.get(headers.VERSION.lower(), ""))
            if message.method != eras.CANCELLED:  # closing the connection is what cancels
                self._bus.tell(server, message.method, line)
            await http.respond(202)
        else:
            raise HttpRefused(400, "a client of this revision sends no responses")

    async def _exchange(self, http: HttpRequest, server: str, edge: str, asked: Outgoing) -> None:
        answer = _Answer(edge, self._bus)
        call = self._bus.requester.open(server, asked, answer)
        try:
            await answer.pass_on(http)
        finally:
            self._bus.requester.cancel(call, "the client is gone")


class _Answer:
    """Owns one exchange; what comes of it goes to the client."""

    __slots__ = ("_arrivals", "_bus", "_final", "_streams", "edge")

    def __init__(self, edge: str, bus: ClientBus) -> None:
        self.edge = edge
        self._bus = bus
        self._streams = False
        self._final: bytes | None = None
        self._arrivals = Arrivals()

    async def pass_on(self, http: HttpRequest) -> None:
        """Answer with JSON if nothing comes before the final response, with a stream otherwise."""
        arrivals = self._arrivals
        await arrivals.wait(QUICK)
        if not arrivals.items and not arrivals.over:
            await self._wait_watched(http)
        if arrivals.gone:
            return
        if self._final is not None and not arrivals.items:
            await http.respond(http_rules.status_of_line(self._final), self._final)
            return
        self._streams = True
        await http.start_stream()
        await arrivals.follow(http)

    async def _wait_watched(self, http: HttpRequest) -> None:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._arrivals.watch(http))
            await self._arrivals.wait(KEEP_ALIVE_AFTER)
            watch.cancel()

    # From the bus.

    def receive_note(self, call: Call, line: bytes) -> None:
        if self._arrivals.waiting_bytes > MOST_WAITING_BYTES:
            fault = Busy("this client does not read its answers; 32 MiB wait for it")
            self._bus.requester.cancel(call, str(fault))
            self.failed(call, fault)
        else:
            self._arrivals.put(event(line))

    def receive_final(self, _call: Call, line: bytes) -> None:
        self._end(line)

    def receive_end(self, call: Call) -> None:
        if not call.told_end:
            params = {"requestId": jsonrpc.value_of(call.outgoing.id), "reason": "it was lost"}
            self._arrivals.put(event(jsonrpc.notification(eras.CANCELLED, params)))
        self._arrivals.close()

    def failed(self, call: Call, fault: McpnatsdError) -> None:
        self._end(jsonrpc.error_of(call.outgoing.id, fault))

    def _end(self, line: bytes) -> None:
        """Keep the final response apart while the client has nothing yet: it may be JSON."""
        if self._streams or self._arrivals.items:
            self._arrivals.put(event(line))
        else:
            self._final = line
        self._arrivals.close()
