"""The shim: one desktop host's client on stdio, one server of the bus.

Its start-up path is the product: nothing is imported here that the first answer does not need.
stdout carries MCP and nothing else.
"""

import asyncio
import logging
import os
import signal
from typing import Final

from mcpnatsd import loop
from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.line_client import LineClient
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.streams import open_stdin, open_stdout
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

AFTER_EOF: Final = 30.0
"""Seconds for which answers are still delivered after the host closed our stdin. A host that does
not want them ends us sooner, as MCP says it should (2025-11-25, Basic, Lifecycle, Shutdown)."""

LAST_ANSWERS: Final = 1.0
"""Seconds in which a host that ends us can take the answers that are still in our buffer."""

TICK: Final = 0.25


def run(server: str, settings: NatsConfig) -> int:
    """Serve one client on stdio until it, or its host, is gone."""
    return loop.run(_Shim(server, settings).run())


class _Shim:
    def __init__(self, server: str, settings: NatsConfig) -> None:
        self._server = server
        self._settings = settings
        self._host = os.getppid()
        self._over = asyncio.Event()
        self._eof_at: float | None = None
        self._broken = False
        self._output: Output | None = None

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self._over.set)
        prefix = Prefix.parse(self._settings.prefix)
        name = f"mcpnatsd connect {self._server}"
        connection = await open_connection(self._settings, name=name, wait=False)
        connection.watch(on_up=lambda: _say_back(connection), on_down=lambda: None)
        bus = await self._bus(connection, prefix)
        if bus is not None:
            await self._serve(bus)
        await connection.close()
        return 0

    async def _serve(self, bus: ClientBus) -> None:
        output = self._output = Output(await open_stdout(self._stdout_broke))
        edge = Edge(bus, self._server, output)
        client = LineClient(edge, lambda yes: stdin.pause(yes=yes))
        stdin = await open_stdin(client.receive, lambda: self._end_of_input(client))
        async with asyncio.TaskGroup() as group:
            clocks = group.create_task(bus.requester.run())
            await self._watch(client)
            clocks.cancel()
        await self._hand_over(output)
        edge.gone()

    async def _bus(self, connection: Connection, prefix: Prefix) -> ClientBus | None:
        """Return the client's side of the bus, or None when we are to end before it is there.

        Only a prefix that names the caller must wait for NATS.
        """
        if not prefix.names_caller:
            return await client_bus(connection, prefix)
        opening = asyncio.create_task(client_bus(connection, prefix))
        while not opening.done() and not self._over.is_set():
            await asyncio.wait({opening}, timeout=TICK)
            if os.getppid() != self._host:
                self._over.set()
        if opening.done():
            return opening.result()
        opening.cancel()
        return None

    def _end_of_input(self, client: LineClient) -> None:
        client.receive_eof()
        self._eof_at = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_soon(self._check, client, self._eof_at)

    async def _watch(self, client: LineClient) -> None:
        """Stay until the host closed stdin and has its answers, or is gone, or ends us."""
        now = asyncio.get_running_loop().time
        while not self._over.is_set():
            try:
                async with asyncio.timeout(TICK):
                    await self._over.wait()
            except TimeoutError:
                client.tick(now())
                self._check(client, now())

    async def _hand_over(self, output: Output) -> None:
        """Let a host that is slow to read have the rest, for a while."""
        output.flush()
        now = asyncio.get_running_loop().time
        deadline = now() + LAST_ANSWERS
        while output.waiting_bytes and not self._broken and now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # transports tell nobody that they are empty

    @property
    def _unread(self) -> bool:
        """Whether the host has not taken all that we wrote."""
        return self._output is not None and self._output.waiting_bytes > 0

    def _stdout_broke(self) -> None:
        self._broken = True
        self._over.set()

    def _check(self, client: LineClient, now: float) -> None:
        orphaned = os.getppid() != self._host
        answered = self._eof_at is not None and not client.edge.busy and not self._unread
        too_late = self._eof_at is not None and now - self._eof_at >= AFTER_EOF
        if orphaned or answered or too_late:
            self._over.set()


def _say_back(connection: Connection) -> None:
    """Tell whoever was warned that NATS is away that it is not any more."""
    if connection.returned:
        log.info("NATS is back", extra={"url": connection.url})
