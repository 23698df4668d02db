"""One bridge with a connection to NATS of its own, on the bus until it is cancelled."""

import asyncio
import logging
import secrets
from dataclasses import replace
from importlib import metadata
from typing import Final

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.place import Place
from mcpnatsd.backends.recall import Recall
from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.bus.finals import Finals
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.service import ServiceResponder
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.protocol.discovery import Description
from mcpnatsd.protocol.subjects import Prefix
from mcpnatsd.transport.parameters import NatsServerParameters

log = logging.getLogger(__name__)

_NOTHING_KEPT: Final = Recall(None)
"""Nothing is remembered between runs: what a program is may change with each."""


class Host:
    """Puts one server on the bus, and takes it off."""

    def __init__(
        self,
        config: ServerConfig,
        params: NatsServerParameters,
        launcher: Launcher,
        *,
        tunnels: bool = True,
    ) -> None:
        """Take what is to run; without `tunnels`, a legacy client is translated at its edge.

        Raises:
            UsageError: It is not clear which NATS is meant.
        """
        self._config = config
        self._params = params
        self._launcher = launcher
        self._tunnels = tunnels
        self._nats = params.nats()

    async def run(self) -> None:
        """Serve until cancelled; then finish what is open, unless cancelled once more."""
        name = f"mcpnatsd server {self._config.name}"
        connection = await open_connection(self._nats, name=name, wait=False)
        try:
            await self._serve(connection, self._bridge(connection))
        finally:
            await connection.close()

    def _bridge(self, connection: Connection) -> Bridge:
        place = Place(
            connection,
            Inbox(connection),
            Prefix.parse(self._nats.prefix),
            instance=self._params.server_id or secrets.token_hex(8),
            version=metadata.version("mcpnatsd"),
            finals=Finals(),
        )
        return Bridge(self._config, place, self._launcher, _NOTHING_KEPT, tunnels=self._tunnels)

    async def _serve(self, connection: Connection, bridge: Bridge) -> None:
        service = ServiceResponder(connection)
        running = asyncio.create_task(bridge.run(), name=f"bridge {bridge.server}")
        service.add(_Shown(bridge, self._params))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await self._drain(bridge)
            raise
        finally:
            running.cancel()
            await asyncio.wait([running])
            service.stop()

    async def _drain(self, bridge: Bridge) -> None:
        try:
            async with asyncio.timeout(self._params.drain_timeout):
                await bridge.drain()
        except TimeoutError:
            if not bridge.responder.in_flight and not bridge.open_sessions:
                return
            facts = {"server": bridge.server, "in_flight": bridge.responder.in_flight}
            log.warning("stopping with work open", extra=facts)


class _Shown:
    """A bridge as discovery shows it, with what the program says of its server."""

    def __init__(self, bridge: Bridge, params: NatsServerParameters) -> None:
        self._bridge = bridge
        self._params = params

    @property
    def server(self) -> str:
        return self._bridge.server

    def describe(self) -> Description:
        known, params = self._bridge.describe(), self._params
        return replace(
            known,
            description=params.description or known.description,
            version=params.version or known.version,
            metadata={**params.metadata, **known.metadata},
        )
