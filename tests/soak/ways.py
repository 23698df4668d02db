"""The ways of clients that speak lines: an edge in this process, a unix socket, a shim."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol.lines import LineSplitter
from mcpnatsd.protocol.subjects import Prefix
from tests.soak.client import Client

MOST_LINE_BYTES = 1 << 20
TICK = 0.25


class Way(Protocol):
    """How one client reaches its server."""

    client: Client

    async def run(self) -> None:
        """Keep the client connected until cancelled."""

    def vanish(self) -> None:
        """End the connection as a client that dies does."""

    def leave(self) -> None:
        """End it as a client that is done does."""


class Lines:
    """Bytes in any chunks, for a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lines = LineSplitter(MOST_LINE_BYTES)

    def write(self, data: bytes) -> None:
        for line in self._lines.receive(data):
            self._client.receive(line)

    def get_write_buffer_size(self) -> int:
        return 0


class Bus:
    """A connection to NATS for clients of this process."""

    def __init__(self, connection: Connection, bus: ClientBus) -> None:
        self.bus = bus
        self.edges: set[Edge] = set()
        self._connection = connection

    async def run(self) -> None:
        """Keep the clocks until cancelled."""
        requests = asyncio.create_task(self.bus.requester.run())
        now = asyncio.get_running_loop().time
        try:
            while not requests.done():
                await asyncio.sleep(TICK)
                for edge in list(self.edges):
                    edge.tick(now())
            await requests
        finally:
            requests.cancel()
            await self._connection.close()


async def open_bus(url: str) -> Bus:
    config = NatsConfig(urls=(url,))
    connection = await open_connection(config, name="soak", wait=True)
    return Bus(connection, await client_bus(connection, Prefix.parse("mcp")))


class EdgeWay:
    """An edge of the bus in this process."""

    def __init__(self, client: Client, bus: Bus) -> None:
        self.client = client
        self._bus = bus
        self._edge: Edge | None = None

    async def run(self) -> None:
        while True:
            if self._edge is None:
                self._open()
            await asyncio.sleep(0.2)

    def vanish(self) -> None:
        if self._edge is not None:
            self._bus.edges.discard(self._edge)
            self._edge.gone()
            self._edge = None
            self.client.cut("left")

    leave = vanish

    def _open(self) -> None:
        output = Output(Lines(self.client))
        edge = Edge(self._bus.bus, self.client.who.server.name, output)
        self._edge = edge
        self._bus.edges.add(edge)
        self.client.connected(lambda line: edge.receive_line(line.rstrip(b"\n")))


class StreamWay:
    """What the ways over a pair of streams have in common."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self.client = client
        self._rng = rng
        self._leaving = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Feed the client until the connection ends."""
        lines = Lines(self.client)
        self._leaving = False
        self.client.connected(writer.write)
        try:
            while data := await reader.read(1 << 16):
                lines.write(data)
        except ConnectionError:
            pass
        finally:
            self.client.cut("left" if self._leaving else "cut")
            writer.close()

    async def _pause(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.1, 0.6))


class UnixWay(StreamWay):
    """A unix socket of a daemon."""

    def __init__(self, client: Client, rng: random.Random, path: Path) -> None:
        super().__init__(client, rng)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(str(self._path))
            except OSError:
                await self._pause()
                continue
            await self._serve(reader, self._writer)
            await self._pause()

    def vanish(self) -> None:
        if self._writer is not None:
            self._leaving = True
            self._writer.transport.abort()

    leave = vanish


class ShimWay(StreamWay):
    """`mcpnatsd connect`: it lasts until it is killed."""

    def __init__(
        self,
        client: Client,
        rng: random.Random,
        argv: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        died: Callable[[str], None],
    ) -> None:
        super().__init__(client, rng)
        self._argv, self._variables, self._log = argv, variables, log
        self._died = died
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        try:
            while True:
                await self._run_once()
                await self._pause()
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    def vanish(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._leaving = True
            self._process.kill()

    def leave(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._leaving = True
            self._process.stdin.close()

    async def _run_once(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv, env=self._variables,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._serve(self._process.stdout, self._process.stdin)
        code = await self._process.wait()
        if not self._leaving:
            self._died(f"{self.client.who.name}'s shim ended by itself, with {code}")
