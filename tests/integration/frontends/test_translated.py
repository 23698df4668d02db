"""The edge of a translated client, its clocks in our hands."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.frontends import output
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.translated_call import ANSWER_WITHIN
from mcpnatsd.protocol.subjects import Prefix
from mcpnatsd.protocol.tunnel import WINDOW_BYTES
from tests.connections import opened
from tests.faults import LATE
from tests.natsd import NatsServer
from tests.running import daemon, server
from tests.waiting import until

OFFERS = {"elicitation": {}, "roots": {}, "sampling": {}}


class Client:
    """What a legacy client says and is told. It may stop reading."""

    def __init__(self, bus: ClientBus, name: str, *, tunnels: bool) -> None:
        self.told: list[dict[str, Any]] = []
        self.unread = 0
        self.edge = Edge(bus, name, Output(self), tunnels=tunnels)
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.told += [json.loads(line) for line in lines]

    def get_write_buffer_size(self) -> int:
        return self.unread

    def send(self, **members: Any) -> None:
        self.edge.receive_line(json.dumps({"jsonrpc": "2.0", **members}).encode())

    def call(self, id: int, tool: str, **arguments: Any) -> None:
        self.send(id=id, method="tools/call", params={"name": tool, "arguments": arguments})

    async def find(self, which: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        await until(lambda: any(map(which, self.told)), LATE)
        return next(filter(which, self.told))

    async def answer(self, id: int) -> dict[str, Any]:
        return await self.find(lambda one: one.get("id") == id and "method" not in one)

    async def asked(self, method: str) -> dict[str, Any]:
        return await self.find(lambda one: one.get("method") == method)

    async def initialize(self) -> dict[str, Any]:
        info = {"name": "c", "version": "1"}
        params = {"protocolVersion": "2025-06-18", "capabilities": OFFERS, "clientInfo": info}
        self.send(id=0, method="initialize", params=params)
        response = await self.answer(0)
        self.send(method="notifications/initialized")
        return response


@asynccontextmanager
async def at(url: str, name: str = "asks", *, tunnels: bool = True) -> AsyncIterator[Client]:
    """Connect a client in this process. Its edge never ticks by itself."""
    async with opened(url) as connection:
        bus = await client_bus(connection, Prefix.parse("mcp"))
        clocks = asyncio.create_task(bus.requester.run())
        client = Client(bus, name, tunnels=tunnels)
        yield client
        client.edge.gone()
        clocks.cancel()


@pytest.fixture
async def url(tmp_path: Path, natsd: NatsServer) -> AsyncIterator[str]:
    servers = {"asks": server("asks_modern"), "old": server("thin", "legacy")}
    async with daemon(tmp_path / "d", servers, nats_url=natsd.url):
        yield natsd.url


async def test_a_client_that_never_answers_does_not_hold_its_call_for_ever(url: str) -> None:
    async with at(url) as client:
        assert "result" in await client.initialize()
        client.call(1, "elicit")
        question = await client.asked("elicitation/create")
        now = asyncio.get_running_loop().time()
        client.edge.tick(now + ANSWER_WITHIN - 60)
        assert client.edge.busy

        client.edge.tick(now + ANSWER_WITHIN)

        assert (await client.answer(1))["error"]["code"] == -31008
        taken_back = await client.asked("notifications/cancelled")
        assert taken_back["params"]["requestId"] == question["id"]
        assert not client.edge.busy


async def test_a_client_that_does_not_read_is_told_so_and_goes_on(url: str) -> None:
    async with at(url) as client:
        await client.initialize()
        client.unread = output.MOST_WAITING_BYTES + 1
        client.call(1, "echo", text="x")
        client.call(2, "elicit")

        for id in (1, 2):
            assert (await client.answer(id))["error"]["code"] == -31007
        client.unread = 0
        client.call(3, "echo", text="x")
        assert "result" in await client.answer(3)
        assert not [one for one in client.told if one.get("method") == "elicitation/create"]


async def test_a_client_that_asks_for_more_than_it_answers_is_busy(url: str) -> None:
    async with at(url) as client:
        await client.initialize()
        for id in range(1, 258):
            client.call(id, "elicit")
        busy = await client.find(lambda one: "error" in one)

        assert busy["error"]["code"] == -31007
        questions = [one for one in client.told if one.get("method") == "elicitation/create"]
        assert len(questions) == 256
        assert len([one for one in client.told if "error" in one]) == 1


async def test_what_waits_for_nats_stops_the_reading(natsd: NatsServer, url: str) -> None:
    async with at(url) as client:
        await client.initialize()
        connection = client.edge._bus.connection
        natsd.kill()
        await until(lambda: not connection.connected, LATE)
        client.call(1, "echo", text="x" * (WINDOW_BYTES // 2))
        assert not client.edge.full
        client.call(2, "echo", text="x" * (WINDOW_BYTES // 2))
        assert client.edge.full
        natsd.start()
        await until(lambda: connection.connected and not client.edge.full, LATE)


async def test_a_departed_client_leaves_nothing_behind(url: str) -> None:
    async with at(url) as client:
        await client.initialize()
        client.call(1, "elicit")
        client.call(2, "sleep", seconds=600)
        client.send(id=3, method="resources/subscribe", params={"uri": "file:///a"})
        await client.answer(3)
        await client.asked("elicitation/create")
        requester = client.edge._bus.requester

        client.edge.gone()

        assert not requester._calls  # type: ignore[attr-defined]
        assert not client.edge.busy


async def test_a_client_may_be_translated_without_a_tunnel(url: str) -> None:
    async with at(url, tunnels=False) as client:
        client.send(id=1, method="ping")
        welcome = await client.initialize()
        client.call(2, "echo", text="x")

        assert welcome["result"]["protocolVersion"] == "2025-06-18"
        assert (await client.answer(2))["result"]["content"][0]["text"] == "x"


async def test_nobody_there_is_an_error_without_a_tunnel_too(url: str) -> None:
    async with at(url, "nobody", tunnels=False) as client:
        for _ in range(2):
            client.told.clear()
            assert (await client.initialize())["error"]["code"] == -31001
        assert not client.edge.busy


async def test_an_initialize_without_params_that_can_be_read_is_refused(url: str) -> None:
    for tunnels in (True, False):
        async with at(url, tunnels=tunnels) as client:
            client.send(id=0, method="initialize", params=[1])
            assert (await client.answer(0))["error"]["code"] == -32600
            assert not client.edge.busy
            client.told.clear()
            assert "result" in await client.initialize()


async def test_a_legacy_server_can_be_reached_without_a_tunnel_too(url: str) -> None:
    async with at(url, "old", tunnels=False) as client:
        assert "result" in await client.initialize()
        client.call(1, "echo", text="x")

        assert (await client.answer(1))["result"]["content"][0]["text"] == "x"
