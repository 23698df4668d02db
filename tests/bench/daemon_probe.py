"""A client that waits on the bus until a server is there, and has answered a call."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.bus.connection import open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol.subjects import Prefix
from tests.bench.client import Failed, call
from tests.running import META

NOBODY = -31001
STEP = 0.002


class Lines:
    """The answers to one client, taken one by one."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue(16)

    def write(self, data: bytes) -> None:
        self.answers.put_nowait(data)

    def get_write_buffer_size(self) -> int:
        return 0


class Probe:
    """Asks again and again. A server that is not there yet costs the bus one message a time."""

    def __init__(self, bus: ClientBus) -> None:
        self._bus = bus

    async def answered(self, server: str) -> None:
        """Return once the server has answered a call.

        Raises:
            Failed: It answers otherwise.
        """
        lines = Lines()
        edge = Edge(self._bus, server, Output(lines))
        line = call(1, "echo", {"text": "x"}, {"_meta": META}).rstrip()
        while True:
            edge.receive_line(line)
            answer: dict[str, Any] = json.loads(await lines.answers.get())
            if "result" in answer:
                edge.gone()
                return
            if answer["error"]["code"] != NOBODY:
                raise Failed(f"{server} answers {answer}")
            await asyncio.sleep(STEP)


@asynccontextmanager
async def open_probe(nats_url: str) -> AsyncIterator[Probe]:
    connection = await open_connection(NatsConfig(urls=(nats_url,)), name="probe", wait=True)
    bus = await client_bus(connection, Prefix.parse("mcp"))
    clocks = asyncio.create_task(bus.requester.run())
    try:
        yield Probe(bus)
    finally:
        clocks.cancel()
        await connection.close()
