"""A gateway that is told to stop: what is open is finished, and nobody new is let in."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.e2e.clients import ask, client, status_of
from tests.gateways import (
    BOTH,
    Gateway,
    events,
    events_of,
    gateway,
    modern_message,
    raw_post,
    tool_call,
)
from tests.http_servers import is_open
from tests.running import daemon, server, text_of
from tests.waiting import until

BOUND = 30.0
SERVERS = {"new": server("asks_modern"), "old": server("thin", "legacy")}


@asynccontextmanager
async def apart(folder: Path, nats_url: str) -> AsyncIterator[Gateway]:
    """Run a gateway, and the servers in another daemon, which stays."""
    async with (
        daemon(folder / "servers", SERVERS, nats_url=nats_url),
        gateway(folder / "gateway", {}, nats_url=nats_url) as web,
    ):
        yield web


async def stopping(web: Gateway) -> None:
    """Tell it to stop; return when it lets nobody in any more."""
    web.daemon.process.terminate()
    await until(lambda: not is_open(web.port))


async def opened(web: Gateway, many: int = 1) -> None:
    async with asyncio.timeout(BOUND):
        while await web.open_requests() < many:
            await asyncio.sleep(0.05)


# Calls.


@pytest.mark.parametrize("together", [True, False])
async def test_calls_in_flight_are_finished(
    tmp_path: Path,
    nats_url: str,
    together: bool,  # noqa: FBT001
) -> None:
    place = gateway(tmp_path, SERVERS) if together else apart(tmp_path, nats_url)
    async with place as web:
        session = await web.session("old")
        calls = [
            asyncio.create_task(web.call("new", "sleep", seconds=2)),
            asyncio.create_task(session.call("sleep", seconds=2)),
            asyncio.create_task(session.call("big", bytes=10_000_000, id=2)),
        ]
        await opened(web, 2)
        await stopping(web)

        modern, legacy, big = [await call for call in calls]
        assert text_of(modern.json()) == "slept"
        assert text_of(events_of(legacy.text)[-1]) == "slept"
        assert len(big.content) > 10_000_000
        assert await web.daemon.ended(BOUND) == 0
        assert not [line for line in web.daemon.log if "Traceback" in line]


async def test_a_connection_says_that_it_is_the_last_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        arguments = {"seconds": 2}
        body, headers = modern_message("tools/call", name="sleep", arguments=arguments)
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(raw_post("/mcp/new", body, headers))
        await opened(web)
        await stopping(web)
        async with asyncio.timeout(BOUND):
            answer = await reader.read()

        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close" in head.lower()
        assert b"slept" in rest
        writer.close()


async def test_connections_between_two_requests_are_closed(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        body, headers = modern_message("tools/call", name="echo", arguments={"text": "a"})
        writer.write(raw_post("/mcp/new", body, headers))
        async with asyncio.timeout(BOUND):
            assert b"200" in await reader.readline()
            await stopping(web)
            await reader.read()  # it ends

        assert await web.daemon.ended(BOUND) == 0
        assert not [line for line in web.daemon.log if "still draining" in line]
        writer.close()


async def test_nobody_new_is_let_in(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        waiting = asyncio.create_task(web.call("new", "sleep", seconds=2))
        await opened(web)
        await stopping(web)

        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient(base_url=web.url) as other:
                await other.get("/")
        assert text_of((await waiting).json()) == "slept"


async def test_a_gateway_without_clients_lets_nobody_in_while_others_finish(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, SERVERS) as web, client(tmp_path, "new") as one:
        id = ask(one, "modern", "sleep", seconds=2)
        await status_of(tmp_path, "new", in_flight=1)
        await stopping(web)

        assert text_of(await one.answer(id)) == "slept"


async def test_who_is_told_twice_does_not_wait(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        waiting = asyncio.create_task(web.call("new", "sleep", seconds=600))
        await opened(web)
        await stopping(web)
        assert "in flight" in await web.daemon.said("draining")
        web.daemon.process.send_signal(signal.SIGTERM)

        assert await web.daemon.ended(BOUND) == 0
        with pytest.raises(httpx2.TransportError):
            await waiting


# Streams.


async def test_a_modern_subscription_is_ended_properly(tmp_path: Path, nats_url: str) -> None:
    async with apart(tmp_path, nats_url) as web:
        body, headers = modern_message(
            "subscriptions/listen", id="mine", notifications={"toolsListChanged": True}
        )
        async with web.http.stream("POST", "/mcp/new", json=body, headers=headers) as response:
            told = events(response)
            assert (await anext(told))["data"]["method"].endswith("/acknowledged")
            await stopping(web)
            [last] = [event["data"] async for event in told]

        assert last["id"] == "mine"
        assert last["result"]["resultType"] == "complete"
        meta = last["result"]["_meta"]
        assert meta == {"io.modelcontextprotocol/subscriptionId": "mine"}
        assert await web.daemon.ended(BOUND) == 0


@pytest.mark.parametrize("name", ["new", "old"])
async def test_the_stream_of_a_session_ends(tmp_path: Path, name: str) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        session = await web.session(name)
        async with session.stream() as response, asyncio.timeout(BOUND):
            await stopping(web)
            async for _ in events(response):
                pass  # it ends as a stream does, not as a connection that broke

        assert await web.daemon.ended(BOUND) == 0


@asynccontextmanager
async def websocket(web: Gateway) -> AsyncIterator[ClientConnection]:
    url = web.url.replace("http", "ws") + "/ws/old"
    async with connect(url, subprotocols=[Subprotocol("mcp")]) as socket:
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        await socket.send(json.dumps(hello))
        assert "result" in json.loads(await socket.recv())
        await socket.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        yield socket


async def test_a_websocket_has_its_answer_and_is_told(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web, websocket(web) as idle, websocket(web) as busy:
        await busy.send(json.dumps(tool_call("sleep", seconds=2)))
        await opened(web, 2)
        await stopping(web)
        async with asyncio.timeout(BOUND):
            for socket, answered in ((idle, False), (busy, True)):
                if answered:
                    assert text_of(json.loads(await socket.recv())) == "slept"
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1001

        assert await web.daemon.ended(BOUND) == 0


async def test_an_old_client_has_its_answer_and_its_stream_ends(tmp_path: Path) -> None:
    async with gateway(tmp_path, SERVERS) as web:
        async with web.http.stream("GET", "/sse/new", headers={"accept": BOTH}) as response:
            said = events(response, decoded=False)
            place = (await anext(said))["data"]
            body, _ = modern_message("tools/call", name="sleep", arguments={"seconds": 2})
            assert (await web.http.post(place, json=body)).status_code == 202
            await stopping(web)
            async with asyncio.timeout(BOUND):
                [last] = [json.loads(event["data"]) async for event in said]

        assert text_of(last) == "slept"
        assert await web.daemon.ended(BOUND) == 0
