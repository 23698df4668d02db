"""Bytes that two readers might take for different requests: refused, or read in the safe way."""

from typing import Any

import pytest

from mcpnatsd.errors import HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway.http_parser import MOST_HEAD_BYTES, Head, HttpParser

POST = b"POST /mcp/x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\n\r\n"


class Taken:
    """What a connection would be told."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.body = b""
        self.whole = 0
        self.refused = 0
        self.handed_over = b""
        self.parser = HttpParser(self)

    def on_message_begin(self) -> None: ...

    def receive_head(self, head: Head) -> None:
        self.heads.append(head)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole += 1

    def refuse(self, fault: McpnatsdError) -> None:
        assert isinstance(fault, HttpRefused)
        self.refused = fault.status
        self.parser.stop()

    def hand_over(self, data: bytes) -> None:
        self.handed_over = data
        self.parser.stop()

    @property
    def paths(self) -> list[str]:
        return [head.path for head in self.heads]


def taken(*pieces: bytes) -> Taken:
    found = Taken()
    for piece in pieces:
        found.parser.receive(piece)
    return found


def headers(head: Head) -> dict[bytes, Any]:
    return {name: [value for key, value in head.pairs if key == name] for name, _ in head.pairs}


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        POST + b"Content-Length: 4, 4\r\n\r\nabcd",
        POST + b"Content-Length: +4\r\n\r\nabcd",
        POST + b"Content-Length: \r\n\r\nabcd",
        POST + b"Content-Length: 1\r\n 2\r\n\r\nabcdefghijkl",
        POST + b"Transfer-Encoding: identity\r\n\r\nabcd",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\nabcd",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        POST + b"X-A: b\r\n c\r\n\r\n",
        POST + b"X-A: b\r\n\n",
        POST + b"X-A: b\nX-B: c\r\n\r\n",
        POST + b"X-A: b\rX-B: c\r\n\r\n",
        POST + b"X-A: b\0c\r\n\r\n",
        b"POST /mcp/x HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
        b"POST /mcp/x HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\n\r\n",
        CHUNKED + b"2\nab\n0\n\n",
        CHUNKED + b'2;a="\n"\r\nab\r\n0\r\n\r\n',
        CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"2 \r\nab\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nabXX0\r\n\r\n",
        CHUNKED + b"10000000000000002\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_what_two_readers_might_read_differently_is_refused(sent: bytes) -> None:
    found = taken(sent + NEXT)

    assert found.refused == 400
    assert found.whole == 0
    assert "/next" not in found.paths


TRAILERS = b"Authorization: Bearer t\r\nHost: evil\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize("cut", [1, len(TRAILERS) // 2, len(TRAILERS)])
def test_a_trailer_is_no_header(cut: int) -> None:
    sent = CHUNKED + b"2\r\nab\r\n0\r\n" + TRAILERS[:cut]
    found = taken(sent, TRAILERS[cut:] + b"\r\n" + NEXT)

    assert found.paths == ["/mcp/x", "/next"]
    assert found.body == b"ab"
    assert found.whole == 2
    assert not found.refused
    assert headers(found.heads[0]) == {b"host": [b"a"], b"transfer-encoding": [b"chunked"]}
    assert found.heads[1].pairs == []


@pytest.mark.parametrize("line", [b"a:\r\n", b"x: " + b"a" * 4000 + b"\r\n", b"a" * 4000])
@pytest.mark.parametrize("begun", [POST, CHUNKED + b"2\r\nab\r\n0\r\n", CHUNKED + b"0\r\n"])
def test_a_head_or_trailers_without_an_end_are_refused(begun: bytes, line: bytes) -> None:
    piece = line * (4096 // len(line))
    found = Taken()
    found.parser.receive(begun)
    read = 0
    while not found.refused:
        found.parser.receive(piece)
        read += len(piece)
        assert read <= MOST_HEAD_BYTES + 2 * len(piece)

    assert found.refused == 431
    assert found.whole == 0


def test_a_long_body_is_not_taken_for_trailers() -> None:
    pieces = [b"%x\r\n" % 200_000, *[b"x" * 50_000] * 4, b"\r\n"] * 2
    found = taken(CHUNKED, *pieces, b"0\r\n", b"A: b\r\n\r\n", NEXT)

    assert len(found.body) == 400_000
    assert found.whole == 2
    assert not found.refused


def test_a_heap_between_two_halves_of_heads_is_not_taken_for_a_long_head() -> None:
    heap = b"".join(POST + b"Content-Length: 50000\r\n\r\n" + b"x" * 50_000 for _ in range(4))
    found = taken(POST[:20], POST[20:] + b"\r\n" + heap + POST[:20], POST[20:] + b"\r\n")

    assert found.whole == 6
    assert not found.refused


@pytest.mark.parametrize(
    "connection",
    [
        b"Connection: Upgrade\r\nConnection: close\r\n",
        b"Connection: close\r\nConnection: Upgrade\r\n",
        b"Connection: Upgrade, close\r\n",
    ],
)
def test_who_offers_another_protocol_and_wants_no_more_is_understood(connection: bytes) -> None:
    found = taken(POST + connection + b"Upgrade: h2c\r\nContent-Length: 4\r\n\r\nabcd")

    [head] = found.heads
    assert not head.keeps
    assert b"upgrade" not in headers(head)
    assert found.body == b"abcd"


def test_only_a_get_that_asks_for_a_websocket_is_handed_over() -> None:
    asks = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    assert taken(b"GET /ws/x HTTP/1.1\r\n" + asks + b"more").handed_over.endswith(b"\r\n\r\nmore")
    assert taken(POST + asks).paths == ["/mcp/x"]
    assert taken(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT).refused == 405


@pytest.mark.parametrize(
    "sent", [b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET a HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_1_or_names_no_path_has_none(sent: bytes) -> None:
    found = taken(sent)

    assert found.refused == 400 or found.paths == [""]


def test_a_target_may_be_a_whole_url() -> None:
    [head] = taken(b"GET http://evil/mcp/x?y#z HTTP/1.1\r\nHost: a\r\n\r\n").heads

    assert (head.path, head.query) == ("/mcp/x", b"y")
    assert headers(head) == {b"host": [b"a"]}
