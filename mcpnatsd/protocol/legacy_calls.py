"""The requests of one legacy session without an answer: who runs, who waits, who may have asked."""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol import eras, to_legacy
from mcpnatsd.protocol.askers import Askers, Name
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Members, Response
from mcpnatsd.protocol.legacy_deliveries import Park

Caller = TypeVar("Caller")

PARKED_FOR: Final = 600.0
"""Seconds for which a call waits for its client."""


class Call(msgspec.Struct, Generic[Caller]):
    """One request of a caller."""

    caller: Caller | None
    """None while it is parked."""

    id: Raw
    method: str
    token: Raw | None
    level: int | None
    since: float
    name: Name | None = None
    """None when it cannot be asked about."""

    spent: float = 0.0
    """Seconds that it ran before it was parked: the time in between does not count."""

    asked: bool = False
    """Whether it asked, or was among those that may have."""

    params: Members = {}
    fingerprint: bytes = b""
    round: int = 0
    until: float = 0.0
    unsent: bytes | None = None
    late: Response | None = None
    """The answer that came while the call was parked."""

    def park(self, ours: int, asks: dict[str, Raw], now: float) -> Park[Caller]:
        """End the exchange of a call that runs; its retry is awaited."""
        caller, self.caller = self.caller, None
        if caller is None:
            raise LocalProtocolError("a call is parked twice")
        self.round += 1
        self.until = now + PARKED_FOR
        self.spent += now - self.since
        if not self.fingerprint:
            self.fingerprint = to_legacy.fingerprint(self.method, self.params)
            self.params = {}
        return Park(caller, self.id, ours, self.round, self.until, asks)

    def attach(self, caller: Caller, asked: Asked, level: int | None, now: float) -> None:
        """Take a retry: from here on the call is its caller's."""
        token = asked.meta().get(eras.PROGRESS_TOKEN)
        self.caller = caller
        self.id = asked.request.id.copy()
        self.token = None if token is None else token.copy()
        self.level = level
        self.since = now


class Calls(Generic[Caller]):
    """All of them by our ids, the oldest first."""

    def __init__(self, askers: Askers) -> None:
        self.open: dict[int, Call[Caller]] = {}
        self.parked: set[int] = set()
        self._askers = askers

    @property
    def busy(self) -> int:
        return len(self.open) - len(self.parked)

    def has_asker(self, *, surely: bool) -> bool:
        """Say whether one is here that is known to ask, running or parked.

        `surely` leaves out what runs and is only suspected.
        """
        return any(
            self._askers.surely(one.name) or (one.asked and one.caller is None)
            if surely
            else one.asked or one.name in self._askers
            for one in self.open.values()
        )

    def pop(self, ours: int) -> Call[Caller] | None:
        """Forget one that is over."""
        self.parked.discard(ours)
        return self.open.pop(ours, None)

    def clear(self) -> None:
        self.open.clear()
        self.parked.clear()

    def askable(self, upto: int) -> list[int]:
        """Return those that can ask, run, and were there by our id `upto`."""
        return [
            ours
            for ours, one in self.open.items()
            if one.caller is not None and one.name is not None and ours <= upto
        ]

    def may_have_asked(self, upto: int) -> list[int]:
        """Return of these the known askers, or else the suspects, or else all."""
        running = self.askable(upto)
        suspects = [ours for ours in running if self.open[ours].name in self._askers]
        known = [ours for ours in suspects if self._askers.surely(self.open[ours].name)]
        return known or suspects or running

    def names(self, ours: Iterable[int]) -> set[Name]:
        """Return the names of these calls, in which many may agree."""
        found = (self.open[one].name for one in ours)
        return {name for name in found if name is not None}

    def others_run(self, ours: int) -> bool:
        """Say whether anything else runs that can ask."""
        return any(other != ours for other in self.askable(max(self.open)))

    def last_parked(self) -> int | None:
        """Return the parked call whose next round takes what nobody who runs can have asked."""
        waiting = [ours for ours in self.parked if self.open[ours].late is None]
        return max(waiting, key=lambda ours: (self.open[ours].until, ours), default=None)
