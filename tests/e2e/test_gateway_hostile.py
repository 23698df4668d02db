"""HTTP that is meant to get past a gateway, or to stop it for everybody else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.gateways import Gateway, gateway, modern_message, raw, raw_post
from tests.running import encoded, server, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
ALICE = {"authorization": "Bearer alice-secret"}
EVIL = "https://evil.example.com"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tokens").write_text("alice alice-secret\n")
    servers = {"thin": server("thin")}
    async with gateway(folder, servers, tokens=str(folder / "tokens")) as found:
        yield found


def chunked(
    body: Mapping[str, Any], headers: Mapping[str, str], trailers: Mapping[str, str] | None = None
) -> bytes:
    """Return a POST whose body comes in one chunk."""
    payload = encoded(dict(body))
    sent = {"content-type": "application/json", "transfer-encoding": "chunked", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    behind = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
    start = f"POST /mcp/thin HTTP/1.1\r\n{head}\r\n{len(payload):x}\r\n"
    return start.encode() + payload + f"\r\n0\r\n{behind}\r\n".encode()


@pytest.mark.parametrize(
    ("headers", "trailers", "status"),
    [
        ({"host": "localhost", **ALICE}, {}, 200),
        ({"host": "localhost", **ALICE}, {"origin": EVIL, "host": "evil.example.com"}, 200),
        ({"host": "localhost"}, ALICE, 401),
        ({"host": "evil.example.com", **ALICE}, {"host": "localhost"}, 421),
        ({"host": "localhost", "origin": EVIL, **ALICE}, {"origin": "http://localhost"}, 403),
    ],
)
async def test_what_comes_behind_the_body_says_nothing_of_who_comes(
    web: Gateway, headers: Mapping[str, str], trailers: Mapping[str, str], status: int
) -> None:
    body, own = modern_message("tools/list")
    sent = chunked(body, {**own, **headers, "connection": "close"}, trailers)

    assert (await raw(web.port, sent)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Authorization": "Bearer wrong", **ALICE}, 400),
        ({"host": "evil.example.com", **ALICE}, 400),  # the other one is `localhost`
        ({"Origin": EVIL, "origin": "http://localhost", **ALICE}, 400),
        ({"origin": "http://[", **ALICE}, 403),
        (ALICE, 200),
    ],
)
async def test_a_header_that_says_who_comes_is_one_that_can_be_read(
    web: Gateway, more: Mapping[str, str], status: int
) -> None:
    body, own = modern_message("tools/list")
    sent = raw_post("/mcp/thin", body, {**own, **more, "connection": "close"})

    assert (await raw(web.port, sent)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_websocket_of_an_origin_that_is_none_is_refused(web: Gateway) -> None:
    asks = (
        b"GET /ws/thin HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
    )

    assert (await raw(web.port, asks)).startswith(b"HTTP/1.1 403 ")
    assert not any("Traceback" in line for line in web.daemon.log)


async def test_a_body_that_is_compressed_is_refused_as_unknown(web: Gateway) -> None:
    body, own = modern_message("tools/list")
    sent = chunked(body, {**own, **ALICE, "host": "localhost", "connection": "close"})
    sent = sent.replace(b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked")

    assert (await raw(web.port, sent)).startswith(b"HTTP/1.1 501 ")


async def test_calls_of_unknown_length_count_as_long_as_they_are(tmp_path: Path) -> None:
    limits = {"body_bytes": "256MiB"}  # two of these are all that may be under way
    headers = {"host": "localhost"}
    async with gateway(tmp_path, {"thin": server("thin")}, limits=limits) as web:
        async with AsyncExitStack() as stack:
            for id in range(4):
                arguments = {"seconds": 600}
                body, own = modern_message("tools/call", id=id, name="sleep", arguments=arguments)
                own.update(headers)
                waiting = asyncio.create_task(raw(web.port, chunked(body, own)))
                stack.callback(waiting.cancel)
            async with asyncio.timeout(BOUND):
                while await web.open_requests() < 4:
                    await asyncio.sleep(0.05)
            body, own = modern_message("tools/list")
            sent = chunked(body, {**own, **headers, "connection": "close"})
            assert (await raw(web.port, sent)).startswith(b"HTTP/1.1 200 ")
        assert text_of((await web.call("thin", "echo", text="a")).json()) == "a"


@pytest.mark.parametrize(
    ("more", "then", "status"),
    [
        (b"Transfer-Encoding: identity\r\n\r\n", b"", 501),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n", 200),
    ],
)
async def test_a_session_whose_stream_was_spoilt_ends_like_any_other(
    tmp_path: Path, more: bytes, then: bytes, status: int
) -> None:
    limits = {"session_timeout": 0.5}
    async with gateway(tmp_path, {"old": server("thin", "legacy")}, limits=limits) as web:
        session = await web.session("old")
        head = "".join(f"{name}: {value}\r\n" for name, value in session.headers.items())
        asks = f"GET {session.path} HTTP/1.1\r\nHost: localhost\r\n{head}"
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(asks.encode() + more)
        async with asyncio.timeout(BOUND):
            said = await reader.read(1000)  # a refusal, or the head of the stream
            writer.write(then)
            with suppress(ConnectionError):
                said += await reader.read()
            while await web.open_requests():
                await asyncio.sleep(0.05)
        writer.close()

        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert said.count(b"HTTP/1.1 ") == 1
