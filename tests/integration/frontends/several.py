"""A client of several servers, with its edge in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.frontends.aggregate import Aggregate
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol.subjects import Prefix
from tests.connections import opened
from tests.running import BOUND, Shim, encoded


class Recorded(Output):
    """Lines for the client, as they come."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    @property
    def waiting_bytes(self) -> int:
        return 0

    def write(self, line: bytes) -> None:
        self.lines.put_nowait(line)


class EdgeClient(Shim):
    """The raw client of these tests, on an edge of its own."""

    def __init__(self, edge: Edge, output: Recorded) -> None:
        self.edge, self.output = edge, output
        self.log: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.unasked: list[dict[str, Any]] = []
        self._last = 0

    @property
    def connected(self) -> bool:
        return self.edge._bus.connection.connected

    def write(self, line: bytes | dict[str, Any]) -> None:
        self.edge.receive_line((line if isinstance(line, bytes) else encoded(line)).rstrip(b"\n"))

    async def read(self, bound: float = BOUND) -> dict[str, Any]:
        async with asyncio.timeout(bound):
            message = json.loads(await self.output.lines.get())
        assert isinstance(message, dict)
        return message

    async def note(self, method: str, bound: float = BOUND) -> dict[str, Any]:
        """Return the params of the next such notification; what else came is in `notes`."""
        while True:
            message = await self.read(bound)
            if message.get("method") == method:
                params = message["params"]
                assert isinstance(params, dict)
                return params
            self.notes.append(message)

    async def listed(self, what: str = "tools", bound: float = BOUND) -> list[dict[str, Any]]:
        """Return all that a list holds."""
        response = await self.answer(self.modern(f"{what}/list"), bound)
        assert "result" in response, response
        found = response["result"][what.replace("resources/templates", "resourceTemplates")]
        assert isinstance(found, list)
        return found

    async def names(self, bound: float = BOUND) -> list[str]:
        return [tool["name"] for tool in await self.listed(bound=bound)]

    def listen(self, **notifications: Any) -> object:
        return self.modern("subscriptions/listen", notifications=notifications)


@asynccontextmanager
async def client_of(
    url: str, servers: Sequence[str] | None, **settings: Any
) -> AsyncIterator[EdgeClient]:
    """Open a session over these servers, or over all."""
    async with opened(url, **settings) as connection:
        bus = await client_bus(connection, Prefix.parse("mcp"))
        aggregate = Aggregate(bus, servers, events="mcp", version="1.2.3")
        output = Recorded()
        edge = Edge(aggregate.bus, "*", output, tunnels=False)
        parts = [
            asyncio.create_task(one())
            for one in (
                bus.requester.run,
                aggregate.run,
            )
        ]
        parts.append(asyncio.create_task(_ticks(edge)))
        try:
            yield EdgeClient(edge, output)
            assert [one for one in parts if one.done()] == []
        finally:
            edge.gone()
            for one in parts:
                one.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            bus.requester.stop()


async def _ticks(edge: Edge) -> None:
    while True:
        await asyncio.sleep(0.25)
        edge.tick(asyncio.get_running_loop().time())
