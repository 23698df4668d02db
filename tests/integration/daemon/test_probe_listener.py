"""The listener for probes, and what it is sent that it must not take."""

import asyncio
import platform
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from mcpnatsd.daemon.probe_listener import MOST_CONNECTIONS, ProbeListener, Question, Reply
from mcpnatsd.errors import ConfigError
from tests.probing import probe, sent


async def echo(question: Question) -> Reply:
    if question.path == "/breaks":
        raise ValueError("it breaks")
    if question.path == "/waits":
        await asyncio.Event().wait()
    text = f"{question.method} {question.path} {question.headers.get('x', '')} {question.peer}"
    return Reply(HTTPStatus.OK, text)


@asynccontextmanager
async def listening(address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    listener = ProbeListener(address, echo, waits={"/waits"})
    await listener.open()
    try:
        yield listener.address
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),  # TLS
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /breaks HTTP/1.1\r\n\r\n", 500),
    ],
)
async def test_what_is_no_probe_is_refused(request_of: bytes, status: int) -> None:
    async with listening() as address:
        assert (await sent(address, request_of)).status == status
        assert (await probe(address, "/next")).status == 200


async def test_a_question_reaches_who_answers() -> None:
    async with listening() as address:
        found = await probe(address, "/path?and=more", "POST", x="y")

    assert found.text == "POST /path y 127.0.0.1\n"
    assert found.headers["connection"] == "close"
    assert int(found.headers["content-length"]) == len(found.text)


async def test_of_a_head_there_is_no_body() -> None:
    async with listening() as address:
        found = await probe(address, "/path", "HEAD")

    assert (found.status, found.text) == (200, "")
    assert found.headers["content-length"] == "22"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(address: str, count: int, said: bytes = b"") -> AsyncIterator[list[Connection]]:
    """Hold connections that have said no more than that."""
    host, _, port = address.rpartition(":")
    held = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    try:
        for _, writer in held:
            writer.write(said)
        yield held
    finally:
        for _, writer in held:
            writer.transport.abort()


async def ended(connection: Connection) -> bytes:
    """Return what a connection said until it was ended."""
    async with asyncio.timeout(2):  # shorter than the listener's own patience with a head
        try:
            return await connection[0].read()
        except ConnectionResetError:  # what it said last was not read any more
            return b""


async def test_those_who_are_silent_keep_no_probe_from_its_answer() -> None:
    async with (
        listening() as address,
        connected(address, MOST_CONNECTIONS + 10) as silent,
    ):
        for _ in range(5):
            assert (await probe(address, "/")).status == 200
        assert await ended(silent[0]) == b""  # the oldest made room
        silent[-1][1].write(b"GET /late HTTP/1.1\r\n\r\n")
        assert b" 200 " in await ended(silent[-1])


async def test_those_whose_answer_is_waited_for_keep_no_probe_from_its_own() -> None:
    async with listening() as address:
        wait = b"GET /waits HTTP/1.1\r\n\r\n"
        async with (
            connected(address, MOST_CONNECTIONS, wait),
            connected(address, MOST_CONNECTIONS) as silent,
        ):
            assert (await probe(address, "/")).status == 200
            assert not silent[-1][0].at_eof()


async def test_of_too_many_whose_answer_is_waited_for_the_oldest_is_let_go() -> None:
    wait = b"GET /waits HTTP/1.1\r\n\r\n"
    async with listening() as address, connected(address, 1, wait) as oldest:
        assert (await probe(address, "/")).status == 200
        async with connected(address, MOST_CONNECTIONS - 1, wait):
            assert (await probe(address, "/")).status == 200
            async with connected(address, 1, wait):
                assert await ended(oldest[0]) == b""
                assert (await probe(address, "/")).status == 200


async def test_who_says_nothing_is_let_go() -> None:
    async with listening() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_closing_lets_go_of_who_waits() -> None:
    async with listening() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await probe(address, "/")).status == 200
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match=r".*"):
        await asyncio.open_connection(host, int(port))


async def test_an_address_of_ipv6_is_taken_in_brackets() -> None:
    async with listening("[::1]:0") as address:
        assert address.startswith("[::1]:")


async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    async with listening("[::]:0") as address:
        port = address.rpartition(":")[2]
        found = await probe(f"127.0.0.1:{port}", "/")

    assert found.text.split() == ["GET", "/", "127.0.0.1"]


NO_IPV6 = """
import asyncio, ctypes, errno, struct
from mcpnatsd.daemon.probe_listener import ProbeListener

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of a classic BPF program over seccomp_data
number = {"x86_64": 41, "aarch64": 198}["MACHINE"]  # of the call socket()
code = b"".join(struct.pack("=HBBI", *line) for line in [
    (LOAD, 0, 0, 0), (EQUAL, 0, 3, number),
    (LOAD, 0, 0, 16), (EQUAL, 0, 1, 10),
    (RETURN, 0, 0, 0x00050000 | errno.EAFNOSUPPORT), (RETURN, 0, 0, 0x7FFF0000),
])
kept = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0

async def main():
    listener = ProbeListener("[::]:0", None)
    await listener.open()
    _, writer = await asyncio.open_connection("127.0.0.1", int(listener.address.rpartition(":")[2]))
    writer.close()
    listener.close()
    try:
        await ProbeListener("[::1]:0", None).open()
    except Exception as error:
        print(error)

asyncio.run(main())
"""
"""Takes IPv6 from itself, as a kernel started with ipv6.disable=1 does from everybody."""


@pytest.mark.skipif(sys.platform != "linux", reason="takes IPv6 away by a means of Linux")
def test_all_addresses_are_those_of_ipv4_where_there_is_no_ipv6() -> None:
    script = NO_IPV6.replace("MACHINE", platform.machine())
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "metrics.listen: [::1]:0 cannot be listened on: " in done.stdout


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0", "127.0.0.1:99999"])
async def test_an_address_that_cannot_be_had_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"metrics\.listen: {address} cannot be listened on"):
        await ProbeListener(address, echo).open()
