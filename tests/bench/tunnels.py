"""Many legacy clients in one process, each with an open session.

    python -m tests.bench.tunnels URL COUNT

It says `open` when all are, and ends with its stdin.
"""

import asyncio
import sys

from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.bus.connection import open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol.subjects import Prefix
from tests.bench.client import BOUND, INITIALIZED, initialize


class FirstLine:
    """Notes that a client was answered."""

    def __init__(self) -> None:
        self.came = asyncio.Event()

    def write(self, data: bytes) -> None:
        assert b'"result"' in data, data
        self.came.set()

    def get_write_buffer_size(self) -> int:
        return 0


async def main(url: str, count: int) -> None:
    prefix = Prefix.parse("mcp")
    connection = await open_connection(NatsConfig(urls=(url,)), name="bench", wait=True)
    bus = await client_bus(connection, prefix)
    edges = []
    for _ in range(count):
        first = FirstLine()
        edge = Edge(bus, "bench", Output(first))
        edge.receive_line(initialize().rstrip())
        async with asyncio.timeout(BOUND):
            await first.came.wait()
        edge.receive_line(INITIALIZED.rstrip())
        edges.append(edge)
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for edge in edges:
        edge.gone()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
