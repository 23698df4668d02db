"""Modern requests to a legacy server: which client they are of, and which parked call.

What is said to a server, and what its answers become, is `protocol`'s; a client's sessions are
`backends.translated_client`'s.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.faults import call_timed_out
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.shared import MOST_WAITING
from mcpnatsd.backends.translated import TranslatedSession
from mcpnatsd.backends.translated_client import TranslatedClient
from mcpnatsd.config.model import Isolation, ServerConfig
from mcpnatsd.errors import (
    Busy,
    CallTimeout,
    InstanceLost,
    McpnatsdError,
    Outcome,
    ProcessDied,
    Reported,
)
from mcpnatsd.protocol import eras, jsonrpc, parked, to_legacy
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.legacy_deliveries import Park
from mcpnatsd.protocol.parked import Seal, Ticket
from mcpnatsd.protocol.to_legacy import Declared

log = logging.getLogger(__name__)

DISCOVER_WITHIN: Final = 8.0
"""Seconds in which `server/discover` is answered: Python clients give up after 10."""

MOST_PARKED: Final = 256
"""Calls that wait for their clients, of one server. The next one fails as busy."""

MOST_PARKED_EACH: Final = 16
"""Likewise of one client."""


MOST_FACES: Final = 8
"""Sets of capabilities and names of one client that have sessions, as long as some are idle."""


class Owner(Protocol):
    """The bridge, as far as translation needs it."""

    def spawn(self, part: Coroutine[None, None, None]) -> None: ...

    def modern_ready(self) -> None: ...

    def start_failed(self, failures: int, fault: McpnatsdError) -> None: ...

    def list_changed(self, what: str) -> None: ...

    def has_room(self) -> bool:
        """Say whether one more legacy session may be opened; make room if that is possible."""

    def forward(self, caller: Caller, instance: str) -> None:
        """Have another instance answer a request whose state it holds."""


class Translator:
    """All modern clients of one legacy server."""

    def __init__(
        self,
        config: ServerConfig,
        launcher: Launcher,
        catalogue: Catalogue,
        owner: Owner,
        *,
        seal: Seal,
        version: str,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self._config = config
        self._launcher = launcher
        self._catalogue = catalogue
        self._owner = owner
        self._seal = seal
        self._version = version
        self._shared = config.isolation is Isolation.SHARED
        self._askers = Askers()
        self._clients: dict[object, TranslatedClient] = {}
        self._turns: deque[Caller] = deque()
        """Callers that nobody could find again: each has a process of its own, in its turn."""

        self._discovers: list[tuple[TranslatedClient, Caller]] = []
        self._numbers = itertools.count(1)
        self._failures = 0

    @property
    def sessions(self) -> list[TranslatedSession]:
        return [session for client in self._clients.values() for session in client.sessions]

    @property
    def queued(self) -> int:
        return len(self._turns) + sum(client.queued for client in self._clients.values())

    @property
    def in_flight(self) -> int:
        return sum(session.busy for session in self.sessions)

    @property
    def parked_calls(self) -> int:
        return sum(client.parked for client in self._clients.values())

    def receive(self, caller: Caller) -> None:
        """Take a request."""
        asked = caller.asked
        edge = caller.edge
        try:
            _check(asked, edge)
        except Reported as fault:
            caller.fail(fault)
            return
        if self._shared or (edge and not asked.bare):
            client = self._client_of(caller, edge)
            client.receive(caller)
            if not client.sessions:
                self._forget_empty(client)
        else:
            self._receive_once(caller)

    def takes(self, caller: Caller) -> bool:
        """Take a request that carries the state of a parked call, here or elsewhere."""
        raw = caller.asked.params.get(to_legacy.STATE)
        state = jsonrpc.key_of(raw)
        if not isinstance(state, str) or not parked.is_ours(state):
            return False
        try:
            holder = parked.holder_of(state)
            if holder != self._seal.instance:
                self._owner.forward(caller, holder)
            else:
                to_legacy.check_envelope(caller.asked.meta())
                self._resume(caller, self._seal.open(state, *_who(caller), self._now()))
        except McpnatsdError as fault:
            caller.fail(fault)
        return True

    def discover(self, caller: Caller) -> None:
        """Answer `server/discover` from the handshake, of an earlier session or of a new one."""
        meta = caller.asked.meta()
        if eras.requested_revision(meta) is not None:
            try:
                to_legacy.check_envelope(meta)
            except Reported as fault:
                caller.fail(fault)
                return
        if self._catalogue.verdict.initialized:
            self._answer_discover(caller)
            return
        opening = next((client for client, _ in self._discovers if client.sessions), None)
        if opening is not None:  # one handshake tells all who ask
            self._discovers.append((opening, caller))
            return
        edge = caller.edge or f"discover {next(self._numbers)}"
        client = self._client_of(caller, edge)
        self._discovers.append((client, caller))
        if client.open() is None:
            self._settle_discovers(client, client.full())
            self._forget_empty(client)

    def tick(self, now: float) -> None:
        """Give up what waited for too long."""
        for one in list(self._discovers):
            if now - one[1].opened_at >= DISCOVER_WITHIN:
                self._discovers.remove(one)
                one[1].fail(self.no_discover())
        while self._turns and now - self._turns[0].opened_at >= self._config.limits.call_timeout:
            self._turns.popleft().fail(call_timed_out(self._config))
        for client in list(self._clients.values()):
            client.tick(now)

    def end_idle(self, fault: McpnatsdError) -> None:
        """End the sessions that nothing holds, as this instance is stopping."""
        for client in list(self._clients.values()):
            if client.idle:
                for session in list(client.sessions):
                    session.end(fault)

    def end_parked(self) -> None:
        """Wait no longer for what clients are asked, as this instance is stopping."""
        for client in list(self._clients.values()):
            client.end_parked()

    def client_left(self, user: str, edge: str) -> None:
        """End the sessions of a client that is gone, and what it left parked."""
        fault = InstanceLost("the client of this session left", outcome=Outcome.UNKNOWN)
        for client in list(self._clients.values()):
            if edge and client.who == (user, edge) and not self._shared:
                for session in list(client.sessions):
                    session.end(fault)

    def end_longest_idle(self) -> bool:
        """Make room for one more session, at the cost of the client that needs its own least."""
        idle = [client for client in self._clients.values() if client.idle and client.sessions]
        if idle:
            self._end_longest_idle(idle)
        return bool(idle)

    def _end_longest_idle(self, idle: list[TranslatedClient]) -> None:
        client = min(idle, key=lambda one: max(session.used_at for session in one.sessions))
        text = f"server {self._config.name!r} needed the room of this session"
        for session in list(client.sessions):
            session.end(InstanceLost(text, outcome=Outcome.NOT_EXECUTED))

    def no_discover(self) -> Reported:
        text = f"server {self._config.name!r} speaks the handshake era: send initialize"
        data = {"supported": list(self._catalogue.verdict.revisions)}
        return Reported(jsonrpc.METHOD_NOT_FOUND, text, data)

    # From its clients.

    def start(self, client: TranslatedClient) -> TranslatedSession | None:
        if not self._owner.has_room():
            return None
        session = TranslatedSession(
            self._config,
            self._launcher,
            client.declared,
            client,
            askers=self._askers,
            id=f"{next(self._numbers):x}",
            version=self._version,
            logs=not self._shared,
        )
        self._owner.spawn(session.run())
        return session

    def learn(self, response: Response) -> None:
        verdict = eras.verdict_of_initialize(response)
        if verdict.legacy or verdict.modern:  # another error may be about what the client said
            self._catalogue.learn_verdict(verdict)

    def listed(self, response: Response, line: bytes) -> bytes:
        return self._catalogue.learn_page(response, line)

    def started(self) -> None:
        self._failures = 0
        self._owner.modern_ready()
        discovers, self._discovers = self._discovers, []
        for _, caller in discovers:
            self._answer_discover(caller)

    def changed(self, method: str) -> None:
        if method.endswith("/list_changed"):
            self._owner.list_changed(method.split("/")[1])

    def gone(
        self, client: TranslatedClient, session: TranslatedSession, fault: McpnatsdError
    ) -> None:
        if session.cancelled:
            turns, self._turns = list(self._turns), deque()
            for caller in turns:
                caller.fail(fault)
        elif session.use is None and isinstance(fault, ProcessDied | CallTimeout):
            # Not one that was evicted, nor one whose client the server does not take.
            self._failures += 1
            self._owner.start_failed(self._failures, fault)
        if not client.sessions:
            self._settle_discovers(client, fault)
        self._forget_empty(client)
        self._next_turn()

    def parked(
        self, client: TranslatedClient, session: TranslatedSession, park: Park[Caller]
    ) -> None:
        """End an exchange with what the server asks; its call waits for the retry."""
        each = sum(one.parked for one in self._clients.values() if one.who == client.who)
        if each > MOST_PARKED_EACH or self.parked_calls > MOST_PARKED:
            text = f"too many calls of server {self._config.name!r} wait for their clients"
            park.caller.fail(Busy(text))
            session.cancel(park.ours, "too many calls wait for their clients")
            return
        ticket = Ticket(parked.digest(*client.who), session.id, park.ours, park.round, park.until)
        result = {
            "resultType": "input_required",
            "inputRequests": park.asks,
            to_legacy.STATE: self._seal.close(ticket),
        }
        park.caller.finish(jsonrpc.result(park.id, result))

    # Requests.

    def _resume(self, caller: Caller, ticket: Ticket) -> None:
        for session in self.sessions:
            if session.id == ticket.session:
                session.resume(caller, ticket)
                return
        text = "the process that this call was parked in ended; start over"
        raise InstanceLost(text)

    def _client_of(self, caller: Caller, edge: str) -> TranslatedClient:
        meta = caller.asked.meta()
        key: object = ""
        if not self._shared:
            key = (caller.user, edge, *to_legacy.said_of_client(meta))
        client = self._clients.get(key)
        if client is None:
            self._make_room_of((caller.user.decode("latin-1"), edge))
            declared = to_legacy.NOTHING if self._shared else to_legacy.declared(meta)
            client = self._new_client(declared, (caller.user.decode("latin-1"), edge), once=False)
            self._clients[key] = client
        return client

    def _make_room_of(self, who: tuple[str, str]) -> None:
        """End what a client that says something else of itself each time needs least."""
        own = [client for client in self._clients.values() if client.who == who]
        idle = [client for client in own if client.idle and client.sessions]
        if len(own) >= MOST_FACES and idle:
            self._end_longest_idle(idle)

    def _new_client(
        self, declared: Declared, who: tuple[str, str], *, once: bool
    ) -> TranslatedClient:
        return TranslatedClient(self._config, declared, self, who, askers=self._askers, once=once)

    def _forget_empty(self, client: TranslatedClient) -> None:
        if not client.sessions and not client.queued:
            for key in [key for key, one in self._clients.items() if one is client]:
                del self._clients[key]

    def _receive_once(self, caller: Caller) -> None:
        if len(self._turns) >= MOST_WAITING:
            caller.fail(Busy(f"server {self._config.name!r} has {MOST_WAITING} calls waiting"))
            return
        caller.on_cancel = partial(self._leave_turns, caller)
        self._turns.append(caller)
        self._next_turn()

    def _next_turn(self) -> None:
        while self._turns and sum(self._onces()) < self._config.limits.concurrency:
            caller = self._turns.popleft()
            declared = to_legacy.declared(caller.asked.meta())
            client = self._new_client(declared, _who(caller), once=True)
            self._clients[client] = client
            client.receive(caller)
            self._forget_empty(client)

    def _onces(self) -> Iterator[int]:
        return (len(client.sessions) for client in self._clients.values() if client.once)

    def _leave_turns(self, caller: Caller, _reason: str) -> None:
        if caller in self._turns:
            self._turns.remove(caller)

    # Discovery.

    def _answer_discover(self, caller: Caller) -> None:
        found = to_legacy.discovered(self._catalogue.verdict.initialized, logs=not self._shared)
        caller.finish(jsonrpc.result(caller.asked.request.id, Raw(found)))

    def _settle_discovers(self, client: TranslatedClient, fault: McpnatsdError) -> None:
        waiting = [one for one in self._discovers if one[0] is client]
        self._discovers = [one for one in self._discovers if one[0] is not client]
        for _, caller in waiting[:1]:
            caller.fail(fault)
        for _, caller in waiting[1:]:  # it was the first one's session: the next opens its own
            self.discover(caller)


def _who(caller: Caller) -> tuple[str, str]:
    return caller.user.decode("latin-1"), caller.edge


def _check(asked: Asked, edge: str) -> None:
    """Check a request that is no retry of ours.

    Raises:
        Reported: It is no modern request, or one that nobody can answer here.
    """
    method = asked.request.method
    to_legacy.check_envelope(asked.meta())
    to_legacy.check_method(method)
    if to_legacy.STATE in asked.params:
        raise Reported(jsonrpc.INVALID_PARAMS, "params.requestState was not given out here")
    if method == eras.LISTEN and not edge:
        text = "a subscription needs Mcp-Call: nobody could be told, or end it"
        raise Reported(-32600, text)
