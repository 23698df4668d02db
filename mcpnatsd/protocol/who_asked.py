"""Which call of a legacy session asked what its server asks.

The request of a server names no call. But a call that asked cannot end before it was answered: as
others end, those that may have asked become fewer. What stays open for too long is given to the
latest whose like was never seen to end without asking, as the first calls of tools run one after
the other; where there is none, to the oldest. All who may have asked are suspects from then on.
"""

from typing import Final, Generic, TypeVar

from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.legacy_asks import Ask, Asks
from mcpnatsd.protocol.legacy_calls import Calls
from mcpnatsd.protocol.legacy_deliveries import Park

Caller = TypeVar("Caller")

HOLD: Final = 1.0
"""Seconds that a question waits until all have ended that did not ask it. Then it is a guess."""


class WhoAsked(Generic[Caller]):
    """Gives each question of a session to one of its calls, and learns who asks."""

    def __init__(self, asks: Asks, calls: Calls[Caller], askers: Askers) -> None:
        self._asks = asks
        self._calls = calls
        self._askers = askers

    def give(self, now: float) -> list[Park[Caller]]:
        """Give what has no call yet to one, as far as that is plain by now; park those."""
        parks: list[Park[Caller]] = []
        while self._asks and (unowned := self._asks.unowned):
            first = unowned[0]
            among = self._calls.may_have_asked(first.upto)
            if not among:
                self._join(unowned)
                return parks
            ours = self._asker(unowned, among, now)
            if ours is None:
                return parks
            self._learn(first, among)
            first.owner = ours
            parks.append(self.park(ours, now))
        return parks

    def park(self, ours: int, now: float) -> Park[Caller]:
        """Have the client of a call asked."""
        self._calls.parked.add(ours)
        return self._calls.open[ours].park(ours, self._asks.next_round(ours), now)

    def inherits(self, ours: int) -> bool:
        """Give a new call what was asked outside any; say whether there was something."""
        orphans = [one for one in self._asks.unowned if not self._calls.may_have_asked(one.upto)]
        for ask in orphans:
            ask.owner = ours
        return bool(orphans)

    def nobody(self) -> bool:
        """Say whether no call is there, running or parked, that what has none can be of."""
        return self._calls.last_parked() is None and not any(
            self._calls.may_have_asked(ask.upto) for ask in self._asks.unowned
        )

    def _asker(self, unowned: list[Ask], among: list[int], now: float) -> int | None:
        """Return who asked first; None while that may still become plain."""
        everyone = self._calls.may_have_asked(unowned[-1].upto)
        if len(among) == 1 or len(everyone) <= len(unowned):
            return among[0]
        if now - unowned[0].at < HOLD:
            return None
        new = (one for one in reversed(among) if not self._askers.quiet(self._calls.open[one].name))
        return next(new, among[0])

    def _join(self, unowned: list[Ask]) -> None:
        """Have a parked call ask next what no running call did; else the next call that comes."""
        ours = self._calls.last_parked()
        if ours is not None:
            for ask in unowned:
                if not self._calls.may_have_asked(ask.upto):
                    ask.owner = ours

    def _learn(self, ask: Ask, among: list[int]) -> None:
        """Remember who asked; all who may have, where that is a guess."""
        if not ask.teaches:
            return
        names = self._calls.names(among)
        calls = [self._calls.open[ours] for ours in among]
        guessed_at = any(one.asked for one in calls)
        if len(self._calls.names(self._calls.askable(ask.upto))) == 1 and not guessed_at:
            self._askers.learn(*names)
        elif len(names) > 1:
            self._askers.suspect(names)
        for one in calls:
            one.asked = True
