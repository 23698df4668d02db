"""Reads HTTP/1.1 requests off the bytes of one connection, and tells what is none.

The parser is httptools'. RFC 9112; what it takes that nobody should send is refused here.
"""

import logging
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote

import httptools

from mcpnatsd.errors import HttpRefused, McpnatsdError

log = logging.getLogger(__name__)

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a head, or of the trailers behind a body."""

_VERSIONS: Final = ("1.1", "1.0")
_OFFERS: Final = (b"upgrade", b"http2-settings")


class Head(NamedTuple):
    """What a request begins with."""

    method: str
    path: str
    query: bytes
    pairs: list[tuple[bytes, bytes]]
    """Its headers, their names in lower case."""

    version: str
    keeps: bool
    """Whether another request may follow."""

    expects: bytes | None
    """What it waits for before it sends its body."""


class Taker(Protocol):
    """Whoever gets the requests, piece by piece. A connection is one."""

    def on_message_begin(self) -> None: ...

    def receive_head(self, head: Head, /) -> None: ...

    def on_body(self, data: bytes, /) -> None: ...

    def on_message_complete(self) -> None: ...

    def refuse(self, fault: McpnatsdError, /) -> None:
        """Learn that what came is no request. Nothing more is read."""

    def hand_over(self, data: bytes, /) -> None:
        """Learn that the client wants to speak WebSocket, and what it said. Likewise."""


class HttpParser:
    """One connection's reader. httptools calls the methods that begin with `on_`."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.on_message_complete = taker.on_message_complete
        self._url = b""
        self._method = ""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._in_head = False
        self._field_bytes: int | None = None
        """Of a head, or of trailers, whose end is not there, at least."""

        self._fresh = False
        """Whether those began in the bytes that are being parsed: where, is not known."""

        self._to_websocket = False
        self._stopped = False
        self._parser = self._new_parser()

    def stop(self) -> None:
        """Read nothing more. What refers to itself stays in memory for long: let go of it."""
        self._stopped = True
        self._parser = None  # type: ignore[assignment]
        del self._taker, self.on_message_complete

    def receive(self, data: bytes) -> None:
        """Take what came."""
        while data and not self._stopped:
            data = self._feed(data)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows the last request is nobody's, and no reason to refuse that one.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _feed(self, data: bytes) -> bytes:
        """Have it parsed; return what is to be read again."""
        self._fresh = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            _log_fault(error)
            self._refuse(HttpRefused(400, "this is no HTTP/1.1"))
        else:
            if self._field_bytes is not None and not self._fresh:
                self._count_fields(len(data))
        return b""

    def _count_fields(self, size: int) -> None:
        self._field_bytes = (self._field_bytes or 0) + size
        if self._field_bytes > MOST_HEAD_BYTES:
            what = "a head is" if self._in_head else "trailers are"
            self._refuse(HttpRefused(431, f"{what} over {MOST_HEAD_BYTES} bytes"))

    def _refuse(self, fault: McpnatsdError) -> None:
        if not self._stopped:
            self._taker.refuse(fault)

    def _upgrade(self, rest: bytes) -> bytes:
        """Go on after a request for another protocol, which was left at its head.

        RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field".
        """
        if self._to_websocket:
            self._taker.hand_over(self._head(self._pairs) + rest)
            return b""
        if self._method == "CONNECT":
            self._refuse(HttpRefused(405, "this is no proxy"))
            return b""
        self._parser = self._new_parser()
        pairs = [pair for pair in self._pairs if pair[0] not in (*_OFFERS, b"connection")]
        said = b",".join(value.lower() for name, value in self._pairs if name == b"connection")
        left = [one for one in said.split(b",") if one.strip() not in _OFFERS]
        pairs.append((b"connection", b",".join(left)))
        return self._head(pairs) + rest

    def _head(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self._method.encode(), self._url)]
        lines += [b"%b: %b" % pair for pair in pairs]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _said(self, header: bytes) -> bytes | None:
        return next((value.lower() for name, value in self._pairs if name == header), None)

    # From httptools.

    def on_message_begin(self) -> None:
        if self._stopped:
            return  # what came along with the last request
        self._url = b""
        self._pairs = []
        self._in_head = self._fresh = True
        self._field_bytes = 0
        self._taker.on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # RFC 9110, 6.5.1: a trailer is no header. Taken for one, it would be seen by nobody
        # who looked at the head before us.
        if self._in_head:
            self._pairs.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._stopped:
            return
        self._in_head = False
        self._field_bytes = None
        parser = self._parser
        self._method = parser.get_method().decode()
        if parser.should_upgrade():
            said = self._said(b"upgrade") if self._method == "GET" else None
            self._to_websocket = said == b"websocket"
            return
        version = parser.get_http_version()
        keeps = parser.should_keep_alive()
        path, query = _target(self._url) if version in _VERSIONS else ("", b"")
        expects = self._said(b"expect")
        self._taker.receive_head(
            Head(self._method, path, query, self._pairs, version, keeps, expects)
        )

    def on_chunk_header(self) -> None:
        """Have what follows counted: after the last chunk, these are trailers."""
        self._field_bytes = 0
        self._fresh = True

    def on_body(self, data: bytes) -> None:
        self._field_bytes = None
        if not self._stopped:
            self._taker.on_body(data)


def _target(url: bytes) -> tuple[str, bytes]:
    """Return path and query of a request's target; no path when it has none that we read."""
    try:
        if url.startswith(b"/"):
            path, _, query = url.partition(b"#")[0].partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            path, query = parsed.path or b"", parsed.query or b""
        text = path.decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError):
        return "", b""
    return unquote(text) if "%" in text else text, query


def _log_fault(error: httptools.HttpParserError) -> None:
    if isinstance(error, httptools.HttpParserCallbackError):
        log.error("a request could not be taken", exc_info=error)
    else:
        log.info("this is no request", extra={"error": str(error)})
