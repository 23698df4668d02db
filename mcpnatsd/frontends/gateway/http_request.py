"""One HTTP request as the gateway sees it: headers by name, a body with a bound, answers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Raw

from mcpnatsd.errors import HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway.http_body import HttpBody
from mcpnatsd.frontends.gateway.http_parser import Head
from mcpnatsd.protocol import http_answers, http_headers, http_rules, jsonrpc
from mcpnatsd.protocol.http_answers import Header
from mcpnatsd.protocol.http_rules import EVENTS, JSON

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""These three are a WebSocket, as ASGI has it."""

Later = Coroutine[Any, Any, None] | None
"""What is left to do of a request, if something must be waited for; None when it is seen to."""

BODY_WITHIN: Final = 60.0
"""Seconds in which a client must have sent its whole message."""

KEEP_ALIVE_AFTER: Final = 15.0
"""Seconds of silence in an event stream until a comment is sent."""

_BAD_REQUEST: Final = 400
_NO_CONTENT: Final = 204
_UNAVAILABLE: Final = 503
_RETRY: Final = (b"retry-after", b"1")
_CLOSE: Final = b"connection: close\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
JSON_HEADERS: Final[tuple[Header, ...]] = ((b"content-type", JSON.encode()),)
_STREAM_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", EVENTS.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Client(Protocol):
    """Where a request came from, and its answer goes. A connection is one."""

    @property
    def date(self) -> bytes:
        """A line of each head."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""

    def write(self, data: bytes) -> None:
        """Write an answer, or the end of one, at once."""

    def put(self, data: bytes) -> None:
        """Write a piece of one, with those that come at the same time."""

    async def drain(self) -> None:
        """Wait for a client that is slow."""

    def cut(self) -> None: ...

    def adjust_reading(self) -> None:
        """Learn that a request wants its body, or no more of it."""

    def answered(self, http: "HttpRequest", /) -> None:
        """Learn that a request has its whole answer."""


class HttpHead:
    """What stands before a request's body."""

    __slots__ = ("_pairs", "extra", "headers", "method", "path", "query")

    def __init__(self, method: str, path: str, query: bytes, pairs: list[Header]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers: dict[str, str] = {}
        """By name in lower case; see `read_headers`."""

        self.extra: list[Header] = []
        """Headers of whatever answer it gets."""

        self._pairs = pairs

    def read_headers(self) -> None:
        """Take the headers.

        Raises:
            McpnatsdError: They are against the rules.
        """
        self.headers = http_headers.folded(self._pairs)
        # RFC 9112, 6.1: what is coded in a way that we do not know "SHOULD" get a 501.
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise HttpRefused(501, "a body may be chunked, and no more than that")

    @property
    def declared_bytes(self) -> int:
        """How long the body is said to be; 0 when that is not said."""
        declared = self.headers.get("content-length", "")
        return int(declared[:18]) if declared.isascii() and declared.isdigit() else 0


class HttpRequest(HttpHead):
    """A request, and how it is answered. It is over when it was answered, or its client is gone."""

    __slots__ = (
        "_chunked",
        "_client",
        "arriving",
        "began_at",
        "due",
        "expects",
        "fault",
        "held_bytes",
        "id",
        "keeps",
        "on_drain",
        "on_gone",
        "on_silent",
        "over",
        "silent_after",
        "started",
        "streaming",
        "written_at",
    )

    def __init__(self, client: Client, head: Head, now: float) -> None:
        super().__init__(head.method, head.path, head.query, head.pairs)
        self._client = client
        self.arriving = HttpBody()
        self.id: Raw | None = None
        """Of the message in it, so that a refusal can name it."""

        self.began_at = self.written_at = now
        # To the older protocol the end of an answer is the connection's.
        self._chunked = head.version == "1.1"
        self.keeps = head.keeps and self._chunked
        """Whether another request may follow on the connection."""

        self.expects = head.expects == b"100-continue"
        """Whether the client waits for our word before it sends the body."""

        self.started = False
        """Whether somebody sees to it. Until then it waits for those before it, or its body."""

        self.due = False
        """Whether it is handed on without its body."""

        self.fault: McpnatsdError | None = None
        """Why it goes no further than its connection."""

        self.held_bytes = 0
        """As the gateway counts them."""

        self.streaming = self.over = False
        self.on_gone: Callable[[], None] | None = None
        """Called when the client left before it had its answer."""

        self.on_silent: Callable[[], None] | None = None
        """Called when nothing was written for some seconds."""

        self.silent_after = KEEP_ALIVE_AFTER
        self.on_drain: Callable[[], None] | None = None
        """Called when the listener ends, to end what would never end by itself."""

    async def body(self, most: int) -> bytes:
        """Return the whole body, as soon as it is there.

        Raises:
            TooLarge: It is longer than `most`; the rest is not read.
            HttpRefused: It does not arrive in time.
            Gone: The client left before its end.
        """
        arriving = self.arriving
        arriving.check_size(most, self.declared_bytes)
        if not arriving.whole:
            await self._rest_of_body(most)
        return arriving.take()

    def body_at_once(self, most: int) -> bytes:
        """Return the body of a request that is whole.

        Raises:
            TooLarge: It is longer than `most`.
        """
        self.arriving.check_size(most, 0)
        return self.arriving.take()

    async def _rest_of_body(self, most: int) -> None:
        self.arriving.wanted = True
        self._client.adjust_reading()
        if self.expects:
            self.expects = False
            self._client.write(http_answers.CONTINUE)
        try:
            async with asyncio.timeout(BODY_WITHIN):
                await self.arriving.wait_whole(most)
        except TimeoutError:
            self.keeps = False
            text = f"the body did not arrive within {BODY_WITHIN:.0f} s"
            raise HttpRefused(408, text) from None

    def leave(self) -> None:
        """Learn that the client is gone."""
        if self.over:
            return
        on_gone = self.on_gone
        self._end()
        if on_gone is not None:
            on_gone()

    def tick(self, now: float) -> None:
        if self.on_silent is not None and now - self.written_at >= self.silent_after:
            self.written_at = now
            self.on_silent()

    # Answers.

    def respond(
        self, status: int, body: bytes = b"", *, headers: Sequence[Header] = JSON_HEADERS
    ) -> None:
        """Answer at once, in one piece: two would be two packets, and two wake-ups."""
        if self.over:
            return
        if status == _UNAVAILABLE and not any(name == _RETRY[0] for name, _ in self.extra):
            self.extra.append(_RETRY)
        length = b"" if status == _NO_CONTENT else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers if body else (), length)
        self._client.write(head if self.method == "HEAD" else head + body)
        self._finished()

    def refuse(self, fault: McpnatsdError) -> None:
        """Answer with the JSON-RPC error that tells an exception of ours, and its status."""
        if isinstance(fault, HttpRefused):
            status, more = fault.status, fault.headers
        else:
            status, more = http_rules.status_of(fault.jsonrpc_code), {}
            status = _BAD_REQUEST if status == 200 else status  # noqa: PLR2004
        self.extra += [(name.encode(), value.encode()) for name, value in more.items()]
        self.respond(status, jsonrpc.error_of(self.id, fault))

    def start_stream(self) -> None:
        """Begin an event stream."""
        if not self.over:
            self.streaming = True
            self._client.put(self._head(200, _STREAM_HEADERS, _CHUNKED if self._chunked else b""))

    def put(self, data: bytes) -> None:
        """Write a piece of the stream; see `waiting_bytes`."""
        if not self.over and data:
            self.written_at = asyncio.get_running_loop().time()
            self._client.put(http_answers.chunk(data) if self._chunked else data)

    async def write(self, data: bytes) -> None:
        """Write a piece of the stream; wait for a client that is slow."""
        self.put(data)
        await self._client.drain()

    def finish(self, data: bytes = b"") -> None:
        """End the stream, with a last piece."""
        if self.over:
            return
        self.put(data)
        self._client.write(http_answers.LAST_CHUNK if self._chunked else b"")
        self._finished()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        return self._client.waiting_bytes

    def cut(self) -> None:
        """End the connection: an answer that has begun cannot become another."""
        self._client.cut()

    def _head(self, status: int, headers: Sequence[Header], length: bytes) -> bytes:
        if self.expects and not self.arriving.whole:
            self.keeps = False  # it may send the body all the same, or go on without it
        more = self._client.date + length if self.keeps else self._client.date + length + _CLOSE
        return http_answers.head(status, (*headers, *self.extra), more)

    def _finished(self) -> None:
        self._end()
        self._client.answered(self)

    def _end(self) -> None:
        """Let go of whoever sees to it: what refers to itself stays in memory for long."""
        self.over = True
        self.on_gone = self.on_silent = self.on_drain = None
        self.arriving.end()
