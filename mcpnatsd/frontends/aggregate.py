"""Several servers that look like one: what an edge takes for the requester.

A request that names something goes to the server that has it, as an exchange of its own; what is
asked of all is gathered. Every server is spoken to in the modern era.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mcpnatsd.bus.call import Call, Owner
from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.errors import McpnatsdError, NoResponders
from mcpnatsd.frontends.aggregate_finding import READ, Finding
from mcpnatsd.frontends.aggregate_gathering import Gathering
from mcpnatsd.frontends.aggregate_listening import Listening
from mcpnatsd.frontends.aggregate_members import Members
from mcpnatsd.frontends.aggregate_requests import Asked, OpenRequests
from mcpnatsd.protocol import aggregate, eras, jsonrpc, subjects
from mcpnatsd.protocol import aggregate_results as results
from mcpnatsd.protocol.aggregate_listens import KINDS
from mcpnatsd.protocol.jsonrpc import Members as Object
from mcpnatsd.protocol.outgoing import Outgoing

log = logging.getLogger(__name__)

SETTLE: Final = 0.25
"""Seconds for which events are gathered: a broker's restart brings one of each server."""

_LIST_OF: Final = {eras.CALL_TOOL: eras.LIST_TOOLS, "prompts/get": results.PROMPTS}
_CHANGES: Final = {
    eras.LIST_TOOLS: "tools",
    results.PROMPTS: "prompts",
    results.RESOURCES: "resources",
    results.TEMPLATES: "resources",
}


class Aggregate:
    """One session's servers. `run` keeps what takes longer; everything else is synchronous."""

    def __init__(
        self, bus: ClientBus, chosen: Iterable[str] | None, *, events: str, version: str
    ) -> None:
        """`chosen` are the servers, None for all there are; `events` is the plain prefix."""
        self.bus = AggregateBus(bus.connection, bus.inbox, self, bus.prefix)
        """What an edge takes for the bus of one server."""

        self._bus = bus
        self._version = version
        self._events = events
        members = self._members = Members(bus, chosen)
        self._open = OpenRequests(bus, self._failed_at)
        self._gathering = Gathering(bus.requester, members, self._came_late)
        self._finding = Finding(bus.requester, self._open, members, self._gathering)
        self._listens: dict[Asked, Listening] = {}
        self._stirred = asyncio.Event()
        self._changed: set[str] = set()
        self._look = False
        self._routes: dict[str, Callable[[Asked], None]] = {
            eras.DISCOVER: self._gather,
            **dict.fromkeys(results.LISTS, self._gather),
            **dict.fromkeys(_LIST_OF, self._call),
            READ: self._read,
            "completion/complete": self._complete,
            eras.LISTEN: self._listen,
        }

    # What an edge asks of the requester.

    def open(self, _server: str, outgoing: Outgoing, owner: Owner) -> Call:
        """Take a request of the client; its owner hears of all that follows, but not from here."""
        asked = self._open.enter(outgoing, owner)
        try:
            self._routes.get(outgoing.method, self._unknown)(asked)
        except McpnatsdError as fault:
            asyncio.get_running_loop().call_soon(self._open.fail, asked, fault)
        return asked

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give a request up: its owner hears no more of it, whoever runs it is told."""
        if isinstance(call, Asked) and self._open.end(call) and call.part is not None:
            self._bus.requester.cancel(call.part, reason)

    def leave(self, edge: str) -> None:
        """Say that a client left."""
        self._bus.requester.leave(edge)

    def tell(self, method: str, line: bytes) -> None:
        """Pass a notification of an extension to every server: nothing says whom it is for."""
        for server in self._members.names:
            self._bus.tell(server, method, line)

    async def run(self) -> None:
        """Keep the session's longer work until cancelled."""
        connection = self._bus.connection
        whose = ("*",) if self._members.everybody else self._members.names
        subjects_of = [subjects.event(self._events, one, "*") for one in whose]
        subs = [connection.subscribe(one, self._receive_event) for one in subjects_of]
        unwatch = connection.watch(on_up=self._on_up, on_down=lambda: None)
        try:
            async with asyncio.TaskGroup() as group:
                self._open.start(group)
                await self._watch()
        finally:
            self._open.group = None
            unwatch()
            for sub in subs:
                connection.unsubscribe(sub)

    # Where requests go.

    def _call(self, asked: Asked) -> None:
        method, name = asked.outgoing.method, asked.outgoing.name or ""
        self._finding.by_name(asked, name, _LIST_OF[method])

    def _read(self, asked: Asked) -> None:
        uri = asked.outgoing.name or ""
        self._finding.by_uri(asked, uri, self._members.where.of(uri))

    def _complete(self, asked: Asked) -> None:
        kind, what = aggregate.reference(asked.outgoing)
        if kind == "ref/prompt":
            self._finding.by_name(asked, what, results.PROMPTS)
        else:
            where = self._members.where
            self._finding.by_uri(asked, what, where.of_template(what) or where.of(what))

    def _gather(self, asked: Asked) -> None:
        outgoing = asked.outgoing
        if outgoing.method in results.LISTS and "cursor" in aggregate.params_of(outgoing):
            self._refuse(
                asked, jsonrpc.INVALID_PARAMS, "this list has one page: no cursor is known"
            )
        else:
            self._open.begin(asked, self._gathered)

    async def _gathered(self, asked: Asked) -> None:
        group = self._open.group
        assert group is not None  # noqa: S101  # this runs in it
        line = await self._gathering.answer(asked.outgoing, asked.edge, self._version, group)
        self._open.finish(asked, line)

    def _listen(self, asked: Asked) -> None:
        discover = aggregate.sibling(asked.outgoing, eras.DISCOVER, {})

        async def offers(server: str) -> Object:
            return await self._gathering.capabilities(server, discover, asked.edge)

        requester, outgoing = self._bus.requester, asked.outgoing
        listening = Listening(requester, self._members, outgoing, asked.edge, offers)
        self._open.begin(asked, lambda one: self._listened(one, listening))

    async def _listened(self, asked: Asked, listening: Listening) -> None:
        self._listens[asked] = listening
        try:
            await listening.run(asked.note)
        finally:
            del self._listens[asked]

    def _unknown(self, asked: Asked) -> None:
        known = ", ".join(sorted(self._routes))
        text = f"{asked.outgoing.method[:200]!r} cannot be asked of several servers at once"
        self._refuse(asked, jsonrpc.METHOD_NOT_FOUND, f"{text}; these can: {known}")

    def _refuse(self, asked: Asked, code: int, text: str) -> None:
        asyncio.get_running_loop().call_soon(self._open.refuse, asked, code, text)

    # What changes.

    def _failed_at(self, server: str, fault: McpnatsdError) -> None:
        if isinstance(fault, NoResponders):
            self._members.missed(server, fault)

    def _receive_event(self, subject: bytes, _reply: bytes, _body: bytes, _: bytes | None) -> None:
        *_rest, server, what = subject.decode("latin-1").split(".")
        if what in ("up", "down"):
            self._members.capabilities.pop(server, None)
            self._look |= server not in self._members.names
            self._stir(KINDS)
            for listening in self._listens.values() if what == "up" else ():
                listening.wake(server)
        elif what in KINDS:
            self._stir([what])

    def _on_up(self) -> None:
        self._open.sent()
        self._look = True
        self._stirred.set()

    def _came_late(self, method: str) -> None:
        if method in _CHANGES:
            self._stir([_CHANGES[method]])

    def _stir(self, kinds: Iterable[str]) -> None:
        self._changed.update(kinds)
        self._stirred.set()

    async def _watch(self) -> None:
        while True:
            await self._stirred.wait()
            await asyncio.sleep(SETTLE)
            self._stirred.clear()
            await self._tell_changes()

    async def _tell_changes(self) -> None:
        before = self._members.names
        if self._look:
            self._look = False
            try:
                await self._members.refresh()
            except McpnatsdError as fault:
                log.info("servers were not looked for", extra={"reason": str(fault)})
        changed, self._changed = self._changed, set()
        if self._members.names != before:
            changed.update(KINDS)
        for listening in list(self._listens.values()):
            listening.follow(self._members.names)
            listening.tell_changed(changed)


@dataclass(frozen=True, slots=True)
class AggregateBus:
    """The bus, with an aggregate in the requester's place."""

    connection: Connection
    inbox: Inbox
    requester: Aggregate
    prefix: str

    def tell(self, _server: str, method: str, line: bytes) -> None:
        self.requester.tell(method, line)
