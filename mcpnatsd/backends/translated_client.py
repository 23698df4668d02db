"""One modern client of a legacy server: its sessions, its subscriptions, what waits for a turn."""

import asyncio
import logging
from functools import partial
from typing import Final, Protocol

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.faults import call_timed_out
from mcpnatsd.backends.shared import MOST_WAITING
from mcpnatsd.backends.translated import TranslatedSession
from mcpnatsd.backends.turns import Kind, Turns
from mcpnatsd.config.model import Isolation, ServerConfig
from mcpnatsd.errors import Busy, InstanceLost, McpnatsdError, Outcome
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.legacy_deliveries import Mine, Park, Told
from mcpnatsd.protocol.legacy_listens import Listens
from mcpnatsd.protocol.to_legacy import Declared

log = logging.getLogger(__name__)

PARKED_FOR: Final = 5.0
"""Seconds for which a daemon that stops waits for the retries of parked calls. They end with it
anyway, and a person who is asked takes longer."""

MOST_SPARES: Final = 8
"""Sessions of one client: each holds one call at a time of those that are known to ask."""


class Translator(Protocol):
    """Whoever has all clients of a server."""

    def start(self, client: "TranslatedClient") -> TranslatedSession | None:
        """Start a session for a client; None when there may be no more."""

    def learn(self, response: Response) -> None: ...

    def listed(self, response: Response, line: bytes) -> bytes: ...

    def started(self) -> None: ...

    def gone(
        self, client: "TranslatedClient", session: TranslatedSession, fault: McpnatsdError
    ) -> None: ...

    def parked(
        self, client: "TranslatedClient", session: TranslatedSession, park: Park[Caller]
    ) -> None: ...

    def changed(self, method: str) -> None:
        """Learn of a list that changed, or a resource."""


class TranslatedClient:
    """The sessions of one client; the first is where everything goes that is not asked about."""

    def __init__(
        self,
        config: ServerConfig,
        declared: Declared,
        translator: Translator,
        who: tuple[str, str],
        *,
        askers: Askers,
        once: bool,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.declared = declared
        self.who = who
        """The user as NATS enforces it, and the client's part of its call tokens."""

        self.once = once
        """Whether it ends with its call, as nobody could find it again."""

        self.sessions: list[TranslatedSession] = []
        self._config = config
        self._translator = translator
        self._askers = askers
        own = config.isolation is Isolation.SESSION
        self._most_sessions = 1 if own else MOST_SPARES
        self._listens: Listens[Caller] = Listens()
        self._subscribing: dict[int, str] = {}
        self._turns = Turns(askers, may_be_asked=bool(declared.kinds))
        self._early: list[Caller] = []
        """Subscriptions that wait for the handshake, as the server must say what it offers."""

    @property
    def queued(self) -> int:
        return len(self._turns) + len(self._early)

    @property
    def parked(self) -> int:
        return sum(session.parked for session in self.sessions)

    @property
    def idle(self) -> bool:
        """Whether nothing of it runs, waits or listens."""
        done = all(session.idle for session in self.sessions)
        return done and not self.queued and not len(self._listens)

    def open(self) -> TranslatedSession | None:
        """Return the first session, started if need be; None when there may be no more."""
        return self.sessions[0] if self.sessions else self._start()

    def receive(self, caller: Caller) -> None:
        """Take a request: give it to a session, or let it wait for its turn."""
        method = caller.asked.request.method
        if method == eras.LISTEN:
            self._listen(caller)
            return
        kind = self._turns.kind(caller.asked)
        session = None if self._turns.any(kind) else self._session_for(caller.asked, kind)
        if session is not None:
            session.receive(caller)
        elif not self.sessions:
            caller.fail(self.full())
        else:
            self._wait(caller, kind)

    def tick(self, now: float) -> None:
        """Give up who has waited for a turn as long as a call may take."""
        for caller in self._turns.late(now - self._config.limits.call_timeout):
            caller.fail(call_timed_out(self._config))
        if self._turns.any(Kind.UNKNOWN):
            self._pump()

    def end_parked(self) -> None:
        """End the sessions in which calls only wait for their client: it starts over."""
        name = self._config.name
        fault = InstanceLost(f"this instance of {name!r} is stopping", outcome=Outcome.UNKNOWN)
        for session in list(self.sessions):
            if session.parked and not session.busy:
                facts = {"server": name, "calls": session.parked}
                log.warning("parked calls given up: this daemon stops", extra=facts)
                session.end(fault)

    # From its sessions.

    def learn(self, response: Response) -> None:
        self._translator.learn(response)

    def listed(self, response: Response, line: bytes) -> bytes:
        return self._translator.listed(response, line)

    def ready(self, session: TranslatedSession) -> None:
        self._translator.started()
        if session is self.sessions[0]:
            self._turns.started(self._now())
            early, self._early = self._early, []
            for caller in early:
                self._open_listen(session, caller)
        else:
            for uri in self._listens.uris:
                session.request(eras.SUBSCRIBE, uri=uri)

    def freed(self, session: TranslatedSession) -> None:
        if len(self._turns):
            self._pump()
        if self.once and self.idle and not session.over:
            session.end(self.full())

    def gone(self, session: TranslatedSession, fault: McpnatsdError) -> None:
        """Learn that a session is over. With the first one the subscriptions are, too."""
        first = session is self.sessions[0]
        self.sessions.remove(session)
        if first:
            self._turns.ended()
            self._end_listens(fault)
        if session.use is None or isinstance(fault, InstanceLost):
            for caller in self._turns.drained():  # a session after it would fare no better
                caller.fail(fault)
        self._translator.gone(self, session, fault)
        self._pump()

    def park(self, session: TranslatedSession, park: Park[Caller]) -> None:
        self._translator.parked(self, session, park)
        if len(self._turns):
            self._pump()

    def mine(self, session: TranslatedSession, mine: Mine) -> None:
        if self.sessions and session is self.sessions[0]:
            uri = self._subscribing.pop(mine.ours, None)
            if uri is not None:
                yes = not mine.response.is_error
                self._tell(self._listens.subscribed(uri, yes=yes))

    def told(self, told: Told) -> None:
        self._translator.changed(told.note.method)
        self._tell(self._listens.receive(told.note, told.params))

    def is_idle(self, session: TranslatedSession, since: float) -> bool:
        """Say whether a session may end; the first stays as long as the client does anything."""
        if session is not self.sessions[0]:
            return session.used_at <= since
        return self.idle and all(one.used_at <= since for one in self.sessions)

    # Sessions.

    def _session_for(self, asked: Asked, kind: Kind) -> TranslatedSession | None:
        """Return the session for a request; None when it must wait."""
        first = self.open()
        if first is None:
            return None
        if kind is not Kind.ASKS:
            return first if self._may_run(first, asked, kind) else None
        free = next((one for one in self.sessions if one.takes(asked)), None)
        if free is not None or len(self.sessions) >= self._most_sessions:
            return free
        if any(one.fenced for one in self.sessions):
            return None
        return self._start()

    def _may_run(self, first: TranslatedSession, asked: Asked, kind: Kind) -> bool:
        if first.busy >= self._config.limits.concurrency:
            return False
        shaken = first.use is not None
        return kind is Kind.QUIET or self._turns.tries(asked, self._now(), started=shaken)

    def _start(self) -> TranslatedSession | None:
        session = self._translator.start(self)
        if session is not None:
            self.sessions.append(session)
        return session

    def _wait(self, caller: Caller, kind: Kind) -> None:
        if self.queued >= MOST_WAITING:
            text = f"server {self._config.name!r} has {MOST_WAITING} requests waiting"
            caller.fail(Busy(text))
            return
        caller.on_cancel = partial(self._leave, caller)
        self._turns.wait(caller, kind)

    def _pump(self) -> None:
        for kind in Kind:
            while (caller := self._turns.first(kind)) is not None:
                session = self._session_for(caller.asked, kind)
                if session is None:
                    break
                session.receive(self._turns.take(kind))
        if not self.sessions:
            for caller in self._turns.drained():
                caller.fail(self.full())

    def full(self) -> Busy:
        return Busy(f"server {self._config.name!r} has as many sessions open as it may have")

    # Subscriptions.

    def _listen(self, caller: Caller) -> None:
        first = self.open()
        if first is None or len(self._early) + len(self._listens) >= MOST_WAITING:
            caller.fail(self.full())
        elif first.use is None:
            caller.on_cancel = partial(self._leave_early, caller)
            self._early.append(caller)
        else:
            self._open_listen(first, caller)

    def _open_listen(self, first: TranslatedSession, caller: Caller) -> None:
        if first.use is None:
            return
        request, params = caller.asked.request, caller.asked.params
        try:
            told, fresh = self._listens.open(caller, request.id, params, first.use.capabilities)
        except McpnatsdError as fault:
            caller.fail(fault)
            return
        caller.on_cancel = partial(self._close_listen, caller)
        self._tell(told)
        for uri in fresh:
            self._subscribe(uri)

    def _subscribe(self, uri: str) -> None:
        for number, session in enumerate(list(self.sessions)):
            ours = session.request(eras.SUBSCRIBE, uri=uri)
            if number == 0 and ours is not None:
                self._subscribing[ours] = uri

    def _close_listen(self, caller: Caller, _reason: str) -> None:
        for uri in self._listens.close(caller):
            for session in list(self.sessions):
                session.request(eras.UNSUBSCRIBE, uri=uri)

    def _leave(self, caller: Caller, _reason: str) -> None:
        self._turns.leave(caller)

    def _leave_early(self, caller: Caller, _reason: str) -> None:
        if caller in self._early:
            self._early.remove(caller)

    def _end_listens(self, fault: McpnatsdError) -> None:
        self._subscribing.clear()
        early, self._early = self._early, []
        for caller in early:
            caller.fail(fault)
        for caller, theirs in self._listens.server_gone():
            params = {"requestId": theirs, "reason": str(fault)}
            caller.end(jsonrpc.notification(eras.CANCELLED, params))

    def _tell(self, told: list[tuple[Caller, bytes]]) -> None:
        for caller, line in told:
            caller.note(line)
