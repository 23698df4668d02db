"""One subscription of a client, kept open at several servers that come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from mcpnatsd.bus.call import Call
from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import McpnatsdError, ProtocolError, Reported
from mcpnatsd.frontends.aggregate_members import Members
from mcpnatsd.frontends.asking import Answer
from mcpnatsd.protocol import aggregate_listens as listens
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.aggregate import listen_request, params_of
from mcpnatsd.protocol.aggregate_listens import Wanted
from mcpnatsd.protocol.jsonrpc import Members as Object
from mcpnatsd.protocol.jsonrpc import Notification
from mcpnatsd.protocol.outgoing import Outgoing

log = logging.getLogger(__name__)

ACKNOWLEDGE_WITHIN: Final = 10.0
"""Seconds in which a server must answer to be in the acknowledgement."""

MOST_HELD: Final = 1024
"""Notifications that wait for the acknowledgement, which comes first."""

FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 30.0
"""Seconds before a server is listened to again; twice as many each time."""

REFUSED_PAUSE: Final = 300.0
"""Likewise after a refusal of the server's own, which is hardly going to change."""

_OURS: Final = range(-31099, -31000)
"""Codes of mcpnatsd's own (WIRE.md, "Errors of ours"): what they tell of may pass."""

Offers = Callable[[str], Awaitable[Object]]
"""Says what a server offers."""


class Listening:
    """What the client wants to hear, from whoever can tell. `run` is it; cancelling ends it."""

    def __init__(
        self, requester: Requester, members: Members, asked: Outgoing, edge: str, offers: Offers
    ) -> None:
        self.asked = asked
        self.edge = edge
        self.requester = requester
        self.wanted = listens.wanted(params_of(asked))
        self.on_line: Callable[[bytes], None] = lambda _line: None
        self._offers = offers
        self._members = members
        self._ears: dict[str, tuple[Ear, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._unsettled: set[str] = set()
        self._settled = asyncio.Event()
        self._honoured: set[str] = set()
        self._held: dict[bytes, None] | None = {}
        """Notifications before the acknowledgement, each once; None after it."""

    async def run(self, on_line: Callable[[bytes], None]) -> None:
        """Listen until cancelled; `on_line` takes each line for the client.

        Raises:
            McpnatsdError: It is not known who is there.
        """
        self.on_line = on_line
        servers = await self._members.refresh()
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._unsettled = set(servers)
            self.follow(servers)
            await self._wait_settled()
            self._acknowledge()
            await asyncio.get_running_loop().create_future()  # until cancelled

    def follow(self, servers: Iterable[str]) -> None:
        """Listen to these servers, and to no other."""
        group, here = self._group, set(servers)
        if group is None:
            return
        for server in sorted(here - self._ears.keys()):
            ear = Ear(self, server)
            self._ears[server] = ear, group.create_task(ear.run())
        for server in sorted(self._ears.keys() - here):
            self._ears.pop(server)[1].cancel()

    def wake(self, server: str) -> None:
        """Listen at once again to a server that is back."""
        if server in self._ears:
            self._ears[server][0].nudged.set()

    def tell_changed(self, kinds: Iterable[str]) -> None:
        """Tell the client that lists have changed, as far as it wants to know."""
        for kind in sorted(self.wanted.kinds.intersection(kinds)):
            self.tell(listens.changed(self.asked.id, kind))

    def tell(self, line: bytes) -> None:
        """Pass a notification on, after the acknowledgement."""
        if self._held is None:
            self.on_line(line)
        elif len(self._held) < MOST_HELD:
            self._held[line] = None

    async def part_for(self, server: str) -> Wanted:
        """Return what that server can be asked for.

        Raises:
            McpnatsdError: It does not say what it offers.
        """
        where = self._members.where
        uris = [uri for uri in self.wanted.uris if where.of(uri) in (None, server)]
        return self.wanted.offered(await self._offers(server), uris)

    def settled(self, server: str, honoured: Wanted) -> None:
        """Learn what a server does for the acknowledgement: it has answered, or failed."""
        self._honoured.update(honoured.uris)
        self._unsettled.discard(server)
        if not self._unsettled:
            self._settled.set()

    def back(self, honoured: Wanted) -> None:
        """Tell the client to fetch again what may have changed unheard: nothing is replayed."""
        self.tell_changed(honoured.kinds)
        for uri in honoured.uris:
            self.tell(listens.updated(self.asked.id, uri))

    async def _wait_settled(self) -> None:
        if not self._unsettled:
            return
        try:
            async with asyncio.timeout(ACKNOWLEDGE_WITHIN):
                await self._settled.wait()
        except TimeoutError:
            late = " ".join(sorted(self._unsettled))
            log.info("a subscription is open without some servers", extra={"servers": late})

    def _acknowledge(self) -> None:
        """Honour every list: that servers come and go changes them, and we tell that ourselves."""
        uris = tuple(uri for uri in self.wanted.uris if uri in self._honoured)
        held, self._held = self._held or {}, None
        self.on_line(listens.acknowledgement(self.asked.id, Wanted(self.wanted.kinds, uris)))
        for line in held:
            self.on_line(line)


class Ear(Answer):
    """The subscription at one server, opened again whenever it is lost."""

    def __init__(self, listening: Listening, server: str) -> None:
        super().__init__(listening.edge)
        self.nudged = asyncio.Event()
        self._listening = listening
        self._server = server
        self._acknowledged = False
        self._was_open = False

    async def run(self) -> None:
        """Listen until cancelled."""
        now = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while True:
            self.nudged.clear()
            started = now()
            patience: float | None = pause
            try:
                if not await self._listen():
                    patience = None
            except McpnatsdError as fault:
                log.debug("not listened to", extra={"server": self._server, "reason": str(fault)})
                if isinstance(fault, Reported) and fault.jsonrpc_code not in _OURS:
                    patience = REFUSED_PAUSE
            self._listening.settled(self._server, Wanted())
            pause = FIRST_PAUSE if now() - started > LAST_PAUSE else min(2 * pause, LAST_PAUSE)
            await self._rest(patience)

    async def _listen(self) -> bool:
        """Be subscribed until that ends; say whether there was anything to subscribe to."""
        part = await self._listening.part_for(self._server)
        if not part:
            return False
        listening = self._listening
        self.line = asyncio.get_running_loop().create_future()
        self._acknowledged = False
        request = listen_request(listening.asked, part.as_filter())
        call = listening.requester.open(self._server, request, self)
        try:
            line = await self.line
        finally:
            listening.requester.cancel(call, "the subscription is over")
        if b'"error"' in line and "error" in jsonrpc.split(line):
            raise jsonrpc.reported(line)
        return True

    async def _rest(self, seconds: float | None) -> None:
        """Wait until it is time to try again, or until the server says that it is there."""
        try:
            async with asyncio.timeout(seconds):
                await self.nudged.wait()
        except TimeoutError:
            return

    def receive_note(self, _call: Call, line: bytes) -> None:
        try:
            note = jsonrpc.decode(line)
            params = jsonrpc.object_of(note.members, "params")
        except ProtocolError:
            return
        if not isinstance(note, Notification) or note.method == eras.CANCELLED:
            return  # that this server ends it is no end for the client
        if note.method == listens.ACKNOWLEDGED:
            self._opened(listens.wanted(params))
        else:
            self._listening.tell(line)

    def _opened(self, honoured: Wanted) -> None:
        if self._acknowledged:
            return
        self._acknowledged = True
        if self._was_open:
            self._listening.back(honoured)
        self._was_open = True
        self._listening.settled(self._server, honoured)
