"""One configured server on the bus: its era, its processes, its place in the queue group.

Modern requests go to a shared process, legacy sessions each to one of their own. What crosses the
bus, and in which frames, is the responder's; what a process is told, is the process' own room's.
"""

import asyncio
import logging
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from msgspec import Raw

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.house import HouseSession
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.recall import Recall
from mcpnatsd.backends.session import LegacySession
from mcpnatsd.backends.shared import Shared
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.directory import survey
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.responder import Address, Responder
from mcpnatsd.bus.served import Served
from mcpnatsd.bus.tunnel_server import ServedTunnel, ServedTunnels
from mcpnatsd.config.model import Isolation, ServerConfig, Start
from mcpnatsd.errors import (
    BrokerAway,
    InstanceLost,
    McpnatsdError,
    Outcome,
    Reported,
)
from mcpnatsd.protocol import discovery, eras, jsonrpc, subjects, tool_rules
from mcpnatsd.protocol.discovery import Description
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.incoming import Incoming
from mcpnatsd.protocol.lifecycle import State
from mcpnatsd.protocol.statistics import error_in

log = logging.getLogger(__name__)

DISCOVER_WITHIN: Final = 8.0
"""Seconds in which `server/discover` is answered: Python clients give up after 10."""

TROUBLED_AFTER: Final = 3
"""Failed starts in a row after which the requests are left to other instances, if there are any."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the bus a bridge is."""

    connection: Connection
    inbox: Inbox
    prefix: subjects.Prefix
    instance: str
    version: str
    """Of this program."""


class Bridge:
    """One server: started when it is wanted, found by everybody."""

    def __init__(
        self, config: ServerConfig, place: Place, launcher: Launcher, recall: Recall
    ) -> None:
        self.server = config.name
        self.config = config
        self.catalogue = Catalogue(config, recall)
        self.draining = False
        self._place = place
        self._launcher = launcher
        self._started = datetime.now(UTC).isoformat(timespec="microseconds")
        self._group: asyncio.TaskGroup | None = None
        self._shared: dict[str, Shared] = {}
        self.sessions: set[LegacySession] = set()
        self._discovers: list[Served] = []
        self.last_fault: str | None = None
        self.settled = asyncio.Event()
        """Set once the first start of an eager server has come to something."""

        self.responder = Responder(
            place.connection,
            place.inbox,
            Address(place.prefix, config.name, place.instance),
            backend=self,
            line_bytes=config.limits.line_bytes,
            version=place.version,
            on_tunnel=self._receive_tunnel,
            on_done=self._record,
        )
        self.tunnels = ServedTunnels(
            place.connection,
            line_bytes=config.limits.line_bytes,
            blocks=self.responder.blocks,
        )
        self.tunnels.on_open = self._open_session

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self.responder.open()
                self._publish_event("up")
                self._warm_up()
                self._spawn(self.responder.run())
                await self._tick_for_ever()
        finally:
            self.responder.close()
            self.tunnels.stop()

    async def drain(self) -> None:
        """Leave the queue group, finish what is open, and let sessions go elsewhere."""
        self.draining = True
        self._publish_event("down")
        self.responder.leave()
        try:
            await self._place.connection.flush()
        except BrokerAway:
            log.info("draining while NATS is away", extra={"server": self.server})
        while self.responder.in_flight or self.sessions:
            self._close_idle_sessions()
            self._end_subscriptions()
            await asyncio.sleep(0.02)

    # What comes off the bus.

    def tool_names(self) -> tuple[str, ...]:
        return self.catalogue.tools

    def receive_request(self, served: Served) -> None:
        """Take an exchange: decide which process answers it, if any."""
        verdict = self.catalogue.verdict
        if served.method == eras.DISCOVER:
            self._receive_discover(served, verdict)
        elif verdict.modern is False:
            self._refuse_era(served)
        else:
            self._forward(served)

    def receive_notification(self, line: bytes) -> None:
        for shared in self._shared.values():
            shared.notify(line)

    def _forward(self, served: Served) -> None:
        if served.method == eras.CALL_TOOL and served.asked.name is not None:
            try:
                self.catalogue.rules.check(served.asked.name)
            except McpnatsdError as fault:
                served.fail(fault)
                return
        self._shared_of(served).receive(served)

    def _refuse_era(self, caller: Caller) -> None:
        """Answer a modern request to a legacy server; bare arguments have no era."""
        if caller.asked.bare:
            self._spawn(self._call_in_house(caller))
            return
        meta = jsonrpc.object_of(caller.asked.params, eras.META)
        requested = eras.requested_revision(meta) or eras.MODERN_REVISIONS[0]
        caller.fail(eras.mismatch(self.server, self.catalogue.verdict, requested))

    def _receive_discover(self, served: Served, verdict: Verdict) -> None:
        meta = jsonrpc.object_of(served.asked.params, eras.META)
        ordinary = eras.requested_revision(meta) in eras.MODERN_REVISIONS
        if verdict.modern is False:
            served.fail(self._no_discover())
        elif verdict.modern and verdict.discovered and ordinary:
            served.finish(jsonrpc.result(served.id, Raw(verdict.discovered)))
        elif verdict.modern:
            self._forward(served)
        else:
            self._discovers.append(served)
            self._shared_of(served).want()

    def _no_discover(self) -> Reported:
        text = f"server {self.server!r} speaks the handshake era: send initialize"
        data = {"supported": list(self.catalogue.verdict.revisions)}
        return Reported(jsonrpc.METHOD_NOT_FOUND, text, data)

    async def _call_in_house(self, caller: Caller) -> None:
        """Answer bare arguments from a legacy server, in a session of our own."""
        house = HouseSession(self.config, self._launcher, self._place.version)
        try:
            name = caller.asked.name or ""
            self.catalogue.rules.check(name)
            self.catalogue.learn_verdict(eras.verdict_of_initialize(await house.open()))
            params = {"name": name, "arguments": caller.asked.params["arguments"]}
            response, _ = await house.ask(eras.CALL_TOOL, params)
            caller.error = error_in(eras.CALL_TOOL, response, b'"isError"')
            caller.finish(response.with_id(caller.asked.request.id))
        except McpnatsdError as fault:
            caller.fail(fault)
        finally:
            await house.close()

    # Modern processes.

    def _shared_of(self, served: Served) -> Shared:
        """Return the process for a caller: one for all, or with `isolation: session` its own."""
        edge = ""
        if self.config.isolation is Isolation.SESSION:
            edge = served.call.partition(".")[0]
        shared = self._shared.get(edge)
        if shared is None:
            shared = self._shared[edge] = self._make_shared(many_clients=not edge)
            self._spawn(shared.run())
        return shared

    def _make_shared(self, *, many_clients: bool) -> Shared:
        return Shared(
            self.config,
            self._launcher,
            version=self._place.version,
            many_clients=many_clients,
            on_verdict=self._learn_modern,
            on_ready=self._greet,
            on_tools=self.catalogue.learn_page,
            on_hint=self._receive_hint,
            on_failed=self._start_failed,
        )

    def _learn_modern(self, verdict: Verdict) -> bool:
        """Learn what `server/discover` was answered; say whether that process is of use."""
        self.catalogue.learn_verdict(verdict)
        usable = bool(self.catalogue.verdict.modern)
        if not usable:
            self.settled.set()
        discovers, self._discovers = self._discovers, []
        for served in discovers:
            self._receive_discover(served, self.catalogue.verdict)
        if not usable:
            for shared in self._shared.values():
                for caller in shared.take_waiting():
                    self._refuse_era(caller)
        return usable

    def _greet(self, shared: Shared) -> None:
        """Learn the tools of a process that has just started."""
        self.last_fault = None
        self.responder.join()
        self._spawn(self._list_tools(shared))

    async def _list_tools(self, shared: Shared) -> None:
        cursor: object = None
        for _ in range(100):
            params = {} if cursor is None else {"cursor": cursor}
            try:
                own = shared.request(eras.LIST_TOOLS, **params)
                response = await own.answer(self.config.limits.call_timeout)
            except (McpnatsdError, TimeoutError) as error:
                log.debug("tools not listed", extra={"server": self.server, "error": str(error)})
                return
            raw = tool_rules.cursor_in(response)
            if raw is None:
                self.settled.set()
                return
            cursor = jsonrpc.value_of(raw)

    def _receive_hint(self, method: str) -> None:
        what = method.split("/")[1]
        self._publish_event(what)
        if what == "tools":
            for shared in self._shared.values():
                if shared.lifecycle.state is State.READY:
                    self._spawn(self._list_tools(shared))

    def _start_failed(self, failures: int, fault: McpnatsdError) -> None:
        self.last_fault = str(fault)
        self.settled.set()
        discovers, self._discovers = self._discovers, []
        for served in discovers:
            served.fail(fault)
        if failures >= TROUBLED_AFTER and not self.draining:
            self._spawn(self._step_aside())

    async def _step_aside(self) -> None:
        """Leave the requests to other instances while ours cannot be started, if there are any."""
        place = self._place
        prefix = place.prefix.listening
        found = await survey(place.connection, place.inbox, prefix=prefix, server=self.server)
        others = [one.id for one in found if one.id != place.instance and one.state != "failing"]
        if others:
            log.warning("left to other instances", extra={"server": self.server, "others": others})
            self.responder.leave()
            for shared in self._shared.values():
                shared.want()
        else:
            self.responder.join()

    # Legacy sessions.

    def _receive_tunnel(self, incoming: Incoming) -> None:
        self.tunnels.receive(incoming)

    def _open_session(self, tunnel: ServedTunnel) -> LegacySession:
        session = LegacySession(
            self.config,
            self._launcher,
            tunnel,
            rules=self.catalogue.rules,
            statistics=self.catalogue.statistics,
            on_verdict=self.catalogue.learn_verdict,
            on_tools=self.catalogue.learn_page,
        )
        self.sessions.add(session)
        self._spawn(self._run_session(session))
        return session

    async def _run_session(self, session: LegacySession) -> None:
        try:
            await session.run()
        finally:
            self.sessions.discard(session)

    def _close_idle_sessions(self) -> None:
        fault = InstanceLost(
            f"this instance of {self.server!r} is stopping", outcome=Outcome.NOT_EXECUTED
        )
        for session in list(self.sessions):
            if session.ledger.in_flight == 0:
                session.leave(fault)

    def _end_subscriptions(self) -> None:
        """End the subscriptions that would hold a drain up for ever: clients listen anew."""
        for served in self.responder.listening():
            params = {
                "requestId": Raw(bytes(served.id)),
                "reason": "the server is stopping",
            }
            served.end(jsonrpc.notification(eras.CANCELLED, params))
            served.cancelled("draining")

    # Looking.

    def describe(self) -> Description:
        """Return what `$SRV.INFO` and `$SRV.STATS` say of this server."""
        verdict, catalogue = self.catalogue.verdict, self.catalogue
        identity = [self.config.command, verdict.server_name, verdict.server_version]
        metadata = {
            discovery.ERAS: verdict.names,
            discovery.IDENTITY: sha256(repr(identity).encode()).hexdigest()[:16],
            discovery.STATE: self.state,
            discovery.TOOLS: str(len(catalogue.tools)) if catalogue.listed else "",
            discovery.REVISIONS: ",".join(verdict.revisions),
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

    @property
    def shared(self) -> list[Shared]:
        return list(self._shared.values())

    @property
    def state(self) -> discovery.State:
        if self.draining:
            return discovery.State.DRAINING
        if self.sessions or any(one.process is not None for one in self._shared.values()):
            return discovery.State.RUNNING
        return discovery.State.FAILING if self.last_fault else discovery.State.ASLEEP

    # Upkeep.

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self.tunnels.tick()
            self._expire_discovers(asyncio.get_running_loop().time())

    def _expire_discovers(self, now: float) -> None:
        for served in list(self._discovers):
            if now - served.opened_at >= DISCOVER_WITHIN or served.ended:
                self._discovers.remove(served)
                served.fail(self._no_discover())

    def _warm_up(self) -> None:
        """Start an eager server now; a lazy one waits for its first request."""
        if self.config.start is Start.LAZY or self.catalogue.verdict.modern is False:
            self.settled.set()
            return
        shared = self._shared[""] = self._make_shared(many_clients=True)
        self._spawn(shared.run())
        shared.want()

    def _record(self, served: Served, line: bytes) -> None:
        if not line and served.method != eras.LISTEN:
            return  # cancelled: neither answered nor failed
        seconds = asyncio.get_running_loop().time() - served.opened_at
        self.catalogue.statistics.record(served.method, served.asked.name, seconds, served.error)

    def _publish_event(self, what: str) -> None:
        subject = subjects.event(self._place.prefix.plain, self.server, what)
        try:
            self._place.connection.publish(subject, self._place.instance.encode())
        except BrokerAway:
            log.debug("event not published: NATS is away", extra={"subject": subject})

    def _spawn(self, part: Coroutine[None, None, None]) -> None:
        """Run a part in this bridge's group; one that fails is contained, and said."""
        if self._group is None:
            part.close()
            return
        self._group.create_task(self._guard(part))

    async def _guard(self, part: Coroutine[None, None, None]) -> None:
        try:
            await part
        except Exception:
            log.exception("a part of this server's bridge failed", extra={"server": self.server})
