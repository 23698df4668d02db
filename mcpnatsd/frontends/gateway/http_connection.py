"""One client's connection: requests in, each handed on when its turn comes, answers in that order.

HTTP/1.1 (RFC 9112). What is no request of MCP it does not know; WebSockets it hands over.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, cast

from mcpnatsd.errors import Busy, HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway.http_parser import Head, HttpParser
from mcpnatsd.frontends.gateway.http_request import HttpRequest
from mcpnatsd.loop import BATCH

log = logging.getLogger(__name__)

KEEP_ALIVE_FOR: Final = 75.0
"""Seconds for which a connection between two requests is kept, or for which a head may take."""

FIRST_WITHIN: Final = 10.0
"""Seconds for the head of the first request of a connection."""

PATIENCE: Final = 0.25
"""Seconds for which a short body is waited for before anybody is asked to see to its request."""

LINGER_FOR: Final = 2.0
"""Seconds for a client to read why it is refused, before its connection is cut."""

REST_WITHIN: Final = 120.0
"""Seconds for the rest of a request that has its answer already. Nobody reads it."""

MOST_PIPELINED: Final = 16
"""Requests behind the one that is being answered: beyond them nothing is read."""


_NO_HEAD: Final = Head("", "", b"", [], "1.1", keeps=False, expects=None)


class Answering(Protocol):
    """Whoever answers requests. It is told of each that has its answer, or whose client left."""

    def receive(self, http: HttpRequest, /) -> None: ...

    def left(self, http: HttpRequest, /) -> None: ...


class House:
    """What all connections of a listener share."""

    def __init__(
        self,
        answering: Answering,
        most_connections: int,
        upgrade: Callable[[asyncio.Transport, bytes], None],
    ) -> None:
        self.answering = answering
        self.upgrade = upgrade
        """Takes over a connection whose client wants to speak WebSocket."""

        self.connections: set[HttpConnection] = set()
        self.silent: dict[HttpConnection, None] = {}
        """Those of them that have sent no head yet, the oldest first."""

        self.most_connections = most_connections
        self.date = b""
        """The line of each head that says when it was written."""

        self.closing = False
        """Whether each connection ends with the answer that is open."""

    def admit(self, connection: "HttpConnection") -> bool:
        """Take one more. Beyond the bound it has the place of one that nobody uses, if any is."""
        spare = self._spare() if len(self.connections) >= self.most_connections else None
        if spare is not None:
            spare.cut()
        self.connections.add(connection)
        return len(self.connections) <= self.most_connections

    def _spare(self) -> "HttpConnection | None":
        """Return whoever is missed least: the oldest that never spoke, or the longest unused."""
        if self.silent:
            return next(iter(self.silent))
        unused = [one for one in self.connections if one.unused_since is not None]
        return min(unused, key=lambda one: one.unused_since or 0, default=None)

    def tick(self, now: float) -> None:
        for connection in list(self.connections):
            connection.tick(now)

    def drain(self) -> None:
        """Take no more requests; what is open is answered."""
        self.closing = True
        for connection in list(self.connections):
            connection.drain_requests()

    def cut(self) -> None:
        """End every connection now."""
        for connection in list(self.connections):
            connection.cut()


class HttpConnection(asyncio.Protocol):
    """Made for each client that connects."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._now = asyncio.get_running_loop().time
        self._parser = HttpParser(self)
        self._open: list[HttpRequest] = []  # a deque takes 600 bytes, and most need none
        """Without their whole answers. The first is being answered, the others wait."""

        self._arriving: HttpRequest | None = None
        """The one whose body is being read, answered or not."""

        self._deaf = False
        """Whether what comes is no longer looked at."""

        self._silent = True
        """Whether no head has come yet."""

        self._going = self._paused_reading = self._paused_writing = False
        self._pieces: list[bytes] = []
        """Of a stream, to be written together."""

        self._lingers_since: float | None = None
        self._writable: asyncio.Future[None] | None = None
        self._idle_since = self._now()

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self._house.admit(self):
            self.refuse(Busy("too many connections are open at this listener"))
        else:
            self._house.silent[self] = None

    def connection_lost(self, _error: Exception | None) -> None:
        self._forget()
        self._stop_reading()
        self._resume_writers()
        gone, self._open, self._arriving = self._open, [], None
        for http in gone:
            http.leave()
            self._house.answering.left(http)

    def _forget(self) -> None:
        self._house.connections.discard(self)
        self._house.silent.pop(self, None)

    def eof_received(self) -> None:
        """Have the transport close: a client that ends its side is gone, and what it asked for.

        2026-07-28, Streamable HTTP: closing the connection cancels. From one that only ended its
        sending it cannot be told.
        """

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._resume_writers()
        self._go_on()

    def _resume_writers(self) -> None:
        self._paused_writing = False
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.receive(data)

    # From the parser.

    def on_message_begin(self) -> None:
        self._idle_since = self._now()

    def receive_head(self, head: Head) -> None:
        """Take the head of a request. Its body follows."""
        if self._deaf:
            return
        if self._silent:
            self._silent = False
            self._house.silent.pop(self, None)
        http = HttpRequest(self, head, self._idle_since)
        if self._house.closing:
            http.keeps = False
        if not head.path:
            http.fault = HttpRefused(400, "this is no request of HTTP/1.1 that names a path")
        http.due = http.expects or head.method != "POST"
        self._arriving = http
        self._open.append(http)
        if len(self._open) > MOST_PIPELINED:
            self.adjust_reading()
        if http.due:
            self._go_on()

    def on_body(self, data: bytes) -> None:
        http = self._arriving
        if http is None:
            return
        http.arriving.feed(data)
        if http.arriving.ahead:
            http.due = True
            self._go_on()
            self.adjust_reading()

    def on_message_complete(self) -> None:
        http, self._arriving = self._arriving, None
        if http is not None:
            http.arriving.feed_end()
            self._go_on()

    def refuse(self, fault: McpnatsdError) -> None:
        """Answer what cannot be read, after all that came before it, and close."""
        self._stop_reading()
        http, self._arriving = self._arriving, None
        if http is not None and (http.over or http.streaming):
            self._spoil(http)
            return
        if http is None:
            http = HttpRequest(self, _NO_HEAD, self._now())
            self._open.append(http)
        http.keeps = False
        http.fault = fault
        http.due = True
        if http.started:
            http.refuse(fault)
        self._go_on()

    def _spoil(self, http: HttpRequest) -> None:
        """End after a request that is answered, or is being: it cannot have another answer."""
        if http.over:
            self._close(linger=True)
        else:
            self.cut()

    def hand_over(self, data: bytes) -> None:
        """Have somebody else speak on this connection, if nobody waits for an answer on it."""
        if self._open:
            self.refuse(HttpRefused(400, "a WebSocket needs a connection of its own"))
            return
        self._stop_reading()
        self._forget()
        self._house.upgrade(self.transport, data)

    def _stop_reading(self) -> None:
        if not self._deaf:
            self._deaf = True
            self._parser.stop()

    # Whose turn it is.

    def _go_on(self) -> None:
        """Hand on the first request; one that is answered at once makes way for the next."""
        if self._going:
            return
        self._going = True
        try:
            while self._open and not self._paused_writing and not self._ends:
                http = self._open[0]
                if http.started or not (http.arriving.whole or http.due):
                    break
                http.started = True
                self._start(http)
        finally:
            self._going = False

    def _start(self, http: HttpRequest) -> None:
        try:
            if http.fault is None:
                self._house.answering.receive(http)
            else:
                http.refuse(http.fault)
        except Exception:
            log.exception("a request could not even be refused")
            self.cut()

    def answered(self, http: HttpRequest) -> None:
        """Learn that a request has its whole answer. It is the first."""
        del self._open[0]
        self._house.answering.left(http)
        self._idle_since = self._now()
        if not http.keeps:
            self._close(linger=http.fault is not None or not http.arriving.whole)
            return
        if self._paused_reading:
            self.adjust_reading()
        self._go_on()

    @property
    def unused_since(self) -> float | None:
        """Since when nothing is under way here; None if something is."""
        return None if self._open or self._arriving is not None else self._idle_since

    @property
    def _ends(self) -> bool:
        """Whether no more requests are answered here."""
        return self._lingers_since is not None or self.transport.is_closing()

    def adjust_reading(self) -> None:
        """Read no further while more came than anybody sees to."""
        ahead = self._arriving is not None and self._arriving.arriving.ahead
        pause = not self._deaf and (ahead or len(self._open) > MOST_PIPELINED)
        if pause == self._paused_reading or self.transport.is_closing():
            return
        self._paused_reading = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def tick(self, now: float) -> None:
        if self._lingers_since is not None:
            if now - self._lingers_since >= LINGER_FOR:
                self.cut()
        elif self._open:
            self._tick_request(self._open[0], now)
        elif self._arriving is not None:
            if now - self._arriving.began_at >= REST_WITHIN:
                self.cut()
        elif now - self._idle_since >= (FIRST_WITHIN if self._silent else KEEP_ALIVE_FOR):
            self._close()

    def _tick_request(self, http: HttpRequest, now: float) -> None:
        if http.started:
            http.tick(now)
        elif now - http.began_at >= PATIENCE:
            http.due = True
            self._go_on()

    # Answers.

    @property
    def date(self) -> bytes:
        return self._house.date

    @property
    def waiting_bytes(self) -> int:
        return self.transport.get_write_buffer_size() + sum(map(len, self._pieces))

    def write(self, data: bytes) -> None:
        """Write an answer, or the end of one, at once."""
        if self._pieces:
            self._pieces.append(data)
            self._flush()
        elif data:
            self.transport.write(data)

    def put(self, data: bytes) -> None:
        """Write a piece of one, with those that come in the same pass of the loop."""
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._flush)
        self._pieces.append(data)
        if len(self._pieces) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self.transport.write(b"".join(pieces))

    async def drain(self) -> None:
        """Wait for a client that is slow."""
        if self._paused_writing:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def drain_requests(self) -> None:
        """Close as soon as what is open is answered."""
        for http in self._open:
            http.keeps = False
        if not self._open:
            self._close(linger=self._arriving is not None)

    def cut(self) -> None:
        """Close now, whatever is open."""
        self.transport.abort()
        self.connection_lost(None)

    def _close(self, *, linger: bool = False) -> None:
        """Close when all is written; with `linger` when the client does, or soon.

        RFC 9112, 9.6: closed with something unread, a connection is reset, and the answer lost.
        """
        self._stop_reading()
        if self._lingers_since is not None:
            return
        if linger and self.transport.can_write_eof():
            self._lingers_since = self._now()
            self.transport.write_eof()
            self.adjust_reading()
        else:
            self.transport.close()
