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
from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.errors import BusError
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.line_client import LineClient
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.streams import open_stdin, open_stdout
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

AFTER_EOF: Final = 30.0
"""Seconds for which answers are still delivered after the host closed our stdin. A host that does
not want them ends us sooner, as MCP says it should (2025-11-25, Basic, Lifecycle, Shutdown)."""

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
        self._was_away = False

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self._over.set)
        prefix = Prefix.parse(self._settings.prefix)
        connection = await self._connect(prefix)
        connection.watch(on_up=lambda: _say_back(connection), on_down=lambda: None)
        connection.watch(on_up=self._say_back, on_down=self._note_away)
        bus = await client_bus(connection, prefix)
        output = Output(await open_stdout(self._over.set))
        edge = Edge(bus, self._server, output)
        client = LineClient(edge, lambda yes: stdin.pause(yes=yes))
        stdin = await open_stdin(client.receive, lambda: self._end_of_input(client))
        async with asyncio.TaskGroup() as group:
            clocks = group.create_task(bus.requester.run())
            await self._watch(client)
            clocks.cancel()
        output.flush()
        edge.gone()
        await connection.close()
        return 0

    async def _connect(self, prefix: Prefix) -> Connection:
        """Connect in the background; only a prefix that names the caller must wait for NATS."""
        name = f"mcpnatsd connect {self._server}"
        while prefix.names_caller:
            try:
                return await open_connection(self._settings, name=name, wait=True)
            except BusError as fault:
                log.warning("waiting for NATS", extra={"reason": str(fault)})
                await asyncio.sleep(1.0)
        return await open_connection(self._settings, name=name, wait=False)

    def _note_away(self) -> None:
        self._was_away = True

    def _say_back(self) -> None:
        if self._was_away:
            self._was_away = False
            log.info("reconnected", extra={"server": self._server})

    def _end_of_input(self, client: LineClient) -> None:
        client.receive_eof()
        self._eof_at = asyncio.get_running_loop().time()
        if not client.edge.busy:
            self._over.set()

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

    def _check(self, client: LineClient, now: float) -> None:
        orphaned = os.getppid() != self._host
        answered = self._eof_at is not None and not client.edge.busy
        too_late = self._eof_at is not None and now - self._eof_at >= AFTER_EOF
        if orphaned or answered or too_late:
            self._over.set()


def _say_back(connection: Connection) -> None:
    """Tell whoever was warned that NATS is away that it is not any more."""
    if connection.complained:
        log.info("NATS is back", extra={"url": connection.url})
