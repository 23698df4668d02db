"""Many callers, one modern server: whose answer is whose.

A stdio server believes it has one client. `Multiplexer` lets any number share it: every request
goes on under an id of ours, and its answer goes back under the id, progress token and
subscription id that its caller chose (WIRE.md, "Multiplexing").

Nothing here does I/O, reads a clock or logs. What cannot be attributed is dropped, and counted.
"""

from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Notification, Request, Response

Caller = TypeVar("Caller")

TOMBSTONES: Final = 4096
"""Cancelled requests remembered, so that a late answer is told from one nobody asked for."""

_HINTS: Final = frozenset({
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
})  # fmt: skip


class Note(msgspec.Struct, Generic[Caller]):
    """A notification for the caller whose request it belongs to."""

    caller: Caller
    line: bytes


class Answer(msgspec.Struct, Generic[Caller]):
    """The final response of a request."""

    caller: Caller
    line: bytes
    response: Response


class Ended(msgspec.Struct, Generic[Caller]):
    """The server tore a subscription down: there will be no response."""

    caller: Caller
    line: bytes
    """The notification that says so, for the caller."""


class Hint(msgspec.Struct):
    """A list changed, says the server, in a message that belongs to no request."""

    method: str


class Stray(msgspec.Struct):
    """What belongs to nobody: it was dropped."""

    reason: str


Delivery = Note[Caller] | Answer[Caller] | Ended[Caller] | Hint | Stray


class _Pending(msgspec.Struct, Generic[Caller]):
    caller: Caller
    id: Raw
    token: Raw | None
    listens: bool


class Multiplexer(Generic[Caller]):
    """The table of requests that one server process has not answered yet."""

    def __init__(self, *, shared: bool = True) -> None:
        self._shared = shared
        """Whether the callers are different clients: then no log message is anybody's."""

        self._last = 0
        self._listens = 0
        self._pending: dict[int, _Pending[Caller]] = {}
        self._tombstones: dict[int, None] = {}

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    @property
    def busy(self) -> int:
        """Requests in flight that will end by themselves: all but subscriptions."""
        return len(self._pending) - self._listens

    def calls(self) -> list[tuple[int, Caller]]:
        """Return what is in flight, but for subscriptions, oldest first."""
        return [(ours, one.caller) for ours, one in self._pending.items() if not one.listens]

    def open(self, caller: Caller, request: Request, params: Members) -> tuple[int, bytes]:
        """Enter a request; return our id, and the line for the server.

        `params` are the members of the request's `params`; they are changed.
        """
        self._last += 1
        ours = self._last
        number = Raw(b"%d" % ours)
        token = _take_meta(params, number, shared=self._shared)
        listens = request.method == eras.LISTEN
        self._listens += listens
        self._pending[ours] = _Pending(caller, request.id.copy(), token, listens)
        return ours, request.with_id(number, params)

    def cancel(self, ours: int, reason: str = "") -> bytes | None:
        """Give a request up; return the line that tells the server, None when it was answered."""
        if self._take(ours) is None:
            return None
        self._bury(ours)
        params: dict[str, object] = {"requestId": ours}
        if reason:
            params["reason"] = reason
        return jsonrpc.notification(eras.CANCELLED, params)

    def give_up(self, ours: int) -> Caller | None:
        """Forget a request whose answer was lost; return who waits for it."""
        pending = self._take(ours)
        return None if pending is None else pending.caller

    def server_gone(self) -> list[Caller]:
        """Forget everything; return who was waiting."""
        waiting = [pending.caller for pending in self._pending.values()]
        self._pending.clear()
        self._listens = 0
        self._tombstones.clear()
        return waiting

    def receive(self, line: bytes) -> "Delivery[Caller]":
        """Attribute one line of the server.

        Raises:
            ProtocolError: It is no JSON-RPC message.
        """
        message = jsonrpc.decode(line)
        match message:
            case Response():
                return self._receive_response(message)
            case Notification():
                return self._receive_notification(message, line)
            case Request():
                return Stray(f"the server sent a request, {message.method!r}: not in this revision")

    def _receive_response(self, response: Response) -> "Delivery[Caller]":
        ours = jsonrpc.key_of(response.id)
        if not isinstance(ours, int):
            return Stray("a response without an id of ours")
        pending = self._take(ours)
        if pending is None:
            if self._tombstones.pop(ours, ours) is None:
                return Stray("late answer to a cancelled request")
            return Stray("answer nobody waits for")
        if pending.listens:
            _restore_subscription(response.members, "result", pending.id)
        return Answer(pending.caller, response.with_id(pending.id), response)

    def _receive_notification(self, note: Notification, line: bytes) -> "Delivery[Caller]":
        params = jsonrpc.params_of(note.members)
        if note.method == eras.PROGRESS:
            return self._receive_progress(note, params)
        if note.method == eras.CANCELLED:
            return self._receive_cancelled(note, params)
        subscription = jsonrpc.key_of(
            jsonrpc.object_of(params, eras.META).get(eras.SUBSCRIPTION_ID)
        )
        pending = self._pending.get(subscription) if isinstance(subscription, int) else None
        if pending is not None:
            _restore_subscription(note.members, "params", pending.id)
            return Note(pending.caller, jsonrpc.encode(note.members))
        if subscription is None and note.method in _HINTS:
            return Hint(note.method)
        if note.method == eras.MESSAGE and not self._shared and self._pending:
            return Note(next(reversed(self._pending.values())).caller, line)
        return Stray(f"{note.method} belongs to no request")

    def _receive_progress(self, note: Notification, params: Members) -> "Delivery[Caller]":
        ours = jsonrpc.key_of(params.get(eras.PROGRESS_TOKEN))
        pending = self._pending.get(ours) if isinstance(ours, int) else None
        if pending is None or pending.token is None:
            return Stray("progress of no request in flight")
        params[eras.PROGRESS_TOKEN] = pending.token
        return Note(pending.caller, jsonrpc.encode({**note.members, "params": params}))

    def _receive_cancelled(self, note: Notification, params: Members) -> "Delivery[Caller]":
        # Only a subscription's end may be told so (2026-07-28, Basic, Patterns, Cancellation).
        ours = jsonrpc.key_of(params.get("requestId"))
        pending = self._pending.get(ours) if isinstance(ours, int) else None
        if pending is None or not pending.listens or not isinstance(ours, int):
            return Stray("the server cancelled what is no subscription")
        self._take(ours)
        self._bury(ours)
        params["requestId"] = pending.id
        return Ended(pending.caller, jsonrpc.encode({**note.members, "params": params}))

    def _take(self, ours: int) -> _Pending[Caller] | None:
        pending = self._pending.pop(ours, None)
        if pending is not None:
            self._listens -= pending.listens
        return pending

    def _bury(self, ours: int) -> None:
        self._tombstones[ours] = None
        if len(self._tombstones) > TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]


def _take_meta(params: Members, number: Raw, *, shared: bool) -> Raw | None:
    """Put our progress token in, and what a shared process must not see out."""
    if eras.META not in params:
        return None
    meta = jsonrpc.object_of(params, eras.META)
    token = meta.get(eras.PROGRESS_TOKEN)
    # On stdio a log message names no request: on a shared process it could be anybody's.
    opted_in = meta.pop(eras.LOG_LEVEL, None) if shared else None
    if token is None and opted_in is None:
        return None
    if token is not None:
        token = token.copy()
        meta[eras.PROGRESS_TOKEN] = number
    params[eras.META] = Raw(jsonrpc.encode(meta))
    return token


def _restore_subscription(members: Members, member: str, theirs: Raw) -> None:
    body = jsonrpc.object_of(members, member)
    meta = jsonrpc.object_of(body, eras.META)
    if eras.SUBSCRIPTION_ID in meta:
        meta[eras.SUBSCRIPTION_ID] = theirs
        body[eras.META] = Raw(jsonrpc.encode(meta))
        members[member] = Raw(jsonrpc.encode(body))
