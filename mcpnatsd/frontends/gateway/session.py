"""One session of a legacy HTTP client: an edge of its own, whose lines go out on its streams."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from mcpnatsd.errors import Busy, HttpRefused
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.gateway.http_body import Gone
from mcpnatsd.frontends.gateway.http_request import HttpRequest
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.gateway.reader import Handshake, Reader
from mcpnatsd.frontends.gateway.streams import Stream, Streams
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.event_stream import EventId, EventStore, priming
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.jsonrpc import Key, Message, Notification, Request, Response

PRIMES_FROM: Final = "2025-11-25"
"""The first revision whose clients take an event without data."""

_CANCELLED: Final = -32800
_NOT_FOUND: Final = 404


class RoutedOutput(Output):
    """Lines of an edge, handed on one by one."""

    def __init__(self, route: Callable[[bytes], None], waiting: Callable[[], int]) -> None:
        super().__init__(_Waiting(waiting))
        self._route = route

    def write(self, line: bytes) -> None:
        if not self.closed:
            self._route(line)

    def close(self) -> None:
        """Let go of whoever took the lines: what refers to itself stays in memory for long."""
        self.closed = True
        self._route = _drop
        self._target = _Waiting(lambda: 0)


class _Waiting:
    def __init__(self, waiting: Callable[[], int]) -> None:
        self.get_write_buffer_size = waiting

    def write(self, data: bytes) -> None:
        """Never used: lines are handed on."""


def _drop(_line: bytes) -> None:
    """Nobody is there any more."""


class HttpSession:
    """A client that shook hands."""

    def __init__(self, id: str, server: str, principal: Principal) -> None:  # noqa: A002
        self.id = id
        self.server = server
        self.principal = principal
        self.revision = ""
        """As negotiated; empty until then."""

        self.followed = False
        """Whether its client came back after the handshake."""

        self._opening: Key | None = None

        self._now = asyncio.get_running_loop().time
        self.used_at = self._now()

    def begin(self, store: EventStore) -> None:
        self.streams = Streams(store)
        self._output = RoutedOutput(self._route, lambda: self.streams.waiting_bytes)
        self.edge = Edge(self.principal.bus, self.server, self._output)

    def _route(self, line: bytes) -> None:
        if self._opening is not None:
            self._observe(line)
        self.streams.route(line)

    def _observe(self, line: bytes) -> None:
        """Learn from the answer to `initialize` what was negotiated."""
        message = jsonrpc.decode(line)
        if isinstance(message, Response) and jsonrpc.key_of(message.id) == self._opening:
            self._opening = None
            result = jsonrpc.object_of(message.members, "result")
            self.revision = jsonrpc.text_of(result, "protocolVersion") or ""

    @property
    def in_use(self) -> bool:
        """Whether a request of its client is open."""
        return self.streams.read

    def idle_since(self, now: float) -> float:
        """Return for how long nobody has used it."""
        if self.in_use:
            self.used_at = now
        return now - self.used_at

    def stop_listening(self) -> None:
        """End the stream of what belongs to no request."""
        if self.streams.unrelated.reader is not None:
            self.streams.unrelated.reader.close()

    def close(self) -> None:
        self.edge.gone()
        self._output.close()
        self.streams.close()

    async def open(self, http: HttpRequest, initialize: Request, line: bytes) -> bool:
        """Answer the POST that opens it. Returns whether the client has heard of this session.

        Raises:
            McpnatsdError: It is against the rules.
        """
        if http.over:
            return False
        self.used_at = self._now()
        stream, self._opening = self._stream_of(initialize)
        handshake = Handshake(http, partial(self._begin, stream, 0), stream.detach)
        stream.attach(handshake)
        self.edge.receive(initialize, line)
        await handshake.wait_over()
        if handshake.gone:
            return False  # nobody knows of this session
        known = bool(self.revision)
        if known:
            http.extra.append((SESSION.lower().encode(), self.id.encode()))
        handshake.answer(known=known)
        return known

    def receive(self, http: HttpRequest, message: Message, line: bytes) -> None:
        """Answer one POST.

        Raises:
            McpnatsdError: It is against the rules.
        """
        if http.over:
            raise Gone
        self.used_at = self._now()
        self.followed = bool(self.revision)
        if self.edge.full or self.streams.full:
            raise Busy("too much of this session waits for NATS, or for answers")
        if isinstance(message, Request):
            stream, _ = self._stream_of(message)
            stream.attach(Reader(http, partial(self._begin, stream, 0), stream.detach))
            self.edge.receive(message, line)
        else:
            self._receive_unanswered(message, line)
            http.respond(202)

    def _stream_of(self, request: Request) -> tuple[Stream, Key]:
        key = jsonrpc.key_of(request.id)
        if key is None or self.streams.awaits(key):
            raise HttpRefused(400, "a request with this id is in flight already")
        meta = jsonrpc.object_of(jsonrpc.params_of(request.members), eras.META)
        return self.streams.open(key, jsonrpc.key_of(meta.get(eras.PROGRESS_TOKEN))), key

    def _begin(self, stream: Stream, given: int | None, http: HttpRequest) -> None:
        """Have a client come back to a stream, also if it is lost before its first message."""
        self.streams.start(stream)
        if self.revision >= PRIMES_FROM and given is not None:
            http.put(priming(EventId(stream.id, given)))

    def _receive_unanswered(self, message: Notification | Response, line: bytes) -> None:
        self.edge.receive(message, line)
        if isinstance(message, Notification) and message.method == eras.CANCELLED:
            raw = jsonrpc.params_of(message.members).get("requestId")
            key = jsonrpc.key_of(raw)
            if raw is not None and key is not None:
                # The server never answers: whoever reads that stream would wait for ever.
                self.streams.settle(key, jsonrpc.error(raw, _CANCELLED, "Request cancelled"))

    def listen(self, http: HttpRequest) -> None:
        """Answer a GET: what belongs to no request, or the rest of a stream that broke off.

        Raises:
            HttpRefused: There is no such stream.
        """
        if http.over:
            raise Gone
        self.used_at = self._now()
        self.followed = True
        last = http.headers.get("last-event-id")
        stream, after = self.streams.unrelated, None
        if last is not None:
            id = EventId.parse(last)  # noqa: A001
            found = None if id is None else self.streams.find(id)
            if id is None or found is None:
                raise HttpRefused(_NOT_FOUND, f"no stream has an event {last[:100]!r} any more")
            stream, after = found, id.number
        given = stream.given if after is None else None
        reader = Reader(http, partial(self._begin, stream, given), stream.detach)
        reader.start()
        stream.attach(reader, after)
