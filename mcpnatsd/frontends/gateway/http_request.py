"""One HTTP request as the gateway sees it: headers by name, a body with a bound, answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from msgspec import Raw

from mcpnatsd.errors import HttpRefused, McpnatsdError, TooLarge
from mcpnatsd.protocol import http_headers, http_rules, jsonrpc
from mcpnatsd.protocol.event_stream import KEEP_ALIVE
from mcpnatsd.protocol.http_rules import EVENTS, JSON

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

BODY_WITHIN: Final = 60.0
"""Seconds in which a client must have sent its whole message."""

_BAD_REQUEST: Final = 400
_UNAVAILABLE: Final = 503

KEEP_ALIVE_AFTER: Final = 15.0
"""Seconds of silence in an event stream until a comment is sent."""

_JSON_TYPE: Final = (b"content-type", JSON.encode())
_STREAM_HEADERS: Final = (
    (b"content-type", EVENTS.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Gone(Exception):
    """The client is not there any more: nobody needs an answer."""


class HttpRequest:
    """A request, and how it is answered."""

    __slots__ = ("_receive", "_send", "extra", "headers", "method", "path", "query", "streaming")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[str, str] = {}
        self.streaming = False
        self.extra: list[Header] = []
        """Headers of whatever answer it gets."""

        self._receive = receive
        self._send = send

    def read_headers(self, scope: Scope) -> None:
        """Take the headers.

        Raises:
            Mismatch: One that mirrors the body stands twice.
        """
        pairs = scope["headers"]
        self.headers = http_headers.folded(
            # RFC 9110, 5.5: blanks around a value are no part of it.
            (name.decode("latin-1"), value.decode("latin-1").strip(" \t"))
            for name, value in pairs
        )

    @property
    def declared_bytes(self) -> int:
        """How long the body is said to be; 0 when that is not said."""
        declared = self.headers.get("content-length", "")
        return int(declared[:18]) if declared.isascii() and declared.isdigit() else 0

    async def body(self, most: int) -> bytes:
        """Return the whole body.

        Raises:
            TooLarge: It is longer than `most`; the rest is not read.
            Gone: The client left before its end.
        """
        if self.declared_bytes > most:
            raise self._too_large(most)
        try:
            async with asyncio.timeout(BODY_WITHIN):
                return await self._whole_body(most)
        except TimeoutError:
            self.extra.append((b"connection", b"close"))
            text = f"the body did not arrive within {BODY_WITHIN:.0f} s"
            raise HttpRefused(408, text) from None

    async def _whole_body(self, most: int) -> bytes:
        gathered = bytearray()
        while (message := await self._receive())["type"] == "http.request":
            gathered += message.get("body", b"")
            if len(gathered) > most:
                raise self._too_large(most)
            if not message.get("more_body"):
                return bytes(gathered)
        raise Gone

    def _too_large(self, most: int) -> TooLarge:
        # The connection stays: closed now, it would be reset, and the answer lost with it.
        return TooLarge(f"the body is over the limit of {most} bytes")

    async def wait_gone(self) -> None:
        """Return when the client left. Call it after `body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # Answers.

    async def respond(
        self, status: int, body: bytes = b"", *, headers: Iterable[Header] = (_JSON_TYPE,)
    ) -> None:
        """Answer at once."""
        length = (b"content-length", b"%d" % len(body))
        if status == _UNAVAILABLE and not any(name == b"retry-after" for name, _ in self.extra):
            self.extra.append((b"retry-after", b"1"))
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [length, *(headers if body else ()), *self.extra],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(
        self,
        fault: McpnatsdError,
        id: Raw | bytes | None = None,  # noqa: A002
    ) -> None:
        """Answer with the JSON-RPC error that tells an exception of ours, and its status."""
        if isinstance(fault, HttpRefused):
            status, more = fault.status, fault.headers
        else:
            status, more = http_rules.status_of(fault.jsonrpc_code), {}
            status = _BAD_REQUEST if status == 200 else status  # noqa: PLR2004
        self.extra += [(name.encode(), value.encode()) for name, value in more.items()]
        await self.respond(status, jsonrpc.error_of(id, fault))

    async def start_stream(self) -> None:
        """Begin an event stream."""
        self.streaming = True
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*_STREAM_HEADERS, *self.extra],
            }
        )

    async def write(self, data: bytes) -> None:
        """Write a piece of the stream; it waits for a client that is slow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})


class Arrivals:
    """What is on its way to one client's stream: wakes whoever writes it."""

    __slots__ = ("_event", "closed", "gone", "items", "waiting_bytes")

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.waiting_bytes = 0
        self.closed = False
        """Nothing more is to come."""

        self.gone = False
        """The client left."""

        self._event = asyncio.Event()

    @property
    def over(self) -> bool:
        return self.closed or self.gone

    def put(self, data: bytes) -> None:
        self.items.append(data)
        self.waiting_bytes += len(data)
        self._event.set()

    def close(self) -> None:
        self.closed = True
        self._event.set()

    def leave(self) -> None:
        self.gone = True
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until something arrives or it is over, but not for longer."""
        if not self.items:
            await self.wait_over(seconds)

    async def wait_over(self, seconds: float) -> None:
        """Wait for the next change, which may be that it is over."""
        if self.over:
            return
        self._event.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return

    async def follow(self, http: HttpRequest) -> None:
        """Write what arrives to a stream that has begun, until it is over or the client left."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self.watch(http))
            while not self.gone:
                items, self.items = self.items, []
                if items:
                    await http.write(b"".join(items))
                    self.waiting_bytes -= sum(map(len, items))
                elif self.closed:
                    await http.finish()
                    break
                else:
                    await self._wait_alive(http)
            watch.cancel()

    async def _wait_alive(self, http: HttpRequest) -> None:
        await self.wait(KEEP_ALIVE_AFTER)
        if not self.items and not self.over:
            await http.write(KEEP_ALIVE)

    async def watch(self, http: HttpRequest) -> None:
        """Notice that the client leaves."""
        await http.wait_gone()
        self.leave()
