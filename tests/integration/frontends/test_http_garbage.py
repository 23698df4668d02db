"""What HTTP clients leave behind: freed at once, without waiting for the collector of cycles."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import product
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.config.model import HttpEndpoint, HttpLimits
from mcpnatsd.frontends.gateway.listener import HttpFrontend
from mcpnatsd.frontends.gateway.sessions import FOLLOWED_WITHIN
from mcpnatsd.protocol.subjects import Prefix
from tests.connections import opened
from tests.gateways import BOTH, Gateway, events, free_port, modern_message, tool_call
from tests.http_servers import is_open
from tests.natsd import NatsServer
from tests.running import Running, daemon, server, text_of
from tests.waiting import until

BOUND = 30.0
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
async def bus(tmp_path: Path, natsd: NatsServer) -> AsyncIterator[tuple[str, Running]]:
    servers = {"new": server("asks_modern"), "old": server("thin", "legacy")}
    async with daemon(tmp_path / "d", servers, nats_url=natsd.url) as running:
        yield natsd.url, running


class Here(Gateway):
    """A gateway in this process."""

    frontend: HttpFrontend


@asynccontextmanager
async def listening(bus: tuple[str, Running], limits: HttpLimits) -> AsyncIterator[Here]:
    """Run a gateway in this process."""
    url, running = bus
    port = free_port()
    endpoint = HttpEndpoint(address=f"127.0.0.1:{port}", limits=limits)
    async with opened(url) as connection:
        client = await client_bus(connection, Prefix.parse("mcp"))
        frontend = HttpFrontend(endpoint, client)
        tasks = [asyncio.create_task(one) for one in (client.requester.run(), frontend.run())]
        await until(lambda: is_open(port))
        try:
            async with Here(running, port) as web:
                web.frontend = frontend
                yield web
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def ours() -> Counter[str]:
    """Return how many objects of ours there are, by their class."""
    kinds = (type(one) for one in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).startswith("mcpnatsd.")
    )


async def nothing_left(before: Counter[str]) -> None:
    """Wait until there is no more of ours than before."""
    left = ours() - before
    async with asyncio.timeout(BOUND):
        while left:
            await asyncio.sleep(0.05)
            left = ours() - before


Scenario = Callable[[Gateway, str], Awaitable[object]]


async def ended(web: Gateway, name: str) -> None:
    session = await web.session(name)
    assert text_of((await session.call("echo", text="a")).json()) == "a"
    async with session.stream() as stream:
        assert stream.status_code == 200
        await session.delete()


async def abandoned(web: Gateway, name: str) -> None:
    await web.session(name)


async def abandoned_with_a_stream(web: Gateway, name: str) -> None:
    session = await web.session(name)
    async with session.stream() as stream:
        assert stream.status_code == 200


async def abandoned_with_a_call(web: Gateway, name: str) -> None:
    session = await web.session(name)
    async with session.stream("POST", message=tool_call("sleep", seconds=600)) as response:
        assert response.status_code == 200


async def not_begun(web: Gateway, _name: str) -> None:
    assert (await web.initialize("nowhere")).status_code == 503


async def by_sse(web: Gateway, name: str) -> None:
    async with web.http.stream("GET", f"/sse/{name}", headers={"accept": BOTH}) as response:
        said = events(response, decoded=False)
        place = (await anext(said))["data"]
        assert (await web.http.post(place, json=INITIALIZE)).status_code == 202
        assert '"result"' in (await anext(said))["data"]


async def by_websocket(web: Gateway, name: str) -> None:
    url = web.url.replace("http", "ws") + f"/ws/{name}"
    async with connect(url, subprotocols=[Subprotocol("mcp")]) as socket:
        await socket.send(json.dumps(INITIALIZE))
        assert b'"result"' in (await socket.recv(decode=False))


async def modern(web: Gateway, name: str) -> None:
    body, headers = modern_message("tools/call", name="sleep", arguments={"seconds": 600})
    waiting = asyncio.create_task(web.http.post(f"/mcp/{name}", json=body, headers=headers))
    assert (await web.call(name, "echo", text="a")).status_code == 200
    waiting.cancel()
    await asyncio.wait([waiting])


LEGACY = [ended, abandoned, abandoned_with_a_stream, abandoned_with_a_call, by_sse, by_websocket]


@pytest.mark.parametrize(
    ("name", "scenario"),
    [*product(["new", "old"], LEGACY), ("new", not_begun), ("new", modern)],
)
async def test_what_a_client_had_is_freed_without_the_collector(
    bus: tuple[str, Running], name: str, scenario: Scenario
) -> None:
    async with listening(bus, HttpLimits(session_timeout=0.5)) as web:
        await scenario(web, name)
        await until(lambda: not web.frontend.clients)
        with uncollected():
            before = ours()
            await scenario(web, name)

            await nothing_left(before)


@pytest.mark.parametrize("name", ["new", "old"])
async def test_who_never_comes_back_after_the_handshake_keeps_nothing_for_long(
    bus: tuple[str, Running], name: str
) -> None:
    async with listening(bus, HttpLimits()) as web:
        kept = await web.session(name)
        assert (await web.initialize(name)).status_code == 200
        assert web.frontend.clients == 2

        assert web.frontend._gateway is not None
        web.frontend._gateway.tick(asyncio.get_running_loop().time() + FOLLOWED_WITHIN)

        assert web.frontend.clients == 1
        assert (await kept.call("echo", text="a")).status_code == 200
