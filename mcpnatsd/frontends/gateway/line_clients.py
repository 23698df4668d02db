"""Clients whose whole connection is one client's stream: the old HTTP+SSE transport, and WebSocket.

Each is an edge of its own, as at a unix socket: it may speak either era.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, quote

from mcpnatsd.config.model import HttpLimits
from mcpnatsd.errors import Busy, HttpRefused
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.gateway.arrivals import Arrivals
from mcpnatsd.frontends.gateway.http_request import (
    KEEP_ALIVE_AFTER,
    HttpRequest,
    Receive,
    Send,
)
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.gateway.session import RoutedOutput
from mcpnatsd.protocol import http_rules, jsonrpc
from mcpnatsd.protocol.event_stream import event
from mcpnatsd.protocol.http_rules import EVENTS

log = logging.getLogger(__name__)

SUBPROTOCOL: Final = "mcp"
_GOING_AWAY: Final = 1001


class LineClient:
    """One such client."""

    def __init__(self, server: str, principal: Principal, *, framed: bool) -> None:
        self.server = server
        self.principal = principal
        self.arrivals = Arrivals()
        self._framed = framed
        self._output = RoutedOutput(self._put, lambda: self.arrivals.waiting_bytes)
        self.edge = Edge(principal.bus, server, self._output)

    def close(self) -> None:
        self.arrivals.close()
        self.edge.gone()
        self._output.close()

    def _put(self, line: bytes) -> None:
        self.arrivals.put(event(line) if self._framed else line)


class LineClients:
    """All of one listener."""

    def __init__(self, limits: HttpLimits, body: Callable[[HttpRequest], Awaitable[bytes]]) -> None:
        """`body` reads a request's body, and counts it with what the listener holds."""
        self._limits = limits
        self._body = body
        self._clients: dict[str, LineClient] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def tick(self, now: float) -> None:
        for client in list(self._clients.values()):
            client.edge.tick(now)

    def drain(self) -> None:
        """End the connections on which no answer is awaited."""
        for client in self._clients.values():
            if not client.edge.busy:
                client.arrivals.close()

    def close(self) -> None:
        for id in list(self._clients):  # noqa: A001
            self._end(id)

    def _open(self, server: str, principal: Principal, *, framed: bool) -> tuple[str, LineClient]:
        # Of the others only memory is spent, and each has one of the `requests` that may be open.
        if sum(not one.edge.shares for one in self._clients.values()) >= self._limits.sessions:
            text = f"{self._limits.sessions} clients are connected; `limits: sessions` is the bound"
            raise HttpRefused(503, text, {"retry-after": "30"})
        id = secrets.token_hex(16)  # noqa: A001
        client = self._clients[id] = LineClient(server, principal, framed=framed)
        return id, client

    def _end(self, id: str) -> None:  # noqa: A002
        client = self._clients.pop(id, None)
        if client is not None:
            client.close()

    # HTTP+SSE (2024-11-05).

    async def listen(self, http: HttpRequest, server: str, principal: Principal) -> None:
        """Answer the GET that opens a session: first where to POST, then what the server says.

        Raises:
            HttpRefused: There is no room for it.
        """
        http_rules.check_accept(http.headers, EVENTS)
        id, client = self._open(server, principal, framed=True)  # noqa: A001
        place = f"/sse/{quote(server)}?session_id={id}"
        client.arrivals.put(event(place.encode(), "endpoint"))
        try:
            http.start_stream()
            await client.arrivals.follow(http)
        finally:
            self._end(id)

    async def receive(self, http: HttpRequest, server: str, principal: Principal) -> None:
        """Answer a POST: its answer comes on the stream.

        Raises:
            Busy: There is no room for it.
            HttpRefused: There is no such session.
        """
        http_rules.check_content_type(http.headers)
        [id] = parse_qs(http.query.decode("latin-1")).get("session_id", [""])[:1]  # noqa: A001
        client = self._clients.get(id)
        if client is None or (client.server, client.principal) != (server, principal):
            raise HttpRefused(404, f"there is no such session: open one with GET /sse/{server}")
        if client.edge.full:
            raise Busy("too much of this session waits for NATS")
        line = await self._body(http)
        if client.arrivals.over:
            raise HttpRefused(404, "this session ended while the message was on its way")
        jsonrpc.split(line)  # what is no JSON is told here: nobody would match it on the stream
        client.edge.receive_line(jsonrpc.single_line(line))
        http.respond(202)

    # WebSocket.

    async def converse(
        self, socket: tuple[Receive, Send], server: str, principal: Principal
    ) -> None:
        """Serve a WebSocket that was not accepted yet: each text message is one of MCP's.

        Raises:
            HttpRefused: There is no room for it.
        """
        receive, send = socket
        id, client = self._open(server, principal, framed=False)  # noqa: A001
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(receive, client))
                await self._write(send, client)
                reading.cancel()
        finally:
            self._end(id)

    async def _read(self, receive: Receive, client: LineClient) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                client.arrivals.leave()
                return
            if message["type"] != "websocket.receive":
                continue
            text = message.get("text")
            line = text.encode() if text is not None else message.get("bytes") or b""
            client.edge.receive_line(line)
            # The client is held back by what we do not read. Tunnel or NATS may be what is full.
            while client.edge.full and not client.arrivals.over:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _write(self, send: Send, client: LineClient) -> None:
        """Send what arrives, until it is over and all is sent, or the client left."""
        arrivals = client.arrivals
        try:
            while arrivals.items or not arrivals.over:
                await arrivals.wait(KEEP_ALIVE_AFTER)
                items, arrivals.items = arrivals.items, []
                for line in items:
                    await send({"type": "websocket.send", "text": line.decode()})
                    arrivals.waiting_bytes -= len(line)
            if not arrivals.gone:
                await send({"type": "websocket.close", "code": _GOING_AWAY})
        except OSError:
            return  # the client left while we wrote
