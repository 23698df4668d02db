"""One legacy session in use for modern callers: whose answer is whose, and who is asked.

Ids and progress tokens towards the server are ours. What the server asks names no call. So requests
that are known to ask take turns, one at a time in a session, running or parked. All others run side
by side, and `who_asked` finds out whose a question is. An answer goes out under the id of the very
request that it answers, so that a wrong guess loses none. Nothing here does I/O.
"""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, Reported
from mcpnatsd.protocol import eras, jsonrpc, to_legacy
from mcpnatsd.protocol.askers import Askers, Name
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response
from mcpnatsd.protocol.legacy_asks import Asks, answers_in
from mcpnatsd.protocol.legacy_calls import PARKED_FOR, Call, Calls
from mcpnatsd.protocol.legacy_deliveries import (
    Answer,
    Delivery,
    Mine,
    Note,
    Stray,
    Told,
    ToServer,
)
from mcpnatsd.protocol.to_legacy import Declared
from mcpnatsd.protocol.who_asked import WhoAsked

Caller = TypeVar("Caller")

FENCE_FOR: Final = 1.0
"""Seconds in which a server reads a cancel. It is taken as read after that."""

UNASKED_FOR: Final = 5.0
"""Seconds after which what the server asks outside a call is refused, if a request waits."""

_VERSION: Final = Raw(b'"2.0"')
_GIVEN_UP: Final = "the call that this belongs to was given up"


class LegacyUse(Generic[Caller]):
    """The requests of one session that its server has not answered yet."""

    def __init__(
        self,
        capabilities: Members,
        declared: Declared,
        askers: Askers,
        *,
        logs: bool,
        alone: bool = False,
    ) -> None:
        self.capabilities = capabilities
        self._asked = bool(declared.kinds)
        self._asks = Asks(declared)
        self._askers = askers
        self._calls: Calls[Caller] = Calls(askers)
        self._who = WhoAsked(self._asks, self._calls, askers)
        self._alone = alone
        """Whether its client has no other: then nobody waits for what is only suspected to ask."""

        self._logs = logs and "logging" in capabilities
        self._last = 0
        self._level: int | None = None
        self._own: set[int] = set()
        self._fence: tuple[int, float] | None = None
        """A ping behind a cancel: until its answer the cancelled call may still ask."""

    @property
    def busy(self) -> int:
        """Requests that run: neither parked nor ours."""
        return self._calls.busy

    @property
    def parked(self) -> int:
        return len(self._calls.parked)

    @property
    def idle(self) -> bool:
        return not self._calls.open

    @property
    def fenced(self) -> bool:
        """Whether a request that is known to ask waits for nothing but a cancel to be read."""
        return self._fence is not None and not self._calls.has_asker(surely=self._alone)

    def takes(self, name: Name | None) -> bool:
        """Say whether a request may come now: of those that are known to ask, one at a time."""
        if not self._asked or name not in self._askers:
            return True
        return self._fence is None and not self._calls.has_asker(surely=self._alone)

    # From callers.

    def open(
        self, caller: Caller, asked: Asked, now: float
    ) -> tuple[int, list["Delivery[Caller]"]]:
        """Enter a request; return our id, and what is to be done.

        Raises:
            Reported: Its log level is none.
        """
        request, meta = asked.request, asked.meta()
        level = to_legacy.level_in(meta) if eras.LOG_LEVEL in meta else None
        self._last += 1
        ours = self._last
        line, token = to_legacy.for_server(request, asked.params, meta, ours)
        call: Call[Caller] = Call(caller, request.id.copy(), request.method, token, level, now)
        if self._asked and request.method in eras.ASKABLE:
            call.name = (request.method, asked.name or "")
            call.params = asked.params
        self._calls.open[ours] = call
        before: list[Delivery[Caller]] = [] if level is None else self._set_level(level)
        if call.name is not None and self._asks and self._who.inherits(ours):
            call.unsent = line  # first it asks whoever comes what nobody asked for
            return ours, [*before, self._who.park(ours, now)]
        return ours, [*before, ToServer(line)]

    def resume(
        self,
        caller: Caller,
        asked: Asked,
        now: float,
        *,
        ours: int,
        round: int,  # noqa: A002
    ) -> list["Delivery[Caller]"]:
        """Take the retry of a parked call; its caller becomes the call's.

        Raises:
            Reported: It answers nothing that waits, or asks for something else.
        """
        call = self._calls.open.get(ours)
        if call is None or call.caller is not None or call.round != round:
            raise Reported(jsonrpc.INVALID_PARAMS, "params.requestState was answered already")
        if to_legacy.fingerprint(asked.request.method, asked.params) != call.fingerprint:
            text = f"this request differs from the {call.method} that its requestState is of"
            raise Reported(jsonrpc.INVALID_PARAMS, text)
        level = to_legacy.level_in(asked.meta())
        lines = self._asks.answer(ours, answers_in(asked.params))
        call.attach(caller, asked, level, now)
        self._calls.parked.discard(ours)
        before: list[Delivery[Caller]] = [] if level is None else self._set_level(level)
        out = [*before, *map(ToServer, lines)]
        return [*out, *self._go_on(ours, call, caller, now)]

    def cancel(self, ours: int, now: float, reason: str = "") -> list["Delivery[Caller]"]:
        """Give a request up, running or parked."""
        call = self._calls.pop(ours)
        if call is None:
            return []
        out = self._refuse(ours, _GIVEN_UP)
        if call.unsent is not None or call.late is not None:
            return [*out, *self._attribute(now)]
        params: dict[str, object] = {"requestId": ours, **({"reason": reason} if reason else {})}
        out.append(ToServer(jsonrpc.notification(eras.CANCELLED, params)))
        if call.name is not None and self._asks_still(call):
            ping, line = self.own(eras.PING)
            self._fence = ping, now
            out.append(ToServer(line))
        return [*out, *self._attribute(now)]

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
                return self._receive_response(message, now)
            case Request():
                return self._receive_request(message, now)
            case Notification():
                return self._receive_notification(message)

    def lost(self, ours: Key | None, fault: McpnatsdError) -> list[Caller]:
        """Take an answer that cannot be read; return who is to be told: all, if nobody knows."""
        call = self._calls.open.get(ours) if isinstance(ours, int) else None
        if call is None or not isinstance(ours, int):
            return self.server_gone()
        if call.caller is None:
            line = jsonrpc.fault_body(fault)
            call.late = Response(call.id, {"jsonrpc": _VERSION, "error": Raw(line)})
            return []
        self._calls.pop(ours)
        return [call.caller]

    def server_gone(self) -> list[Caller]:
        """Forget everything; return who was waiting."""
        waiting = [one.caller for one in self._calls.open.values() if one.caller is not None]
        self._calls.clear()
        return waiting

    # Clocks.

    def overdue(self, now: float, limit: float) -> list[tuple[int, Caller]]:
        """Return the requests that have run for so long, without the time they were parked."""
        return [
            (ours, one.caller)
            for ours, one in self._calls.open.items()
            if one.caller is not None and one.spent + now - one.since >= limit
        ]

    def expire(self, now: float) -> list["Delivery[Caller]"]:
        """Give up what its client left alone for too long, and what nobody can be asked for."""
        if self._fence is not None and now - self._fence[1] >= FENCE_FOR:
            self._fence = None
        out: list[Delivery[Caller]] = []
        for ours in sorted(self._calls.parked):
            if now >= self._calls.open[ours].until:
                out += self.cancel(ours, now, "the client did not answer")
        out += self._attribute(now)
        if self._asks.of(None):
            out += self._refuse_unasked(now)
        return out

    def _refuse_unasked(self, now: float) -> list["Delivery[Caller]"]:
        if not self._who.nobody():
            return []
        waits = any(now - one.since >= UNASKED_FOR for one in self._calls.open.values())
        patience = UNASKED_FOR if waits else PARKED_FOR
        return self._refuse(
            None, "no call is there in which the client could be asked", now - patience
        )

    # Answers.

    def _receive_response(self, response: Response, now: float) -> list["Delivery[Caller]"]:
        ours = jsonrpc.key_of(response.id)
        if not isinstance(ours, int):
            return [Stray("a response without an id of ours")]
        if ours in self._own:
            self._own.discard(ours)
            if self._fence is not None and ours == self._fence[0]:
                self._fence = None
            return [Mine(ours, response)]
        call = self._calls.open.get(ours)
        if call is None:
            return [Stray("answer nobody waits for")]
        if call.caller is None:
            self._receive_late(ours, call, response)
            return []
        answer = self._settle(ours, call, call.caller, response)
        return [answer, *self._attribute(now)] if self._asks else [answer]

    def _receive_late(self, ours: int, call: Call[Caller], response: Response) -> None:
        """Keep an answer for the retry. What asked does not end before it was answered."""
        call.late = response
        if call.name is not None and self._asks.of(ours) and self._calls.others_run(ours):
            self._askers.clear(call.name)

    def _settle(
        self, ours: int, call: Call[Caller], caller: Caller, response: Response
    ) -> "Answer[Caller]":
        self._calls.pop(ours)
        if call.name is not None and not call.asked:
            self._askers.clear(call.name)
        to_legacy.for_client(call.method, response)
        return Answer(caller, call.method, call.id, response)

    def _receive_request(self, request: Request, now: float) -> list["Delivery[Caller]"]:
        answer = self._asks.receive(request, now, self._last)
        return [ToServer(answer)] if answer is not None else self._attribute(now)

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
        pending = self._calls.open.get(ours) if isinstance(ours, int) else None
        if pending is None or pending.token is None or pending.caller is None:
            return [Stray("progress of no request in flight")]
        params[eras.PROGRESS_TOKEN] = pending.token
        return [Note(pending.caller, jsonrpc.encode({**note.members, "params": params}))]

    def _receive_log(self, note: Notification, params: Members) -> list["Delivery[Caller]"]:
        level = jsonrpc.text_of(params, "level")
        number = to_legacy.LEVELS.index(level) if level in to_legacy.LEVELS else -1
        for pending in reversed(self._calls.open.values()):
            wants = pending.level is not None and number >= pending.level
            if wants and pending.caller is not None:
                return [Note(pending.caller, jsonrpc.encode(note.members))]
        return [Stray("a log message that no request asked for")]

    # The call that is asked.

    def _asks_still(self, call: Call[Caller]) -> bool:
        """Say whether a call that is given up may ask before its server learns of that."""
        known = call.asked or call.round > 0 or call.name in self._askers
        return known or self._asks.of(None)

    def _attribute(self, now: float) -> list["Delivery[Caller]"]:
        """Have those asked whose questions have found their call by now."""
        parks = self._who.give(now)
        if self._fence is not None and self._asks.of(None) and self._who.nobody():
            return [*parks, *self._refuse(None, _GIVEN_UP)]
        return list(parks)

    def _go_on(
        self, ours: int, call: Call[Caller], caller: Caller, now: float
    ) -> Iterable["Delivery[Caller]"]:
        """End with what came meanwhile; else ask for what is still open, or let the call run."""
        if call.late is not None:
            left = self._refuse(ours, "the call that this belongs to is over")
            return [*left, self._settle(ours, call, caller, call.late)]
        if self._asks.of(ours):
            return [self._who.park(ours, now)]
        line, call.unsent = call.unsent, None
        return [] if line is None else [ToServer(line)]

    def _refuse(
        self, owner: int | None, reason: str, before: float | None = None
    ) -> list["Delivery[Caller]"]:
        return list(map(ToServer, self._asks.refuse(owner, reason, before)))

    def _set_level(self, level: int) -> list["Delivery[Caller]"]:
        """Have the server log what the most curious request in flight wants."""
        if not self._logs:
            return []
        wanted = [one.level for one in self._calls.open.values() if one.level is not None]
        lowest = min([level, *wanted])
        if lowest == self._level:
            return []
        self._level = lowest
        _, line = self.own(eras.SET_LEVEL, level=to_legacy.LEVELS[lowest])
        return [ToServer(line)]
