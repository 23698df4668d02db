"""The old HTTP+SSE transport, and WebSocket: a connection is a client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from socket import socket as plain_socket
from typing import Any

import pytest
import pytest_asyncio
import websockets
from websockets.asyncio.client import ClientConnection, connect

from mcpnatsd.frontends.gateway.gateway import MOST_HELD_BYTES
from mcpnatsd.frontends.gateway.listener import MOST_FRAMES
from mcpnatsd.frontends.output import MOST_WAITING_BYTES
from tests.gateways import BOTH, Gateway, events, gateway, tool_call
from tests.http_servers import is_open
from tests.processes import resident_bytes
from tests.running import META, server, status, text_of
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("lines")
    servers = {"thin": server("thin"), "old": server("thin", "legacy")}
    async with gateway(folder, servers, limits={"body_bytes": "1MiB", "sessions": 8}) as found:
        yield found


async def no_sessions(web: Gateway) -> None:
    async with asyncio.timeout(BOUND):
        while any(one["sessions"] for one in (await status(web.daemon.folder))["servers"]):
            await asyncio.sleep(0.05)


# HTTP+SSE.


async def place_of(stream: AsyncIterator[dict[str, Any]]) -> str:
    """Return where the server wants its messages. That event's data is no JSON."""
    first = await anext(stream)
    assert first["event"] == "endpoint"
    return str(first["data"])


async def test_an_old_client_opens_a_stream_and_posts_where_it_says(web: Gateway) -> None:
    async with web.http.stream("GET", "/sse/old") as response, asyncio.timeout(BOUND):
        stream = events(response, decoded=False)
        place = await place_of(stream)
        for message in (INITIALIZE, tool_call("echo", text="hi")):
            assert (await web.http.post(place, json=message)).status_code == 202
            answer = json.loads((await anext(stream))["data"])
            assert answer["id"] == message["id"]
    assert text_of(answer) == "hi"
    await no_sessions(web)
    assert (await web.http.post(place, json=INITIALIZE)).status_code == 404


async def test_what_is_no_json_is_told_to_whoever_posted_it(web: Gateway) -> None:
    async with web.http.stream("GET", "/sse/old") as response, asyncio.timeout(BOUND):
        stream = events(response, decoded=False)
        place = await place_of(stream)
        headers = {"content-type": "application/json"}

        for body, code in ((b"{", 400), (b"[]", 400), (b"x" * (2 << 20), 413)):
            said = await web.http.post(place, content=body, headers=headers)
            assert said.status_code == code
        assert (await web.http.post(place, content=b"{}")).status_code == 415
        assert (await web.http.post(place.replace("old", "thin"), json={})).status_code == 404
        assert (await web.http.post("/sse/old", json=INITIALIZE)).status_code == 404


async def begun_post(web: Gateway, place: str) -> asyncio.StreamWriter:
    """Begin a POST whose body never ends, and return when it is waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    head = f"POST {place} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode())
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
    return writer


async def test_what_is_posted_to_streams_counts_with_all_that_a_listener_holds(
    tmp_path: Path,
) -> None:
    size = MOST_HELD_BYTES // 2
    servers = {"thin": server("thin")}
    async with (
        gateway(tmp_path, servers, limits={"body_bytes": f"{size >> 20}MiB"}) as web,
        web.http.stream("GET", "/sse/thin") as response,
        asyncio.timeout(BOUND),
    ):
        stream = events(response, decoded=False)
        place = await place_of(stream)
        first, second = [await begun_post(web, place) for _ in range(2)]
        for path in (place, "/mcp/thin"):
            refused = await web.http.post(path, json=INITIALIZE, headers={"accept": BOTH})
            assert refused.status_code == 503
        for one in (first, second):
            one.close()
        async with asyncio.timeout(BOUND):
            while (await web.http.post(place, json=INITIALIZE)).status_code != 202:
                await asyncio.sleep(0.05)


# WebSocket.


def socket(web: Gateway, name: str, **options: Any) -> connect:
    url = f"ws://127.0.0.1:{web.port}/ws/{name}"
    return connect(url, **{"subprotocols": ["mcp"], "proxy": None, **options})


async def asked(client: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await client.send(json.dumps(message))
    async with asyncio.timeout(BOUND):
        answer = json.loads(await client.recv())
    assert isinstance(answer, dict)
    return answer


async def test_a_legacy_client_has_its_session_as_long_as_its_socket(web: Gateway) -> None:
    async with socket(web, "old") as client:
        assert client.subprotocol == "mcp"
        assert (await asked(client, INITIALIZE))["result"]["protocolVersion"] == "2024-11-05"
        assert text_of(await asked(client, tool_call("echo", text="né"))) == "né"
    await no_sessions(web)


async def test_a_modern_client_may_come_by_socket(web: Gateway) -> None:
    call = tool_call("echo", text="hi")
    call["params"]["_meta"] = META
    async with socket(web, "thin") as client:
        assert text_of(await asked(client, call)) == "hi"
        assert (await asked(client, {"jsonrpc": "2.0", "id": 1}))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("path", "options"),
    [("thin", {"subprotocols": None}), ("thin", {"subprotocols": ["else"]}), ("a.b", {}),
     ("thin", {"origin": "https://evil.example.com"})],
)  # fmt: skip
async def test_a_socket_that_may_not_come_is_refused(
    web: Gateway, path: str, options: dict[str, Any]
) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus):
        async with socket(web, path, **options):
            pass


async def test_a_message_over_the_limit_ends_the_socket_and_nothing_else(web: Gateway) -> None:
    async with socket(web, "thin") as client:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            await asked(client, tool_call("echo", text="x" * (2 << 20)))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with socket(web, "thin") as client:
        assert "error" in await asked(client, {"jsonrpc": "2.0", "id": 1})


async def test_a_gateway_that_stops_closes_its_sockets(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        async with socket(web, "thin") as client:
            await web.daemon.stop()
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await client.recv()
        assert not [line for line in web.daemon.log if "Traceback" in line or "ERROR" in line]


def narrow(web: Gateway, name: str) -> connect:
    """Return a client that takes little before it is asked to receive."""
    return socket(web, name, sock=narrow_socket(web.port), max_queue=1, max_size=None)


async def test_a_socket_that_does_not_read_has_its_server_wait(tmp_path: Path) -> None:
    many = 256
    async with (
        gateway(tmp_path, {"old": server("floods", "legacy")}) as web,
        narrow(web, "old") as client,
        socket(web, "old") as other,
    ):
        for one in (client, other):
            await asked(one, INITIALIZE)
        before = resident_bytes(web.daemon.pid)
        await client.send(json.dumps(tool_call("flood", token="t", messages=many, bytes=1 << 20)))
        async with asyncio.timeout(BOUND):
            while resident_bytes(web.daemon.pid) - before < MOST_WAITING_BYTES:
                assert text_of(await asked(other, tool_call("echo", text="b"))) == "b"
        for _ in range(20):
            assert text_of(await asked(other, tool_call("echo", text="b"))) == "b"
        assert resident_bytes(web.daemon.pid) - before < MOST_WAITING_BYTES + (160 << 20)

        async with asyncio.timeout(BOUND):
            for number in range(many):
                assert json.loads(await client.recv())["params"]["progress"] == number + 1
            assert "result" in json.loads(await client.recv())


def narrow_socket(port: int) -> plain_socket:
    """Return a connection whose client takes little before it reads."""
    sock = plain_socket()
    sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 16)
    sock.connect(("127.0.0.1", port))
    return sock


async def test_pings_of_a_client_that_does_not_read_are_not_all_answered(tmp_path: Path) -> None:
    many = 100_000
    ping, message = masked(0x9, bytes(125)), masked(0x1, json.dumps(INITIALIZE).encode())
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers) as web, asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_connection(sock=narrow_socket(web.port))
        writer.write(UPGRADE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        for _ in range(100):
            writer.write(ping * (many // 100))
            await writer.drain()
        writer.write(message)
        await writer.drain()
        while not (await server_of(web, "old"))["sessions"]:
            await asyncio.sleep(0.05)
        found = 0
        while b'"protocolVersion"' not in (more := await reader.read(1 << 20)):
            found += len(more)
        assert found < many * 127 / 2  # what the kernel took meanwhile, and little more
        writer.close()


def masked(opcode: int, payload: bytes) -> bytes:
    """Return one whole frame of a client, masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


UPGRADE = (
    b"GET /ws/old HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mcp\r\n\r\n"
)


async def test_a_message_in_too_many_pieces_ends_the_socket_and_nothing_else(web: Gateway) -> None:
    async with socket(web, "thin") as client, asyncio.timeout(BOUND):
        sending = asyncio.create_task(client.send([""] * (MOST_FRAMES + 8)))
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            await client.recv()
        await asyncio.gather(sending, return_exceptions=True)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with socket(web, "thin") as client, asyncio.timeout(BOUND):
        await client.send(list(json.dumps(INITIALIZE)))
        assert "result" in json.loads(await client.recv())


async def test_what_a_slow_socket_has_not_taken_yet_is_sent_before_it_is_closed(
    tmp_path: Path,
) -> None:
    many, size = 6, 4_000_000
    async with (
        gateway(tmp_path, {"old": server("thin", "legacy")}) as web,
        narrow(web, "old") as client,
    ):
        await asked(client, INITIALIZE)
        for number in range(many):
            await client.send(json.dumps(tool_call("big", bytes=size, id=number)))
        async with asyncio.timeout(BOUND):
            while (await server_of(web, "old"))["calls"] < many:
                await asyncio.sleep(0.05)
        web.daemon.process.terminate()
        await until(lambda: not is_open(web.port))
        async with asyncio.timeout(BOUND):
            for number in range(many):
                answer = json.loads(await client.recv())
                assert (answer["id"], len(text_of(answer))) == (number, size)
            with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


async def server_of(web: Gateway, name: str) -> dict[str, Any]:
    servers = (await status(web.daemon.folder))["servers"]
    return next(one for one in servers if one["name"] == name)


async def test_sockets_that_cost_no_process_are_not_counted_with_those_that_do(
    tmp_path: Path,
) -> None:
    servers = {"new": server("asks_modern"), "old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"sessions": 1}) as web, AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(socket(web, "new"))
            assert "result" in await asked(client, INITIALIZE)
        client = await stack.enter_async_context(socket(web, "old"))
        assert "result" in await asked(client, INITIALIZE)
        with pytest.raises(websockets.exceptions.WebSocketException):
            async with socket(web, "old") as one:
                await asked(one, INITIALIZE)


async def test_an_open_stream_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin"), "old": server("thin", "legacy")}) as web:
        session = await web.session("old")
        async with session.stream() as response:
            assert response.status_code == 200
            assert await web.daemon.stop() == 0
        assert not [line for line in web.daemon.log if "Traceback" in line or "ERROR" in line]
