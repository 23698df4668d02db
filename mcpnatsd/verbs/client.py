"""A small MCP client for the verbs, of whichever era the server is.

It asks `server/discover`; a server that does not know that is opened with `initialize`, in a
tunnel. It offers no capabilities.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.errors import RemoteProtocolError, Reported
from mcpnatsd.protocol import eras
from mcpnatsd.protocol.eras import Era
from mcpnatsd.verbs.answers import OnProgress, Result, list_in, object_in
from mcpnatsd.verbs.exchanges import ERA_ERROR, Exchanges
from mcpnatsd.verbs.line import Line, open_line

MOST_PAGES: Final = 1000
"""Of one list. A server that hands out cursors for ever is stopped here."""


class _Channel(Protocol):
    """How requests get to the server."""

    async def request(
        self, method: str, params: Mapping[str, object], on_progress: OnProgress | None
    ) -> Result: ...


class Client:
    """A server that was asked who it is."""

    def __init__(self, channel: _Channel, era: Era, welcome: Result) -> None:
        self.era = era
        self.capabilities = object_in(welcome.get("capabilities"))
        self.instructions = str(welcome.get("instructions") or "")
        if era is Era.MODERN:
            self.server_info = object_in(object_in(welcome.get("_meta")).get(eras.SERVER_INFO))
            self.revisions = [str(one) for one in list_in(welcome.get("supportedVersions"))]
        else:
            self.server_info = object_in(welcome.get("serverInfo"))
            self.revisions = [str(welcome.get("protocolVersion", ""))]
        self._channel = channel

    async def request(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Return the result of a request. Cancelling the wait cancels the request.

        Raises:
            Reported: The server answered with an error.
            BusError: It could not be reached.
        """
        return await self._channel.request(method, params or {}, on_progress)

    async def listed(self, method: str, member: str) -> list[Result]:
        """Return all pages of a list.

        Raises:
            RemoteProtocolError: They do not end.
            Reported, BusError: As `request`.
        """
        found: list[Result] = []
        params: dict[str, object] = {}
        for _ in range(MOST_PAGES):
            page = await self.request(method, params)
            found += [one for one in list_in(page.get(member)) if isinstance(one, dict)]
            if not page.get("nextCursor"):
                return found
            params = {"cursor": page["nextCursor"]}
        raise RemoteProtocolError(f"{method} does not end: {MOST_PAGES} pages and a next one")


@asynccontextmanager
async def open_client(bus: ClientBus, server: str) -> AsyncIterator[Client]:
    """Find out which era a server is of, and open it; starting it may take a minute.

    Raises:
        NoResponders: Nobody serves it.
        McpnatsdError: It cannot be started, or is not understood.
    """
    channel = Exchanges(bus, server)
    welcome = await channel.discover()
    if welcome is not None:
        yield Client(channel, Era.MODERN, welcome)
        return
    async with open_line(bus, server) as line:
        legacy = await _initialized(line, channel)
        if isinstance(legacy, Client):
            yield legacy
        else:
            yield Client(line, Era.LEGACY, legacy)


async def _initialized(line: Line, channel: Exchanges) -> Result | Client:
    """Open a legacy session; where only now the server turns out to be modern, go back to that.

    While its first process starts, a server's `server/discover` is answered without knowing.
    """
    try:
        return await line.initialize()
    except Reported as fault:
        if fault.jsonrpc_code not in (ERA_ERROR, eras.UNSUPPORTED_VERSION):
            raise
        welcome = await channel.discover()
        if welcome is None:
            raise
        return Client(channel, Era.MODERN, welcome)
