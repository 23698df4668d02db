"""The servers of one session over several: who they are, and what is known of them."""

import asyncio
import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.directory import survey
from mcpnatsd.errors import BrokerAway, McpnatsdError, NoResponders
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.aggregate import Names
from mcpnatsd.protocol.jsonrpc import Members as Object
from mcpnatsd.protocol.whereabouts import Whereabouts

log = logging.getLogger(__name__)

MOST: Final = 256
"""Servers in one session, the first by name."""

WAIT_FOR_NATS: Final = 7.0
"""Seconds: as long as `server/discover` waits for a connection."""


class Members:
    """Chosen by name, or with no names chosen: everybody that answers discovery."""

    def __init__(self, bus: ClientBus, chosen: Iterable[str] | None) -> None:
        self.names: tuple[str, ...] = ()
        self.everybody = chosen is None
        self.shown = Names()
        self.where = Whereabouts()
        self.capabilities: dict[str, Object] = {}
        """What each offers, as its last `server/discover` said."""

        self._bus = bus
        self._wishes = self._granted = 0
        self._looking = asyncio.Lock()
        self._seen: frozenset[str] = frozenset()
        self._missed: set[str] = set()
        self._put(set(chosen or ()))

    @property
    def complete(self) -> bool:
        """Whether these are all that can ever belong, and each said what it offers."""
        return not self.everybody and self.capabilities.keys() >= set(self.names)

    async def refresh(self) -> tuple[str, ...]:
        """Look who is there, where that is open; return the names in their order.

        Raises:
            BrokerAway: NATS is not reachable.
            Forbidden: NATS denies this user discovery.
        """
        if self.everybody:
            self._wishes += 1
            wish = self._wishes
            async with self._looking:
                if self._granted < wish:  # no look began since this was wished for, and ended
                    latest = self._wishes
                    await self._look()
                    self._granted = latest
        return self.names

    def learn(self, server: str, discovered: Object) -> None:
        """Remember what a server said of itself."""
        offered = jsonrpc.object_of(discovered, "capabilities")
        self.capabilities[server] = {kind: raw.copy() for kind, raw in offered.items()}

    def is_there(self, server: str) -> bool:
        """Say whether the last look found a server. Of chosen ones that is taken for granted."""
        return not self.everybody or server in self._seen

    def heard(self, server: str) -> None:
        self._missed.discard(server)

    def missed(self, server: str, fault: McpnatsdError | None) -> None:
        """Say, once, that a server does not answer; drop one that is gone from the bus."""
        gone = fault is None or isinstance(fault, NoResponders)
        if gone and not self.is_there(server):
            self._drop(server)
        elif server not in self._missed:
            self._missed.add(server)
            reason = str(fault) if fault is not None else "no answer in time"
            log.warning("a server is left out", extra={"server": server, "reason": reason})

    def _drop(self, server: str) -> None:
        self.names = tuple(one for one in self.names if one != server)
        self.where.forget_server(server)
        self.capabilities.pop(server, None)
        self._missed.discard(server)

    async def _look(self) -> None:
        bus = self._bus
        try:
            async with asyncio.timeout(WAIT_FOR_NATS):
                await bus.connection.wait_up()
        except TimeoutError:
            raise BrokerAway("NATS is not reachable; nobody was asked") from None
        found = await survey(bus.connection, bus.inbox, prefix=bus.prefix)
        self._seen = frozenset(one.server for one in found)
        # Whoever was slow to answer is kept: only "no responders" says that it is gone.
        self._put(self._seen.union(self.names))

    def _put(self, everybody: AbstractSet[str]) -> None:
        if len(everybody) > MOST:
            log.warning("too many servers", extra={"found": len(everybody), "most": MOST})
        self.names = tuple(sorted(everybody)[:MOST])
