"""The client's side: an edge of the bus in this process, and the SDK in front of it.

It has all that a shim has: both eras, translation, reconnection, back-pressure.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import metadata
from typing import Final

import anyio

from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.bus.connection import Connection, masked, open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.errors import BrokerAway, Forbidden
from mcpnatsd.frontends.aggregate import Aggregate
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.line_client import MOST_LINE_BYTES
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol.lines import LineSplitter
from mcpnatsd.protocol.subjects import Prefix
from mcpnatsd.transport.checks import check_kind
from mcpnatsd.transport.parameters import EVERY, NatsClientParameters
from mcpnatsd.transport.streams import Pair, ReadStream, WriteStream

log = logging.getLogger(__name__)

TICK: Final = 0.25

_WHO: Final = "`credentials`, `nkey`, `token`, or `user` and `password` say who we are"


@asynccontextmanager
async def nats_client(
    params: NatsClientParameters,
) -> AsyncIterator[tuple[ReadStream, WriteStream]]:
    """Connect to a server on the bus; yield what the SDK reads and writes.

    It runs under asyncio. Leaving the block cancels what is open and closes the connection.

    Raises:
        BrokerAway: NATS was not there within `connect_timeout`.
        Forbidden: NATS does not like our credentials.
        UsageError: It is not clear which NATS is meant.
        RuntimeError: This is no asyncio.
    """
    check_kind(params, NatsClientParameters)
    require_asyncio()
    settings = params.nats()
    name = f"mcpnatsd client {params.client_id or ' '.join(params.servers)}"
    connection = await open_connection(settings, name=name, wait=False)
    try:
        bus = await _bus(connection, settings, params.connect_timeout)
        client = _Client(bus, params, events=Prefix.parse(settings.prefix).plain)
        clocks = asyncio.create_task(client.run(), name="mcpnatsd client")
        try:
            yield client.pair.read, client.pair.write
        finally:
            clocks.cancel()
            client.gone()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([clocks])
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


def require_asyncio() -> None:
    """See that an asyncio loop runs.

    Raises:
        RuntimeError: None does; this may be trio.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("mcpnatsd.transport runs under asyncio only") from None


async def _bus(connection: Connection, settings: NatsConfig, seconds: float) -> ClientBus:
    """Wait for NATS, which may be starting, but not for one that refuses us."""
    try:
        async with asyncio.timeout(seconds):
            with suppress(BrokerAway):
                await connection.wait_first()
            await connection.wait_up()
            return await client_bus(connection, Prefix.parse(settings.prefix))
    except Forbidden as fault:
        raise Forbidden(f"{fault} ({_WHO})") from None
    except TimeoutError:
        urls = ", ".join(map(masked, settings.urls))
        raise BrokerAway(f"NATS is away at {urls}: not there within {seconds:g} s") from None


class _Client:
    """One client, between the SDK's streams and its edge."""

    def __init__(self, bus: ClientBus, params: NatsClientParameters, *, events: str) -> None:
        self.pair = Pair(on_closed=self._closed)
        self._output = _Output(self.pair.read)
        self._bus = bus
        self._several = _several(bus, params, events) if params.several else None
        self._edge = (
            Edge(bus, params.servers[0], self._output)
            if self._several is None
            else Edge(self._several.bus, EVERY, self._output, tunnels=False)
        )
        self.pair.write.attach(self._send, lambda: self._edge.full)

    async def run(self) -> None:
        """Keep the clocks until cancelled."""
        parts = [asyncio.create_task(self._bus.requester.run(), name="mcpnatsd requests")]
        if self._several is not None:
            parts.append(asyncio.create_task(self._several.run(), name="mcpnatsd servers"))
        now = asyncio.get_running_loop().time
        try:
            while not any(part.done() for part in parts):
                await asyncio.sleep(TICK)
                self._edge.tick(now())
                self._end_if_answered()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
            self.pair.read.end()

    def gone(self) -> None:
        """Give up what is open. Whoever still reads or writes learns that this is over."""
        self._edge.gone()
        self._bus.requester.stop()
        self.pair.over()

    def _send(self, line: bytes) -> None:
        if len(line) <= MOST_LINE_BYTES:
            self._edge.receive_line(line)
            return
        lines = LineSplitter(MOST_LINE_BYTES)
        lines.receive(line)
        lines.close()
        for skipped in lines.take_oversize():
            self._edge.receive_oversize(skipped, MOST_LINE_BYTES)

    def _closed(self) -> None:
        self._output.closed = self.pair.read.closed
        asyncio.get_running_loop().call_soon(self._end_if_answered)

    def _end_if_answered(self) -> None:
        """End the reading of an SDK that has said all it had to say, once that was answered."""
        if self.pair.write.closed and not self._edge.busy:
            self.pair.read.end()


class _Output(Output):
    """Lines that the SDK has not taken yet."""

    def __init__(self, read: ReadStream) -> None:
        self.closed = False
        self._read = read

    @property
    def waiting_bytes(self) -> int:
        return self._read.waiting_bytes

    def write(self, line: bytes) -> None:
        if not self.closed:
            self._read.put(line)

    def flush(self) -> None:
        """Nothing is gathered here."""


def _several(bus: ClientBus, params: NatsClientParameters, events: str) -> Aggregate:
    chosen = None if EVERY in params.servers else params.servers
    try:
        version = metadata.version("mcpnatsd")
    except metadata.PackageNotFoundError:
        version = "0+unknown"
    return Aggregate(bus, chosen, events=events, version=version)
