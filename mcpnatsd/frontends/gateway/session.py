"""One session of a legacy HTTP client: an edge of its own, whose lines go out on its streams."""

import asyncio
from collections.abc import Callable
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.errors import Busy, HttpRefused
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.gateway.http_request import KEEP_ALIVE_AFTER, Arrivals, HttpRequest
from mcpnatsd.frontends.gateway.streams import Stream, Streams
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import eras, http_rules, jsonrpc
from mcpnatsd.protocol.event_stream import EventId, EventStore, priming
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.jsonrpc import Key, Message, Notification, Request, Response

QUICK: Final = 0.25
"""Seconds in which most answers come, as plain JSON. Later ones come on a stream."""

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

    def __init__(self, id: str, server: str, principal: str, bus: ClientBus) -> None:  # noqa: A002
        self.id = id
        self.server = server
        self.principal = principal
        self.revision = ""
        """As negotiated; empty until then."""

        self._opening: Key | None = None

        self._now = asyncio.get_running_loop().time
        self.used_at = self._now()
        self._bus = bus

    def begin(self, store: EventStore) -> None:
        self.streams = Streams(store)
        self._output = RoutedOutput(self._route, lambda: self.streams.waiting_bytes)
        self.edge = Edge(self._bus, self.server, self._output)

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

    def idle_since(self, now: float) -> float:
        """Return for how long nobody has used it."""
        if self.streams.read:
            self.used_at = now
        return now - self.used_at

    def close(self) -> None:
        self.edge.gone()
        self._output.close()
        self.streams.close()

    async def receive(self, http: HttpRequest, message: Message, line: bytes) -> bool:
        """Answer one POST. Returns whether the client has heard of this session.

        Raises:
            McpnatsdError: It is against the rules.
        """
        self.used_at = self._now()
        if self.edge.full or self.streams.full:
            raise Busy("too much of this session waits for NATS, or for answers")
        if not isinstance(message, Request):
            self._receive_unanswered(message, line)
            await http.respond(202)
            return True
        key = jsonrpc.key_of(message.id)
        if key is None or self.streams.awaits(key):
            raise HttpRefused(400, "a request with this id is in flight already")
        meta = jsonrpc.object_of(jsonrpc.params_of(message.members), eras.META)
        stream = self.streams.open(key, jsonrpc.key_of(meta.get(eras.PROGRESS_TOKEN)))
        arrivals = Arrivals()
        stream.attach(arrivals)
        opens = message.method == eras.INITIALIZE and not self.revision
        self._opening = key if opens else self._opening
        self.edge.receive_line(line)
        return await self._answer(http, stream, opens=opens)

    def _receive_unanswered(self, message: Notification | Response, line: bytes) -> None:
        self.edge.receive_line(line)
        if isinstance(message, Notification) and message.method == eras.CANCELLED:
            raw = jsonrpc.params_of(message.members).get("requestId")
            key = jsonrpc.key_of(raw)
            if raw is not None and key is not None:
                # The server never answers: whoever reads that stream would wait for ever.
                self.streams.settle(key, jsonrpc.error(raw, _CANCELLED, "Request cancelled"))

    async def _answer(self, http: HttpRequest, stream: Stream, *, opens: bool) -> bool:
        arrivals = stream.arrivals
        assert arrivals is not None  # noqa: S101  (`receive` attached it)
        await arrivals.wait(QUICK)
        if opens and not arrivals.over:
            await _wait_over(http, arrivals)
        if arrivals.gone:
            return not opens  # nobody knows of this session
        known = not opens or bool(self.revision)
        if opens and known:
            http.extra.append((SESSION.lower().encode(), self.id.encode()))
        if stream.final is not None:
            status = 200 if known else http_rules.status_of_line(stream.final)
            await http.respond(status, stream.final)
            return known
        self.streams.start(stream)
        await http.start_stream()
        if self.revision >= PRIMES_FROM:
            await http.write(priming(EventId(stream.id, 0)))
        await arrivals.follow(http)
        return known

    async def listen(self, http: HttpRequest) -> None:
        """Answer a GET: what belongs to no request, or the rest of a stream that broke off.

        Raises:
            HttpRefused: There is no such stream.
        """
        self.used_at = self._now()
        last = http.headers.get("last-event-id")
        stream, after = self.streams.unrelated, None
        if last is not None:
            id = EventId.parse(last)  # noqa: A001
            found = None if id is None else self.streams.find(id.stream)
            if id is None or found is None:
                raise HttpRefused(_NOT_FOUND, f"no stream has an event {last[:100]!r} any more")
            stream, after = found, id.number
        arrivals = Arrivals()
        stream.attach(arrivals, after)
        await http.start_stream()
        if self.revision >= PRIMES_FROM and after is None:
            await http.write(priming(EventId(stream.id, stream.last - len(arrivals.items))))
        await arrivals.follow(http)


async def _wait_over(http: HttpRequest, arrivals: Arrivals) -> None:
    """Wait for the last message, or for the client to leave. The edge sees that it comes."""
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(arrivals.watch(http))
        while not arrivals.over:
            await arrivals.wait_over(KEEP_ALIVE_AFTER)
        watch.cancel()
