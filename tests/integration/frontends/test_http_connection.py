"""HTTP/1.1 as it arrives: in pieces, in heaps, malformed, from clients that do not read."""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from mcpnatsd.errors import McpnatsdError
from mcpnatsd.frontends.gateway import http_connection, http_request
from mcpnatsd.frontends.gateway.http_body import Gone
from mcpnatsd.frontends.gateway.http_connection import House, HttpConnection
from mcpnatsd.frontends.gateway.http_request import HttpRequest
from tests.waiting import until

MOST = 100_000
HEAD = b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LENGTH = re.compile(rb"content-length: (\d+)\r\n")


class Answers:
    """Answers as its path says, and tells each request from the others."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self.open: list[HttpRequest] = []
        self.started: list[str] = []
        self.gone: list[str] = []
        self.later: dict[bytes, HttpRequest] = {}

    def receive(self, http: HttpRequest) -> None:
        self.open.append(http)
        self.started.append(http.path)
        http.read_headers()
        http.on_gone = lambda: self.gone.append(http.path)
        match http.path:
            case "/later":
                self.later[http.query] = http
            case "/fault":
                raise RuntimeError("a test")
            case "/early":
                http.respond(413, b"too much")
            case "/big":
                http.respond(200, b"x" * 1_000_000)
            case "/stream":
                http.start_stream()
                http.on_silent = lambda: http.put(b":\n\n")
                http.put(b"data: 1\n\n")
            case _ if http.arriving.whole:
                http.respond(200, b"<%b>" % http.body_at_once(MOST))
            case _:
                self._spawn(self._answer(http))

    def left(self, http: HttpRequest) -> None:
        if http in self.open:
            self.open.remove(http)

    def _spawn(self, answer: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(answer)

    async def _answer(self, http: HttpRequest) -> None:
        try:
            http.respond(200, b"<%b>" % await http.body(MOST))
        except Gone:
            self.gone.append(http.path)
        except McpnatsdError as fault:
            http.refuse(fault)


class Here:
    """A listener in this process."""

    def __init__(self, house: House, answers: Answers, port: int) -> None:
        self.house = house
        self.answers = answers
        self.port = port

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()

    async def all(self, sent: bytes) -> bytes:
        """Send bytes, and return all that comes until the connection is closed."""
        async with self.client() as client, asyncio.timeout(20):
            client.send(sent)
            return await client.reader.read()

    async def seen(self) -> None:
        """Return when all that was sent before has been read."""
        async with self.client() as client:
            client.send(post(b"seen"))
            assert (await client.answer())[1] == b"<seen>"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def end(self) -> None:
        self._writer.write_eof()

    def leave(self) -> None:
        self._writer.transport.abort()

    async def answer(self) -> tuple[bytes, bytes]:
        """Return head and body of the next answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            found = LENGTH.search(head)
            return head, await self.reader.readexactly(int(found[1]) if found else 0)

    async def closed(self) -> bytes:
        """Return what is left until the connection is closed."""
        async with asyncio.timeout(20):
            return await self.reader.read()


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    async with asyncio.TaskGroup() as group:
        answers = Answers(group)
        house = House(answers, 50, lambda transport, _: transport.abort())
        house.date = b"date: then\r\n"
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpConnection(house), "127.0.0.1", 0)
        clock = group.create_task(tick(house))
        yield Here(house, answers, server.sockets[0].getsockname()[1])
        clock.cancel()
        server.close()
        house.cut()
    assert not answers.open
    assert not house.connections


async def tick(house: House) -> None:
    while True:
        house.tick(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)


def post(body: bytes, path: bytes = b"/now", more: bytes = b"") -> bytes:
    head = HEAD.replace(b"/now", path) + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes, path: bytes = b"/now", end: bytes = b"0\r\n\r\n") -> bytes:
    chunks = [b"%x;why=not\r\n%b\r\n" % (len(one), one) for one in pieces]
    head = HEAD.replace(b"/now", path) + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(chunks) + end


# What is no request.


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"hello\r\n\r\n",
        b"POST\r\n\r\n",
        b"POST /now\r\n\r\n",
        b"POST /now HTTP/9.9\r\n\r\n",
        b"PoST /now HTTP/1.1\r\n\r\n",
        b"POST no-slash HTTP/1.1\r\n\r\n",
        b"POST /n\xffw HTTP/1.1\r\n\r\n",
        b"POST /now HTTP/1.1\r\nHost a\r\n\r\n",
        b"POST /now HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST /now HTTP/1.1\r\n: a\r\n\r\n",
        b"POST /now HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"POST /now HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
        b"POST /now HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        b"POST /now HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /now HTTP/1.1\r\nContent-Length: +1\r\n\r\n1",
        b"POST /now HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n1",
        b"POST /now HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /now HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"POST /now HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /now HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"POST /now HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"POST /now HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_after_those_before_it(here: Here, sent: bytes) -> None:
    alone = await here.all(sent)
    behind = await here.all(post(b"1") + post(b"2") + sent + post(b"3"))

    assert alone.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close\r\n" in alone
    assert behind.startswith(b"HTTP/1.1 200")
    assert [behind.count(b"<%d>" % number) for number in (1, 2, 3)] == [1, 1, 0]
    assert behind.index(b"<2>") < behind.index(b"HTTP/1.1 400")
    assert behind.endswith(alone)


async def test_what_is_no_request_waits_for_an_answer_that_takes_long(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1") + b"GARBAGE\r\n\r\n")
        await until(lambda: here.answers.later)
        here.answers.later[b"1"].respond(200, b"first")

        assert (await client.answer())[1] == b"first"
        assert (await client.closed()).startswith(b"HTTP/1.1 400")


async def test_a_chunk_that_is_none_ends_the_request_that_waits_for_it(here: Here) -> None:
    async with here.client() as client:
        client.send(chunked(b"x", path=b"/slow", end=b""))
        await until(lambda: here.answers.started)  # it is waited for, in a task
        client.send(b"no chunk\r\n")

        assert (await client.closed()).startswith(b"HTTP/1.1 400")
        await until(lambda: here.answers.gone == ["/slow"])


async def test_a_stream_that_has_begun_is_cut_and_not_answered_twice(here: Here) -> None:
    async with here.client() as client:
        client.send(b"GET /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.answer()
        client.send(b"no chunk\r\n")

        with suppress(ConnectionError):
            assert b"HTTP/1.1" not in await client.closed()
        await until(lambda: here.answers.gone == ["/stream"])


async def test_a_request_that_has_its_answer_gets_no_other(here: Here) -> None:
    answer = await here.all(chunked(b"1", path=b"/early", end=b"no chunk\r\n"))
    late = await here.all(chunked(b"x" * 70_000, path=b"/early", end=b"no chunk\r\n"))

    for one in (answer, late):
        assert re.findall(rb"HTTP/1.1 (\d+) ", one)[-1:] in ([b"400"], [b"413"])
        assert one.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("trailers", [b"a:\r\n" * 125_000, b"a: " + b"b" * 500_000])
async def test_trailers_without_an_end_are_refused(here: Here, trailers: bytes) -> None:
    assert (await here.all(chunked(b"1", end=b"0\r\n" + trailers))).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "head",
    [HEAD + b"X: " + b"a" * 500_000, HEAD + b"X: a\r\n" * 90_000, b"POST /" + b"a" * 500_000],
    ids=["a value", "many headers", "a path"],
)
async def test_a_head_without_an_end_is_refused(here: Here, head: bytes) -> None:
    assert (await here.all(head)).startswith(b"HTTP/1.1 431")


async def test_who_does_not_end_what_is_refused_is_cut_off(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LINGER_FOR", 0.1)
    async with here.client() as client:
        client.send(b"GARBAGE\r\n\r\n")
        assert (await client.closed()).startswith(b"HTTP/1.1 400")
        client.send(post(b"1"))

        await until(lambda: not here.house.connections)
    assert not here.answers.started


async def test_a_head_that_is_cut_in_a_heap_of_requests_is_not_taken_for_a_long_one(
    here: Here,
) -> None:
    heap = b"".join(post(b"x" * 50_000) for _ in range(4))
    async with here.client() as client:
        client.send(heap + post(b"1")[:20])
        await here.seen()
        client.send(post(b"1")[20:])

        found = [(await client.answer())[1] for _ in range(5)]
        assert [len(one) for one in found] == [50_002] * 4 + [3]


async def test_a_header_of_an_answer_brings_no_other_with_it(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1"))
        await until(lambda: here.answers.later)
        http = here.answers.later[b"1"]
        http.extra.append((b"vary", b"a\r\nset-cookie: b"))
        with pytest.raises(McpnatsdError):
            http.respond(200, b"")
        http.extra.clear()
        http.respond(204)

        head, _ = await client.answer()
        assert b"cookie" not in head


# Bodies.


@pytest.mark.parametrize("request_", [post(b"0123456789"), chunked(b"01234", b"56789")])
async def test_a_request_may_be_cut_anywhere(here: Here, request_: bytes) -> None:
    for cut in range(1, len(request_)):
        async with here.client() as client:
            client.send(request_[:cut])
            await here.seen()
            client.send(request_[cut:])

            assert (await client.answer())[1] == b"<0123456789>"


async def test_a_request_may_come_byte_by_byte(here: Here) -> None:
    async with here.client() as client:
        for byte in post(b"0123456789") + chunked(b"01234", b"56789"):
            client.send(bytes([byte]))
            await here.seen()

        assert [(await client.answer())[1] for _ in "12"] == [b"<0123456789>"] * 2


async def test_a_chunked_body_is_whole_with_what_follows_it(here: Here) -> None:
    async with here.client() as client:
        client.send(chunked(b"a", b"b" * 20_000, end=b"0\r\nTrailer: c\r\n\r\n") + post(b"next"))

        assert (await client.answer())[1] == b"<a" + b"b" * 20_000 + b">"
        assert (await client.answer())[1] == b"<next>"


@pytest.mark.parametrize("size", [70_000, MOST])
async def test_a_long_body_is_taken_while_it_arrives(here: Here, size: int) -> None:
    async with here.client() as client:
        client.send(post(b"x" * size)[:-1])
        await until(lambda: here.answers.started)  # before it is whole
        client.send(b"y")

        assert (await client.answer())[1] == b"<" + b"x" * (size - 1) + b"y>"


@pytest.mark.parametrize(
    "sent", [post(b"x" * (MOST + 1)), chunked(*[b"x" * 10_000] * 30)], ids=["declared", "chunked"]
)
async def test_a_body_over_the_limit_is_refused_and_the_next_request_answered(
    here: Here, sent: bytes
) -> None:
    async with here.client() as client:
        client.send(sent + post(b"next"))

        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 413")
        assert (await client.answer())[1] == b"<next>"


async def test_a_body_that_is_said_to_be_too_long_is_not_waited_for(here: Here) -> None:
    async with here.client() as client:
        client.send(HEAD + b"Content-Length: 1000000000\r\n\r\n0123")

        assert (await client.answer())[0].startswith(b"HTTP/1.1 413")


async def test_a_client_that_waits_for_our_word_is_given_it(here: Here) -> None:
    async with here.client() as client:
        client.send(HEAD + b"Expect: 100-Continue\r\nContent-Length: 4\r\n\r\n")
        assert await client.answer() == (b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        client.send(b"body")

        assert (await client.answer())[1] == b"<body>"


async def test_a_client_that_waits_for_our_word_is_refused_without_its_body(here: Here) -> None:
    async with here.client() as client:
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        # Whether the body comes all the same is not known: nothing more can be read.
        client.send(post(b"no body"))

        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 413")
        assert b"connection: close\r\n" in head
        assert await client.closed() == b""
        assert here.answers.started == ["/now"]


async def test_a_body_that_does_not_come_is_not_waited_for(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "BODY_WITHIN", 0.1)
    answer = await here.all(post(b"0123")[:-1])

    assert answer.startswith(b"HTTP/1.1 408")


async def test_what_follows_a_refusal_is_not_read_for_ever(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "REST_WITHIN", 0.2)
    async with here.client() as client:
        client.send(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        assert (await client.answer())[0].startswith(b"HTTP/1.1 413")
        client.send(b"x" * 100_000)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(1)


# Whose turn it is.


async def test_answers_come_in_the_order_of_their_requests(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1") + post(b"2") + post(b"", b"/later?3") + post(b"4"))
        await until(lambda: here.answers.later)
        assert here.answers.started == ["/later"]  # the others wait for it
        here.answers.later[b"1"].respond(200, b"1")
        assert [(await client.answer())[1] for _ in "12"] == [b"1", b"<2>"]
        await until(lambda: b"3" in here.answers.later)
        here.answers.later[b"3"].respond(200, b"3")

        assert [(await client.answer())[1] for _ in "34"] == [b"3", b"<4>"]


async def test_a_thousand_requests_at_once_are_answered_each_in_its_turn(here: Here) -> None:
    async with here.client() as client:
        client.send(b"".join(post(b"%d" % number) for number in range(1000)))

        for number in range(1000):
            assert (await client.answer())[1] == b"<%d>" % number


async def test_a_client_that_ends_its_side_has_left(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1") + post(b"2"))
        await until(lambda: here.answers.later)
        client.end()

        assert await client.closed() == b""
        assert here.answers.gone == ["/later"]
        assert here.answers.started == ["/later"]


async def test_all_requests_of_a_client_that_left_are_over(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1") + post(b"012", b"/slow")[:-1])
        await until(lambda: here.answers.later)
        http = here.answers.later[b"1"]
        client.leave()
        await until(lambda: here.answers.gone)

        assert http.over
        http.respond(200, b"to nobody")
        await until(lambda: not here.house.connections)


async def test_a_body_that_breaks_off_is_nobodys(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"0123", b"/slow")[:-1])
        await until(lambda: here.answers.started)
        client.leave()

        await until(lambda: set(here.answers.gone) == {"/slow"})


async def test_a_client_that_reads_nothing_is_answered_only_so_far(here: Here) -> None:
    async with here.client() as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"".join(post(b"", b"/big") for _ in range(200)))
        [connection] = here.house.connections
        await until(lambda: connection.waiting_bytes)
        await here.seen()
        started = len(here.answers.started)
        assert started < 50
        await here.seen()
        assert connection.waiting_bytes < 3_000_000

        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            assert len((await client.answer())[1]) == 1_000_000


async def test_a_connection_that_is_held_back_is_read_no_further(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/later?1"))
        await until(lambda: here.answers.later)
        [connection] = here.house.connections
        for number in range(5000):
            client.send(post(b"%d" % number + b"x" * 5000))
        await here.seen()
        assert len(connection._open) < 200

        here.answers.later[b"1"].respond(200, b"")
        for number in range(-1, 5000):
            assert (await client.answer())[1][1:2] == (b"%d" % number)[:1] or number == -1


# Connections.


async def test_a_connection_goes_on_after_a_refusal(here: Here) -> None:
    async with here.client() as client:
        client.send(post(b"", b"/early") + post(b"1") + b"GET /x?y#z HTTP/1.1\r\nHost: a\r\n\r\n")

        assert (await client.answer())[0].startswith(b"HTTP/1.1 413")
        assert (await client.answer())[1] == b"<1>"
        assert (await client.answer())[1] == b"<>"


@pytest.mark.parametrize(
    "sent",
    [post(b"1", more=b"Connection: close\r\n"), post(b"1").replace(b"HTTP/1.1", b"HTTP/1.0")],
)
async def test_a_client_that_wants_no_more_is_closed(here: Here, sent: bytes) -> None:
    answer = await here.all(sent + post(b"2"))

    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"<1>")


async def test_an_answer_is_one_piece_with_a_date(here: Here) -> None:
    answer = await here.all(post(b"1", more=b"Connection: close\r\n"))

    assert answer == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: then\r\n"
        b"content-length: 3\r\nconnection: close\r\n\r\n<1>"
    )


async def test_the_answer_to_head_has_no_body(here: Here) -> None:
    answer = await here.all(b"HEAD /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert b"content-length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_another_protocol_is_not_spoken(here: Here) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    async with here.client() as client:
        client.send(post(b"1", more=upgrade) * 3 + post(b"2"))
        client.send(chunked(b"3").replace(b"Host", b"Connection: upgrade\r\nUpgrade: x\r\nHost"))
        client.send(post(b"4", more=upgrade.replace(b"Upgrade,", b"close, Upgrade,")))

        found = [(await client.answer())[1] for _ in range(6)]
        assert found == [b"<1>", b"<1>", b"<1>", b"<2>", b"<3>", b"<4>"]
        assert await client.closed() == b""


async def test_a_proxy_is_not_there(here: Here) -> None:
    assert (await here.all(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 405")


async def test_a_stream_is_chunked_and_kept_alive(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "KEEP_ALIVE_AFTER", 0.05)
    async with here.client() as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _ = await client.answer()
        assert b"transfer-encoding: chunked\r\n" in head
        async with asyncio.timeout(20):
            assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: 1\n\n\r\n"
            for _ in range(2):
                assert await client.reader.readuntil(b"\n\n\r\n") == b"3\r\n:\n\n\r\n"
            here.answers.open[0].finish(b"data: 2\n\n")
            assert (await client.reader.readuntil(b"0\r\n\r\n")).endswith(
                b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
            )
        client.send(post(b"1"))
        assert (await client.answer())[1] == b"<1>"


async def test_a_flood_of_pieces_is_whole_and_in_order(here: Here) -> None:
    async with here.client() as client:
        client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" + post(b"next"))
        await until(lambda: here.answers.open)
        http = here.answers.open[0]
        for number in range(2, 1000):
            http.put(b"data: %d\n\n" % number)
        http.finish(b"data: 1000\n\n")

        await client.answer()
        async with asyncio.timeout(20):
            said = await client.reader.readuntil(b"0\r\n\r\n")
        assert re.findall(rb"data: (\d+)\n\n\r\n", said) == [b"%d" % one for one in range(1, 1001)]
        assert (await client.answer())[1] == b"<next>"


async def test_a_stream_of_the_older_protocol_ends_with_its_connection(here: Here) -> None:
    async with here.client() as client:
        client.send(b"GET /stream HTTP/1.0\r\nHost: a\r\n\r\n")
        head, _ = await client.answer()
        assert b"transfer-encoding" not in head
        here.answers.open[0].finish(b"data: 2\n\n")

        assert await client.closed() == b"data: 1\n\ndata: 2\n\n"


async def test_a_connection_that_nobody_uses_is_closed(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "KEEP_ALIVE_FOR", 0.1)
    assert (await here.all(post(b"1"))).endswith(b"<1>")
    assert (await here.all(post(b"1") + HEAD)).endswith(b"<1>")


async def test_who_sends_no_head_in_time_is_closed(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FIRST_WITHIN", 0.1)
    assert await here.all(b"") == b""
    assert await here.all(HEAD) == b""
    assert not here.house.silent


async def test_too_many_connections_are_told_so_and_none_that_is_busy_ends(here: Here) -> None:
    here.house.most_connections = 1
    async with here.client() as first:
        first.send(post(b"", b"/later?1"))
        await until(lambda: here.answers.later)
        for _ in range(3):
            async with here.client() as late:
                head, _ = await late.answer()
                assert head.startswith(b"HTTP/1.1 503")
                assert b"retry-after" in head
                assert len(here.house.connections) <= 2
        here.answers.later[b"1"].respond(200, b"1")

        assert (await first.answer())[1] == b"1"


async def test_silent_connections_make_room_and_lock_nobody_out(here: Here) -> None:
    here.house.most_connections = 5
    async with here.client() as known:
        known.send(post(b"1"))
        await known.answer()
        async with AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(here.client()) for _ in range(20)]
            silent[-1].send(HEAD)  # half a head
            await until(lambda: len(here.house.silent) == 4)
            for one in silent[:16]:
                with suppress(ConnectionError):
                    assert await one.closed() == b""
            assert len(here.house.connections) == 5
            known.send(post(b"2"))
            assert (await known.answer())[1] == b"<2>"
            async with here.client() as late:
                late.send(post(b"3"))
                assert (await late.answer())[1] == b"<3>"


async def test_the_longest_unused_connection_makes_room(here: Here) -> None:
    here.house.most_connections = 3
    async with here.client() as busy, here.client() as old, here.client() as new:
        busy.send(post(b"", b"/later?1"))
        await until(lambda: here.answers.later)
        for client in (new, old, new):
            client.send(post(b"1"))
            await client.answer()
        async with here.client() as late:
            late.send(post(b"2"))
            assert (await late.answer())[1] == b"<2>"
        with suppress(ConnectionError):
            assert await old.closed() == b""
        new.send(post(b"3"))
        assert (await new.answer())[1] == b"<3>"
        here.answers.later[b"1"].respond(200, b"1")
        assert (await busy.answer())[1] == b"1"


async def test_a_listener_that_ends_answers_what_is_open_and_closes(here: Here) -> None:
    async with here.client() as idle, here.client() as busy:
        busy.send(post(b"", b"/later?1") + post(b"2"))
        await until(lambda: here.answers.later and len(here.house.connections) == 2)
        here.house.drain()
        assert await idle.closed() == b""
        here.answers.later[b"1"].respond(200, b"1")

        head, _ = await busy.answer()
        assert b"connection: close" in head
        assert await busy.closed() == b""


async def test_a_listener_that_ends_lets_a_client_read_its_answer_while_it_still_sends(
    here: Here,
) -> None:
    async with here.client() as client:
        client.send(HEAD + b"Content-Length: 1000000\r\n\r\n0123")
        await until(lambda: not here.answers.open and here.answers.started)
        here.house.drain()
        [connection] = here.house.connections
        client.send(b"x" * 100_000)

        assert (await client.answer())[0].startswith(b"HTTP/1.1 413")
        assert await client.closed() == b""
        assert not connection.transport.is_closing()  # closed now, it would be reset


async def test_what_came_with_the_last_request_is_not_looked_at(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    async with here.client() as client:
        client.send(post(b"1"))
        await client.answer()
        here.house.closing = True
        client.send(post(b"2") + post(b"3") + b"GARBAGE")

        assert (await client.closed()).endswith(b"<2>")
    assert not caplog.records


async def test_a_fault_of_ours_ends_its_connection_and_no_other(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    async with here.client() as other:
        other.send(post(b"", b"/later?1"))
        await until(lambda: here.answers.later)
        async with here.client() as client:
            client.send(post(b"", b"/fault") + post(b"1"))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.answer()
        here.answers.later[b"1"].respond(200, b"1")

        assert (await other.answer())[1] == b"1"
    assert "a test" in caplog.text
