"""One configured server on the bus: its place in the queue group, its modern and legacy sides.

What crosses the bus, and in which frames, is the responder's; what a process is told, is the
sides' own.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Final

from mcpnatsd.backends.aside import TROUBLED_AFTER, Aside, count_others
from mcpnatsd.backends.call_log import say_answered
from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.faults import instance_stopping
from mcpnatsd.backends.forwarder import Forwarder
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.legacy_shared import Member, SharedLegacy
from mcpnatsd.backends.modern import Modern
from mcpnatsd.backends.place import Place
from mcpnatsd.backends.presence import AWAY_AFTER, Presence, is_of_the_connection
from mcpnatsd.backends.recall import Recall
from mcpnatsd.backends.seat import Seats
from mcpnatsd.backends.session import LegacySession
from mcpnatsd.backends.shared import Shared
from mcpnatsd.backends.translated_client import PARKED_FOR
from mcpnatsd.backends.translator import Translator
from mcpnatsd.bus.responder import Address, Responder
from mcpnatsd.bus.served import Served
from mcpnatsd.bus.tunnel_server import ServedTunnel, ServedTunnels
from mcpnatsd.config.model import Isolation, ServerConfig, Start
from mcpnatsd.errors import BrokerAway, Busy, InstanceLost, McpnatsdError, Outcome
from mcpnatsd.protocol import discovery, eras, subjects
from mcpnatsd.protocol.discovery import Description
from mcpnatsd.protocol.lifecycle import State as Life
from mcpnatsd.protocol.parked import Seal

log = logging.getLogger(__name__)

UNSTARTED: Final = (Life.STARTING, Life.BACKOFF)
MOST_SESSIONS: Final = 256
"""Legacy sessions open at a time on one server. More are refused as busy."""


class Bridge:
    """One server: started when it is wanted, found by everybody."""

    def __init__(
        self,
        config: ServerConfig,
        place: Place,
        launcher: Launcher,
        recall: Recall,
        *,
        tunnels: bool = True,
    ) -> None:
        """Put a server on the bus; without `tunnels`, legacy clients are translated at their edge.

        A server that has one connection for everybody cannot have a second one for tunnels.
        """
        self.server = config.name
        self.config = config
        self.catalogue = Catalogue(config, recall)
        self.draining = False
        self.last_fault: str | None = None
        self.sessions: set[LegacySession] = set()
        self.legacy_shared: SharedLegacy | None = None
        self._place = place
        self._launcher = launcher
        self._takes_tunnels = tunnels
        self._aside = Aside(
            self.server,
            count_others=lambda: count_others(place, config.name),
            leave=self._step_aside,
            join=self._join,
            try_again=self._try_again,
        )
        self.presence = Presence(config, launcher, self, place.connection.wait_up)
        self._started = datetime.now(UTC).isoformat(timespec="microseconds")
        self._group: asyncio.TaskGroup | None = None
        seal = Seal(place.instance, secrets.token_bytes(32))
        shares = config.isolation is Isolation.SHARED and tunnels
        seats = Seats(self._shared_legacy) if shares else None
        self._modern = Modern(
            config, launcher, self.catalogue, self, place.version, seal=seal, seats=seats
        )
        self._forwarder = Forwarder(place.connection, place.inbox, place.prefix.plain, config.name)
        self._tunnels = ServedTunnels(
            place.connection, line_bytes=config.limits.line_bytes, instance=place.instance
        )
        self._tunnels.on_open = self._open_session
        self.responder = Responder(
            place.connection,
            place.inbox,
            Address(place.prefix, config.name, place.instance),
            backend=self,
            finals=place.finals,
            line_bytes=config.limits.line_bytes,
            version=place.version,
            on_tunnel=self._tunnels.receive,
            on_done=self._record,
        )
        self._pin()

    @property
    def shared(self) -> list[Shared]:
        return self._modern.shared

    @property
    def translator(self) -> Translator:
        return self._modern.translator

    @property
    def settled(self) -> asyncio.Event:
        """Set once the first start of an eager server has come to something."""
        return self._modern.settled

    @property
    def open_sessions(self) -> int:
        shared = self.legacy_shared
        members = sum(one.counted for one in shared.members) if shared is not None else 0
        return len(self.sessions) + members + len(self.translator.sessions)

    @property
    def joined(self) -> bool:
        return self.responder.joined

    @property
    def is_tried(self) -> bool:
        """Whether its start is tried again without a client, and shows when it works again."""
        verdict = self.catalogue.verdict
        telling = verdict.modern or (self.config.url is not None and not verdict.legacy)
        return bool(telling) and any(one.lifecycle.state in UNSTARTED for one in self.shared)

    @property
    def _is_away(self) -> bool:
        return self.config.url is not None and is_of_the_connection(self.last_fault)

    @property
    def state(self) -> discovery.State:
        if self.draining:
            return discovery.State.DRAINING
        up = (one for one in self.shared if one.process is not None)
        if self.open_sessions or any(not (self.last_fault and it.lifecycle.failures) for it in up):
            return discovery.State.RUNNING
        return discovery.State.FAILING if self.last_fault else discovery.State.ASLEEP

    @property
    def _told_state(self) -> discovery.State:
        """What others are told: they do not leave requests to one that would not answer them."""
        if not self.draining and not self.joined:
            return discovery.State.ASIDE
        return discovery.State.FAILING if self._is_away and not self.draining else self.state

    async def run(self) -> None:
        """Serve until cancelled."""
        unwatch = self._place.connection.watch(on_up=self._tell_up, on_down=lambda: None)
        try:
            async with asyncio.TaskGroup() as self._group:
                try:
                    self._tunnels.start()
                    self.responder.open(join=not self.presence.looks_first)
                    self._tell_up()
                    self._warm_up()
                    self.spawn(self.responder.run())
                    self.spawn(self._forwarder.run())
                    self.spawn(self.presence.run())
                    await self._tick_for_ever()
                finally:
                    self.responder.closing = instance_stopping(self.config)
        finally:
            unwatch()
            self.responder.close()
            self._tunnels.stop()

    async def drain(self, parked_for: float = PARKED_FOR) -> None:
        """Leave the queue group, finish what is open, for so long what is parked; move sessions."""
        self.draining = True
        self.responder.blocks.pin(yes=False)
        self._publish_event("down")
        self.responder.leave()
        try:
            await self._place.connection.flush()
        except BrokerAway:
            log.info("draining while NATS is away", extra={"server": self.server})
        await self._finish(parked_for)
        await self._tunnels.wait_heard()
        # What is pinned here goes elsewhere from now on, and what is on its way is still taken.
        await self.responder.unpin()
        await self._finish(parked_for)

    async def _finish(self, parked_for: float) -> None:
        parked_until = self.responder.now() + parked_for
        while self.responder.in_flight or self.open_sessions:
            self._close_idle_sessions()
            self.responder.end_subscriptions("the server is stopping")
            if self.responder.now() >= parked_until:
                self.translator.end_parked()
            await asyncio.sleep(0.02)

    # What comes off the bus.

    def tool_names(self) -> tuple[str, ...]:
        return self.catalogue.tools

    def receive_request(self, served: Served) -> None:
        self._modern.receive(served)

    def receive_notification(self, line: bytes) -> None:
        self._modern.notify(line)

    def client_left(self, user: str, client: str) -> None:
        self._modern.client_left(user, client)

    # From the modern side.

    def spawn(self, part: Coroutine[None, None, None]) -> None:
        """Run a part in this bridge's group; one that fails is contained, and said."""
        if self._group is None:
            part.close()
            return
        self._group.create_task(self._guard(part))

    def modern_ready(self) -> None:
        self.last_fault = None
        self._aside.started()
        if not self.draining:
            self._pin()

    def _pin(self) -> None:
        """Keep clients here that have a process of their own; another instance has none."""
        isolation = self.config.isolation
        translated = self.catalogue.verdict.modern is False and isolation is not Isolation.SHARED
        self.responder.blocks.pin(yes=isolation is Isolation.SESSION or translated)

    def list_changed(self, what: str) -> None:
        self._publish_event(what)

    def start_failed(self, failures: int, fault: McpnatsdError) -> None:
        self.last_fault = str(fault)
        troubled = failures >= (AWAY_AFTER if self._is_away else TROUBLED_AFTER)
        if (troubled or not self.joined) and self._place.connection.up and not self.draining:
            self.spawn(self._aside.step())

    def has_room(self) -> bool:
        return self.open_sessions < MOST_SESSIONS or self.translator.end_longest_idle()

    def forward(self, caller: Caller, instance: str) -> None:
        self._forwarder.forward(caller, instance)

    def _step_aside(self) -> None:
        if not self.draining:
            self.responder.leave()
        for shared in self.shared:
            shared.want()

    def _try_again(self) -> bool:
        for shared in self.shared if self.is_tried else ():
            shared.want()
        return self.is_tried or self._is_away

    def _join(self) -> None:
        if not self.draining:
            self.responder.join()

    # Legacy sessions.

    def _open_session(self, tunnel: ServedTunnel) -> LegacySession | Member:
        if not self.has_room():
            raise Busy(f"server {self.server!r} has {MOST_SESSIONS} sessions open")
        if self.catalogue.surely_modern or not self._takes_tunnels:
            raise eras.mismatch(self.server, self.catalogue.verdict, eras.LEGACY_REVISIONS[0])
        if self.config.isolation is Isolation.SHARED:
            return self._shared_legacy().open(tunnel)
        session = LegacySession(
            self.config,
            self._launcher,
            tunnel,
            rules=self.catalogue.rules,
            statistics=self.catalogue.statistics,
            on_verdict=self._learn_session,
            on_tools=self.catalogue.learn_page,
        )
        self.sessions.add(session)
        self.spawn(self._run_session(session))
        return session

    def _learn_session(self, verdict: eras.Verdict) -> None:
        self.catalogue.learn_verdict(verdict)
        self.last_fault = None if verdict.legacy else self.last_fault

    def _shared_legacy(self) -> SharedLegacy:
        """Return the process that all legacy sessions share, tunnels and translated ones."""
        if self.legacy_shared is None or self.legacy_shared.over:
            self.legacy_shared = SharedLegacy(
                self.config,
                self._launcher,
                version=self._place.version,
                rules=self.catalogue.rules,
                statistics=self.catalogue.statistics,
                on_verdict=self._learn_session,
                on_tools=self.catalogue.learn_page,
            )
            self.spawn(self._run_shared(self.legacy_shared))
        return self.legacy_shared

    async def _run_shared(self, shared: SharedLegacy) -> None:
        try:
            await shared.run()
        finally:
            if self.legacy_shared is shared:
                self.legacy_shared = None

    async def _run_session(self, session: LegacySession) -> None:
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            self.last_fault = session.fault

    def _close_idle_sessions(self) -> None:
        fault = InstanceLost(
            f"this instance of {self.server!r} is stopping", outcome=Outcome.NOT_EXECUTED
        )
        for session in list(self.sessions):
            if session.ledger.in_flight == 0:
                session.leave(fault)
        for member in list(self.legacy_shared.members) if self.legacy_shared else ():
            if member.counted and member.ledger.in_flight == 0:
                member.fail(fault)
                member.client_gone("draining")
        self.translator.end_idle(fault)

    # Looking.

    def describe(self) -> Description:
        """Return what `$SRV.INFO` and `$SRV.STATS` say of this server."""
        verdict, catalogue = self.catalogue.verdict, self.catalogue
        metadata = {
            **catalogue.metadata,
            discovery.STATE: self._told_state,
            discovery.HOSTNAME: socket.gethostname(),
        }
        return Description(
            server=self.server,
            instance=self._place.instance,
            description=f"MCP server {verdict.server_name or self.server} on mcpnatsd",
            version=verdict.server_version,
            metadata=metadata,
            tools=catalogue.tools,
            started=self._started,
            prefix_listening=self._place.prefix.listening,
            statistics=catalogue.statistics,
        )

    # Upkeep.

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._tunnels.tick()
            self._modern.tick(asyncio.get_running_loop().time())

    def _warm_up(self) -> None:
        """Start an eager server now; a lazy one waits for its first request."""
        if self.config.start is Start.LAZY or self.catalogue.verdict.modern is False:
            self.settled.set()
        else:
            self._modern.want()

    def _record(self, served: Served, line: bytes) -> None:
        if not line and served.method != eras.LISTEN:
            return  # cancelled: neither answered nor failed
        if self._forwarder.has(served):
            return  # its holder counts it
        seconds = self.responder.now() - served.opened_at
        self.catalogue.statistics.record(served.method, served.asked.name, seconds, served.error)
        say_answered(self.server, served, seconds)

    def _tell_up(self) -> None:
        """Tell whoever listens, after each (re)connect: a first one comes after our start."""
        if not self.draining:
            self._publish_event("up")

    def _publish_event(self, what: str) -> None:
        subject = subjects.event(self._place.prefix.plain, self.server, what)
        try:
            self._place.connection.publish(subject, self._place.instance.encode())
        except BrokerAway:
            log.debug("event not published: NATS is away", extra={"subject": subject})

    async def _guard(self, part: Coroutine[None, None, None]) -> None:
        try:
            await part
        except Exception:
            log.exception("a part of this server's bridge failed", extra={"server": self.server})
