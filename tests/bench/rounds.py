"""Rounds: each of many is measured in turn, so that a busy machine favours none of them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Measurable(Protocol):
    """What has rounds."""

    def warm(self, seconds: float) -> None: ...

    def round(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    starts: int


FULL = Size(rounds=5, seconds=2.0, starts=20)
QUICK = Size(rounds=2, seconds=0.5, starts=3)


def in_turn(what: str, measured: Sequence[Measurable], size: Size) -> None:
    """Warm all of them; then measure one after the other, again and again."""
    for one in measured:
        one.warm(size.seconds)
    for number in range(size.rounds):
        said(f"{what}, round {number + 1} of {size.rounds}")
        for one in measured:
            one.round(size.seconds)


def said(what: str) -> None:
    """Tell who waits how far it is."""
    print(f"bench: {what}", file=sys.stderr)
