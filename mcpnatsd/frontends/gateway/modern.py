"""Modern Streamable HTTP: each POST is one message, and each request one exchange on the bus.

There is no session and nothing to resume. A client that closes its connection cancels.
"""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from mcpnatsd.bus.call import Call
from mcpnatsd.errors import Busy, HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway.http_body import Gone
from mcpnatsd.frontends.gateway.http_request import HttpRequest, Later
from mcpnatsd.frontends.gateway.mirrors import Mirrors
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.output import MOST_WAITING_BYTES
from mcpnatsd.protocol import eras, headers, http_rules, jsonrpc, outgoing
from mcpnatsd.protocol.event_stream import KEEP_ALIVE, event
from mcpnatsd.protocol.http_rules import EVENTS, JSON
from mcpnatsd.protocol.jsonrpc import Message, Notification, Request
from mcpnatsd.protocol.outgoing import Outgoing


class ModernGateway:
    """Requests of the modern era to all servers of one listener."""

    def __init__(self) -> None:
        self._mirrors = Mirrors()

    def receive(
        self, http: HttpRequest, server: str, principal: Principal, message: Message, line: bytes
    ) -> Later:
        """Answer one POST.

        Raises:
            McpnatsdError: It is against the rules.
        """
        http_rules.check_accept(http.headers, JSON, EVENTS)
        if isinstance(message, Request):
            return self._receive_request(http, server, principal, message, line)
        if not isinstance(message, Notification):
            raise HttpRefused(400, "a client of this revision sends no responses")
        http_rules.check_revision(http.headers.get(headers.VERSION.lower(), ""))
        if message.method != eras.CANCELLED:  # closing the connection is what cancels
            principal.bus.tell(server, message.method, line)
        http.respond(202)
        return None

    def _receive_request(
        self, http: HttpRequest, server: str, principal: Principal, request: Request, line: bytes
    ) -> Later:
        params = jsonrpc.params_of(request.members)
        meta = jsonrpc.object_of(params, eras.META)
        http_rules.check_modern(http.headers, request, params, meta)
        asked = outgoing.read(request, line, params, meta)
        answer = _Answer(http, server, principal)
        if request.method == eras.CALL_TOOL:
            later = self._mirrors.check(server, principal, http.headers, asked.name or "", params)
            if later is not None:
                return answer.open_after(later, asked)
        answer.open(asked)
        return None


class _Answer:
    """Owns one exchange; what comes of it goes to the client as it comes.

    It is JSON if nothing comes before the final response, and a stream otherwise.
    """

    __slots__ = ("_bus", "_http", "_server", "edge")

    def __init__(self, http: HttpRequest, server: str, principal: Principal) -> None:
        self.edge = principal.edge
        self._bus = principal.bus
        self._http = http
        self._server = server

    async def open_after(self, check: Coroutine[Any, Any, None], asked: Outgoing) -> None:
        """Open the exchange when a check was passed."""
        await check
        if self._http.over:
            raise Gone
        self.open(asked)

    def open(self, asked: Outgoing) -> None:
        http = self._http
        call = self._bus.requester.open(self._server, asked, self)
        http.on_gone = partial(self._bus.requester.cancel, call, "the client is gone")
        http.on_silent = self._keep_alive
        if asked.method == eras.LISTEN:
            http.on_drain = partial(self._end_subscription, call)

    def _end_subscription(self, call: Call) -> None:
        """Have no more of a subscription, and tell its client that this is its proper end."""
        self._bus.requester.cancel(call, "the gateway is stopping")
        meta = {eras.SUBSCRIPTION_ID: jsonrpc.value_of(call.outgoing.id)}
        result = {"resultType": "complete", "_meta": meta}
        self._end(jsonrpc.result(call.outgoing.id, result))

    def _keep_alive(self) -> None:
        self._put(KEEP_ALIVE)

    def _put(self, data: bytes) -> None:
        if not self._http.streaming:
            self._http.start_stream()
        self._http.put(data)

    # From the bus.

    def receive_note(self, call: Call, line: bytes) -> None:
        if self._http.waiting_bytes > MOST_WAITING_BYTES:
            fault = Busy("this client does not read its answers; 32 MiB wait for it")
            self._bus.requester.cancel(call, str(fault))
            self.failed(call, fault)
        else:
            self._put(event(line))

    def receive_final(self, _call: Call, line: bytes) -> None:
        self._end(line)

    def receive_end(self, call: Call) -> None:
        if not call.told_end:
            params = {"requestId": jsonrpc.value_of(call.outgoing.id), "reason": "it was lost"}
            self._put(event(jsonrpc.notification(eras.CANCELLED, params)))
        if not self._http.streaming:
            self._http.start_stream()
        self._http.finish()

    def failed(self, call: Call, fault: McpnatsdError) -> None:
        self._end(jsonrpc.error_of(call.outgoing.id, fault))

    def _end(self, line: bytes) -> None:
        if self._http.streaming:
            self._http.finish(event(line))
        else:
            self._http.respond(http_rules.status_of_line(line), line)
