"""The old HTTP+SSE transport, and WebSocket: a connection is a client."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.gateways import Gateway, events, gateway, tool_call
from tests.running import META, server, status, text_of

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


async def test_an_open_stream_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin"), "old": server("thin", "legacy")}) as web:
        session = await web.session("old")
        async with session.stream() as response:
            assert response.status_code == 200
            assert await web.daemon.stop() == 0
        assert not [line for line in web.daemon.log if "Traceback" in line or "ERROR" in line]
