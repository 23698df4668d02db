"""What of one client waits for a turn: what is known to ask it, what nobody knows, and the rest.

The request of a legacy server names no call. Were two calls that nobody knows to run at once, and
both to ask, their questions might change places: so the first call of each tool runs apart from the
first of others.
"""

import math
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Final

from mcpnatsd.backends.caller import Caller
from mcpnatsd.protocol import eras
from mcpnatsd.protocol.askers import Askers, Name
from mcpnatsd.protocol.incoming import Asked

TRY_FOR: Final = 1.0
"""Seconds in which a call that nobody knows has asked, if it ever does. Others wait that long."""

_TRIED: Final = eras.ASKABLE - {"resources/read"}
"""What is tried. Each of many resources would be read after the other."""


class Kind(Enum):
    """What is known of a request. What is learnt moves it to a later kind."""

    UNKNOWN = "unknown"
    QUIET = "quiet"
    ASKS = "asks"


class Turns:
    """The requests of one client that no session takes yet."""

    def __init__(self, askers: Askers, *, may_be_asked: bool) -> None:
        self._askers = askers
        self._may_be_asked = may_be_asked
        self._queues: dict[Kind, deque[Caller]] = {kind: deque() for kind in Kind}
        self._tried: Name | None = None
        self._until = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def kind(self, asked: Asked) -> Kind:
        """Say what is known of a request."""
        name = _name(asked)
        if not self._may_be_asked:
            return Kind.QUIET
        if name in self._askers:
            return Kind.ASKS
        unknown = name[0] in _TRIED and not self._askers.quiet(name)
        return Kind.UNKNOWN if unknown else Kind.QUIET

    def any(self, kind: Kind) -> bool:
        """Say whether requests of a kind wait."""
        return bool(self._queues[kind])

    def wait(self, caller: Caller, kind: Kind) -> None:
        self._queues[kind].append(caller)

    def first(self, kind: Kind) -> Caller | None:
        """Return who is next; what has been learnt meanwhile goes to its own kind."""
        queue = self._queues[kind]
        while queue:
            now = self.kind(queue[0].asked)
            if now is kind or kind is Kind.ASKS or now is Kind.UNKNOWN:
                return queue[0]
            self._queues[now].append(queue.popleft())
        return None

    def take(self, kind: Kind) -> Caller:
        return self._queues[kind].popleft()

    def leave(self, caller: Caller) -> None:
        for queue in self._queues.values():
            if caller in queue:
                queue.remove(caller)

    def late(self, before: float) -> Iterator[Caller]:
        """Take out who waits since before that time."""
        for queue in self._queues.values():
            while queue and queue[0].opened_at <= before:
                yield queue.popleft()

    def drained(self) -> Iterator[Caller]:
        """Take out everyone."""
        for kind in (Kind.ASKS, Kind.UNKNOWN, Kind.QUIET):
            while self._queues[kind]:
                yield self._queues[kind].popleft()

    # What nobody knows.

    def tries(self, asked: Asked, now: float, *, started: bool) -> bool:
        """Say whether a call that nobody knows may run now: when no other one may still ask."""
        open_ = self._tried is not None and self._unknown(self._tried) and now < self._until
        if not open_:
            self._tried = _name(asked)
            self._until = now + TRY_FOR if started else math.inf
        return not open_

    def started(self, now: float) -> None:
        """Learn that the session has begun only now, and with it what is tried."""
        self._until = now + TRY_FOR

    def ended(self) -> None:
        """Learn that the session is over, and with it what was tried."""
        self._tried = None

    def _unknown(self, name: Name) -> bool:
        return name not in self._askers and not self._askers.quiet(name)


def _name(asked: Asked) -> Name:
    return asked.request.method, asked.name or ""
