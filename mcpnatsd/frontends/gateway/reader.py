"""Whoever reads a stream of a session over one HTTP request: what comes goes out as it comes."""

import asyncio
from collections.abc import Callable
from typing import Final

from mcpnatsd.frontends.gateway.http_request import KEEP_ALIVE_AFTER, HttpRequest
from mcpnatsd.protocol import http_rules
from mcpnatsd.protocol.event_stream import KEEP_ALIVE

QUICK: Final = 0.25
"""Seconds in which most answers come, as plain JSON. Later ones come on a stream."""


class Reader:
    """Answers with JSON if nothing comes before the final response, with a stream otherwise."""

    __slots__ = ("_begin", "_http", "_left", "gone")

    def __init__(
        self,
        http: HttpRequest,
        begin: Callable[[HttpRequest], object],
        left: Callable[["Reader"], object],
    ) -> None:
        """`begin` is called when an event stream begins, to write what comes first on it."""
        self.gone = False
        """The client left, or has all."""

        self._http = http
        self._begin = begin
        self._left = left
        http.on_gone = self._leave
        http.on_silent = self._keep_alive
        http.silent_after = QUICK

    @property
    def waiting_bytes(self) -> int:
        return 0 if self.gone else self._http.waiting_bytes

    def start(self) -> None:
        """Begin the event stream, if it has not begun."""
        http = self._http
        if not http.streaming:
            http.silent_after = KEEP_ALIVE_AFTER
            http.start_stream()
            self._begin(http)

    def put(self, data: bytes) -> None:
        self.start()
        self._http.put(data)

    def close(self, final: bytes | None = None) -> None:
        """End; `final` is the whole answer if nothing came before it."""
        http = self._http
        if self.gone:
            return
        if final is not None and not http.streaming:
            http.respond(200, final)
        else:
            self.start()
            http.finish()
        self._leave()

    def _keep_alive(self) -> None:
        if self._http.streaming:
            self._http.put(KEEP_ALIVE)
        else:
            self.start()

    def _leave(self) -> None:
        """Let go of the stream: what refers to itself stays in memory for long."""
        self.gone = True
        left, self._left, self._begin = self._left, _nothing, _nothing
        left(self)


class Handshake(Reader):
    """Waits for the end of `initialize`: only then it is known whether there is a session."""

    __slots__ = ("_final", "_held", "_over")

    def __init__(
        self,
        http: HttpRequest,
        begin: Callable[[HttpRequest], object],
        left: Callable[[Reader], object],
    ) -> None:
        super().__init__(http, begin, left)
        http.on_silent = None
        self._held = b""
        self._final: bytes | None = None
        self._over = asyncio.Event()

    @property
    def waiting_bytes(self) -> int:
        return len(self._held)

    def put(self, data: bytes) -> None:
        self._held += data

    def close(self, final: bytes | None = None) -> None:
        if not self._over.is_set():
            self._final = final
            self._over.set()

    def _leave(self) -> None:
        super()._leave()
        self._over.set()

    async def wait_over(self) -> None:
        """Wait for the last message, or for the client to leave. The edge sees that it comes."""
        await self._over.wait()

    def answer(self, *, known: bool) -> None:
        """Answer with all that came. Without a session, the status tells what was wrong."""
        if self._final is not None:
            status = 200 if known else http_rules.status_of_line(self._final)
            self._http.respond(status, self._final)
        else:
            self.start()
            self._http.finish(self._held)
        super()._leave()


def _nothing(_: object) -> None:
    """Nobody wants to know any more."""
