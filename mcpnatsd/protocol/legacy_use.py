"""One legacy session in use for modern callers: whose answer is whose, and who is asked.

Ids and progress tokens towards the server are ours. Where the client answers requests, at most one
call that may be answered with `input_required` is in the session at a time, running or parked: so
what the server asks belongs to that call, and nobody has to guess. Nothing here does I/O.
"""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, Reported
from mcpnatsd.protocol import eras, jsonrpc, to_legacy
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response
from mcpnatsd.protocol.legacy_asks import Asks, answers_in
from mcpnatsd.protocol.legacy_deliveries import (
    Answer,
    Delivery,
    Mine,
    Note,
    Park,
    Stray,
    Told,
    ToServer,
)
from mcpnatsd.protocol.to_legacy import INVALID_PARAMS, Declared

Caller = TypeVar("Caller")

PARKED_FOR: Final = 600.0
"""Seconds for which a call waits for its client."""

UNASKED_FOR: Final = 5.0
"""Seconds after which what the server asks outside a call is refused, if a request waits."""

_VERSION: Final = Raw(b'"2.0"')
SET_LEVEL: Final = "logging/setLevel"


class _Pending(msgspec.Struct, Generic[Caller]):
    caller: Caller | None
    """None while it is parked."""

    id: Raw
    method: str
    token: Raw | None
    level: int | None
    since: float
    spent: float = 0.0
    """Seconds that it ran before it was parked: the time in between does not count."""

    params: Members = {}
    fingerprint: bytes = b""
    round: int = 0
    until: float = 0.0
    unsent: bytes | None = None
    late: Response | None = None
    """The answer that came while the call was parked."""


class LegacyUse(Generic[Caller]):
    """The requests of one session that its server has not answered yet."""

    def __init__(self, capabilities: Members, declared: Declared, *, logs: bool) -> None:
        self.capabilities = capabilities
        self._exclusive = bool(declared.kinds)
        self._asks = Asks(declared)
        self._logs = logs and "logging" in capabilities
        self._last = 0
        self._level: int | None = None
        self._pending: dict[int, _Pending[Caller]] = {}
        self._own: set[int] = set()
        self._alone: int | None = None
        """The one call that the server may ask in."""

        self._fence: int | None = None
        """A ping behind a cancel: until its answer the cancelled call may still ask."""

    @property
    def busy(self) -> int:
        """Requests that run: neither parked nor ours."""
        return len(self._pending) - self.parked

    @property
    def parked(self) -> int:
        one = self._pending.get(self._alone) if self._alone is not None else None
        return int(one is not None and one.caller is None)

    @property
    def idle(self) -> bool:
        return not self._pending

    def takes(self, method: str) -> bool:
        """Say whether a request may come now: of those that ask, one at a time."""
        if not self._exclusive or method not in to_legacy.ASKABLE:
            return True
        return self._alone is None and self._fence is None

    # From callers.

    def open(
        self, caller: Caller, request: Request, params: Members, now: float
    ) -> tuple[int, list["Delivery[Caller]"]]:
        """Enter a request; return our id, and what is to be done.

        Raises:
            Reported: Its log level is none.
        """
        meta = jsonrpc.object_of(params, eras.META)
        level = to_legacy.level_in(meta) if eras.LOG_LEVEL in meta else None
        self._last += 1
        ours = self._last
        line, token = to_legacy.for_server(request, params, meta, ours)
        pending = _Pending(caller, request.id.copy(), request.method, token, level, now)
        self._pending[ours] = pending
        before: list[Delivery[Caller]] = [] if level is None else self._set_level(level)
        if self._exclusive and request.method in to_legacy.ASKABLE:
            self._alone = ours
            pending.params = params
            if self._asks:  # it asks whoever comes: first that, then the call
                pending.unsent = line
                return ours, [*before, self._park(ours, pending, caller, now)]
        return ours, [*before, ToServer(line)]

    def resume(
        self,
        caller: Caller,
        request: Request,
        params: Members,
        now: float,
        *,
        ours: int,
        round: int,  # noqa: A002
    ) -> list["Delivery[Caller]"]:
        """Take the retry of a parked call; its caller becomes the call's.

        Raises:
            Reported: It answers nothing that waits, or asks for something else.
        """
        pending = self._pending.get(ours)
        if pending is None or pending.caller is not None or pending.round != round:
            raise Reported(INVALID_PARAMS, "params.requestState was answered already")
        if to_legacy.fingerprint(request.method, params) != pending.fingerprint:
            text = f"this request differs from the {pending.method} that its requestState is of"
            raise Reported(INVALID_PARAMS, text)
        meta = jsonrpc.object_of(params, eras.META)
        level = to_legacy.level_in(meta)
        lines = self._asks.answer(answers_in(params))
        self._attach(pending, caller, request, meta, level, now)
        before: list[Delivery[Caller]] = [] if level is None else self._set_level(level)
        out = [*before, *map(ToServer, lines)]
        return [*out, *self._go_on(ours, pending, caller, now)]

    def cancel(self, ours: int, reason: str = "") -> list["Delivery[Caller]"]:
        """Give a request up, running or parked."""
        pending = self._pending.pop(ours, None)
        if pending is None:
            return []
        out: list[Delivery[Caller]] = []
        if ours == self._alone:
            self._alone = None
            out += self._refuse_asks("the call that this belongs to was given up")
        if pending.unsent is not None or pending.late is not None:
            return out
        params: dict[str, object] = {"requestId": ours, **({"reason": reason} if reason else {})}
        out.append(ToServer(jsonrpc.notification(eras.CANCELLED, params)))
        if self._exclusive and pending.method in to_legacy.ASKABLE:
            self._fence, line = self.own(eras.PING)
            out.append(ToServer(line))
        return out

    def own(self, method: str, **params: object) -> tuple[int, bytes]:
        """Make a request of our own; return its number, and the line."""
        self._last += 1
        self._own.add(self._last)
        body = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        return self._last, jsonrpc.encode(body)

    # From the server.

    def receive(self, message: Message, now: float) -> list["Delivery[Caller]"]:
        """Attribute one message of the server."""
        match message:
            case Response():
                return self._receive_response(message)
            case Request():
                return self._receive_request(message, now)
            case Notification():
                return self._receive_notification(message)

    def lost(self, ours: Key | None, fault: McpnatsdError) -> list[Caller]:
        """Take an answer that cannot be read; return who is to be told: all, if nobody knows."""
        pending = self._pending.get(ours) if isinstance(ours, int) else None
        if pending is None or not isinstance(ours, int):
            return self.server_gone()
        if pending.caller is None:
            line = jsonrpc.fault_body(fault)
            pending.late = Response(pending.id, {"jsonrpc": _VERSION, "error": Raw(line)})
            return []
        del self._pending[ours]
        if ours == self._alone:
            self._alone = None
        return [pending.caller]

    def server_gone(self) -> list[Caller]:
        """Forget everything; return who was waiting."""
        waiting = [one.caller for one in self._pending.values() if one.caller is not None]
        self._pending.clear()
        self._alone = None
        return waiting

    # Clocks.

    def overdue(self, now: float, limit: float) -> list[tuple[int, Caller]]:
        """Return the requests that have run for so long, without the time they were parked."""
        return [
            (ours, one.caller)
            for ours, one in self._pending.items()
            if one.caller is not None and one.spent + now - one.since >= limit
        ]

    def expire(self, now: float) -> list["Delivery[Caller]"]:
        """Give up what its client left alone for too long, and what nobody can be asked for."""
        one = self._pending.get(self._alone) if self._alone is not None else None
        if self._alone is not None and one is not None:
            over = one.caller is None and now >= one.until
            return self.cancel(self._alone, "the client did not answer") if over else []
        waits = any(now - other.since >= UNASKED_FOR for other in self._pending.values())
        patience = UNASKED_FOR if waits else PARKED_FOR
        lines = self._asks.refuse(
            "no call is there in which the client could be asked", now - patience
        )
        return list(map(ToServer, lines))

    # Answers.

    def _receive_response(self, response: Response) -> list["Delivery[Caller]"]:
        ours = jsonrpc.key_of(response.id)
        if not isinstance(ours, int):
            return [Stray("a response without an id of ours")]
        if ours in self._own:
            self._own.discard(ours)
            if ours == self._fence:
                self._fence = None
            return [Mine(ours, response)]
        pending = self._pending.get(ours)
        if pending is None:
            return [Stray("answer nobody waits for")]
        asks: list[Delivery[Caller]] = []
        if ours == self._alone:
            asks = self._refuse_asks("the call that this belongs to is over")
        if pending.caller is None:
            pending.late = response
            return asks
        return [*asks, self._settle(ours, pending, pending.caller, response)]

    def _settle(
        self, ours: int, pending: _Pending[Caller], caller: Caller, response: Response
    ) -> "Answer[Caller]":
        del self._pending[ours]
        if ours == self._alone:
            self._alone = None
        to_legacy.for_client(pending.method, response)
        return Answer(caller, pending.method, pending.id, response)

    def _receive_request(self, request: Request, now: float) -> list["Delivery[Caller]"]:
        answer = self._asks.receive(request, now)
        if answer is not None:
            return [ToServer(answer)]
        ours = self._alone
        pending = self._pending.get(ours) if ours is not None else None
        if ours is None or pending is None:
            if self._fence is not None:
                return self._refuse_asks("the call that this belongs to was given up")
            return []
        if pending.caller is None:
            return []  # the retry that is awaited asks for it
        return [self._park(ours, pending, pending.caller, now)]

    def _receive_notification(self, note: Notification) -> list["Delivery[Caller]"]:
        params = jsonrpc.params_of(note.members)
        match note.method:
            case eras.PROGRESS:
                return self._receive_progress(note, params)
            case eras.MESSAGE:
                return self._receive_log(note, params)
            case eras.CANCELLED:
                self._asks.withdrawn(jsonrpc.key_of(params.get("requestId")))
                return []
            case _:
                return [Told(note, params)]

    def _receive_progress(self, note: Notification, params: Members) -> list["Delivery[Caller]"]:
        ours = jsonrpc.key_of(params.get(eras.PROGRESS_TOKEN))
        pending = self._pending.get(ours) if isinstance(ours, int) else None
        if pending is None or pending.token is None or pending.caller is None:
            return [Stray("progress of no request in flight")]
        params[eras.PROGRESS_TOKEN] = pending.token
        return [Note(pending.caller, jsonrpc.encode({**note.members, "params": params}))]

    def _receive_log(self, note: Notification, params: Members) -> list["Delivery[Caller]"]:
        level = jsonrpc.text_of(params, "level")
        number = to_legacy.LEVELS.index(level) if level in to_legacy.LEVELS else -1
        for pending in reversed(self._pending.values()):
            wants = pending.level is not None and number >= pending.level
            if wants and pending.caller is not None:
                return [Note(pending.caller, jsonrpc.encode(note.members))]
        return [Stray("a log message that no request asked for")]

    # The call that is asked.

    def _park(
        self, ours: int, pending: _Pending[Caller], caller: Caller, now: float
    ) -> "Park[Caller]":
        pending.caller = None
        pending.round += 1
        pending.until = now + PARKED_FOR
        pending.spent += now - pending.since
        if not pending.fingerprint:
            pending.fingerprint = to_legacy.fingerprint(pending.method, pending.params)
            pending.params = {}
        asks = self._asks.next_round()
        return Park(caller, pending.id, ours, pending.round, pending.until, asks)

    def _attach(
        self,
        pending: _Pending[Caller],
        caller: Caller,
        request: Request,
        meta: Members,
        level: int | None,
        now: float,
    ) -> None:
        token = meta.get(eras.PROGRESS_TOKEN)
        pending.caller = caller
        pending.id = request.id.copy()
        pending.token = None if token is None else token.copy()
        pending.level = level
        pending.since = now

    def _go_on(
        self, ours: int, pending: _Pending[Caller], caller: Caller, now: float
    ) -> Iterable["Delivery[Caller]"]:
        """Ask for what is still open; else let the call run, or end with what came meanwhile."""
        if self._asks:
            return [self._park(ours, pending, caller, now)]
        if pending.late is not None:
            return [self._settle(ours, pending, caller, pending.late)]
        line, pending.unsent = pending.unsent, None
        return [] if line is None else [ToServer(line)]

    def _refuse_asks(self, reason: str) -> list["Delivery[Caller]"]:
        return list(map(ToServer, self._asks.refuse(reason)))

    def _set_level(self, level: int) -> list["Delivery[Caller]"]:
        """Have the server log what the most curious request in flight wants."""
        if not self._logs:
            return []
        wanted = [one.level for one in self._pending.values() if one.level is not None]
        lowest = min([level, *wanted])
        if lowest == self._level:
            return []
        self._level = lowest
        _, line = self.own(SET_LEVEL, level=to_legacy.LEVELS[lowest])
        return [ToServer(line)]
