"""Final frames kept for callers that lost theirs to a broker's restart."""

from collections import OrderedDict
from typing import Final, NamedTuple, Protocol

from mcpnatsd.protocol import frames

MOST_REFUSED: Final = 10_000
"""Calls remembered that must not start any more; the oldest is forgotten first."""

MOST_LEFT: Final = 10_000
"""Clients remembered that left, until what they were answered is forgotten: about a second."""

_OVERHEAD: Final = 400  # bytes that an entry takes beside its line, as measured


class Ended(Protocol):
    """An exchange that is over. `bus.served.Served` is one."""

    call: str
    reply: str
    seq: int
    user: bytes


class Kept(NamedTuple):
    """A final response, and the number of the frame before it."""

    line: bytes
    reply: str
    seq: int
    user: bytes
    server: str
    at: float
    until: float


class Finals:
    """A bounded store: a minute, 32 MiB, oldest out first.

    Only minutes with a connection count: during an outage nobody can ask.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._left: set[tuple[str, bytes]] = set()

    def keep(self, served: Ended, line: bytes, *, server: str, now: float) -> None:
        call = served.call
        before = self._kept.pop(call, None)  # a caller may use its token again
        self._bytes += _cost(line) - (_cost(before.line) if before else 0)
        until = now + frames.KEEP_FINALS
        self._kept[call] = Kept(line, served.reply, served.seq, served.user, server, now, until)
        while self._bytes > frames.KEEP_FINALS_BYTES:
            self._drop_oldest()

    def get(self, call: str) -> Kept | None:
        return self._kept.get(call)

    def since(self, at: float, server: str) -> list[Kept]:
        """Return what one server answered since then, oldest first."""
        return [kept for kept in self._kept.values() if kept.at >= at and kept.server == server]

    def refuse(self, call: str, now: float) -> None:
        """Remember a call that we were asked after and do not run: it must not start later."""
        self._refused[call] = now + frames.KEEP_FINALS
        self._refused.move_to_end(call)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def left(self, client: str, user: bytes) -> None:
        """Learn that a client is gone: it will not ask."""
        if len(self._left) < MOST_LEFT:
            self._left.add((client, user))

    def is_refused(self, call: str) -> bool:
        return call in self._refused

    def expire(self, now: float) -> None:
        """Forget what is too old, and what clients were answered that are gone."""
        if self._left:
            self._forget_left()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop_oldest()
        while self._refused and next(iter(self._refused.values())) <= now:
            self._refused.popitem(last=False)

    def reconnected(self, now: float) -> None:
        """Give everything its whole time again."""
        until = now + frames.KEEP_FINALS
        for call, kept in self._kept.items():
            self._kept[call] = kept._replace(until=until)
        for call in self._refused:
            self._refused[call] = until

    def _forget_left(self) -> None:
        left, self._left = self._left, set()
        for call, kept in list(self._kept.items()):
            if (call.partition(".")[0], kept.user) in left:
                del self._kept[call]
                self._bytes -= _cost(kept.line)

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._bytes -= _cost(kept.line)


def _cost(line: bytes) -> int:
    return len(line) + _OVERHEAD
