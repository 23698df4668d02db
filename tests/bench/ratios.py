"""What the numbers mean: each target, beside what was found in the same run."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.memory import IDLE, Memory
from tests.bench.paths import Measured
from tests.bench.starting import Started


@dataclass(frozen=True, slots=True)
class Ratio:
    what: str
    found: float
    wanted: float | None = None
    unit: str = "times"
    at_least: bool = False

    def row(self) -> list[str]:
        found = f"{self.found:,.2f} {self.unit}"
        if self.wanted is None:
            return [self.what, found, "", ""]
        sign = "≥" if self.at_least else "≤"
        met = self.found >= self.wanted if self.at_least else self.found <= self.wanted
        wanted = f"{sign} {self.wanted:,g} {self.unit}"
        return [self.what, found, wanted, "met" if met else "missed"]


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured on the ways of calls."""

    stdio: Measured
    natspy: Measured
    uvloop: Measured
    ours: Sequence[Measured]
    peers: Sequence[Measured]

    @property
    def every(self) -> list[Measured]:
        return [self.stdio, self.natspy, self.uvloop, *self.ours, *self.peers]


def of_calls(found: Found) -> Iterator[Ratio]:
    stdio, natspy = found.stdio, found.natspy
    floor = [sum(pair) for pair in zip(stdio.p50, natspy.p50, strict=True)]
    large = [sum(pair) for pair in zip(stdio.big, natspy.big, strict=True)]
    for one in running(found.ours):
        name, rate = one.name, one.rate
        yield Ratio(f"{name}: p50, of plain stdio + nats-py", each(one.p50, floor), 2.2)
        yield Ratio(f"{name}: calls/s", statistics.median(rate), 20_000, "calls/s", at_least=True)
        yield Ratio(f"{name}: calls/s, of nats-py's", each(rate, natspy.rate))
        yield Ratio(f"{name}: calls/s, of plain stdio's", each(rate, stdio.rate))
        yield Ratio(f"{name}: 500 KB, of nats-py", each(one.big, natspy.big), 2)
        yield Ratio(f"{name}: 500 KB, of plain stdio + nats-py", each(one.big, large))


def of_peers(found: Found) -> Iterator[Ratio]:
    """Compare with the best of the others, each number for itself."""
    peers = running(found.peers)
    if not peers:
        return
    fastest = min(peers, key=lambda peer: statistics.median(peer.p50))
    busiest = max(peers, key=lambda peer: statistics.median(peer.rate))
    for one in running(found.ours):
        faster, more = each(fastest.p50, one.p50), each(one.rate, busiest.rate)
        yield Ratio(f"{one.name}: p50, faster than {fastest.name}", faster, 3, at_least=True)
        yield Ratio(f"{one.name}: calls/s, more than {busiest.name}", more, 10, at_least=True)


def of_starts(started: Sequence[Started]) -> Iterator[Ratio]:
    imports = next(one for one in started if "importing" in one.name)
    for one in started:
        if one.seconds and one.name.startswith("mcpnatsd"):
            took = statistics.median(one.seconds)
            yield Ratio(f"{one.name}: to the first answer", took, 0.15, "s")
            yield Ratio(f"{one.name}: of the imports alone", each(one.seconds, imports.seconds))
            yield Ratio(f"{one.name}: memory", statistics.median(one.rss), 32, "MiB")


def of_memory(memory: Memory) -> Iterator[Ratio]:
    yield Ratio(f"the daemon with {IDLE} servers that sleep", memory.idle, 40, "MiB")


def running(measured: Sequence[Measured]) -> list[Measured]:
    return [one for one in measured if one.rate and not one.failed]


def each(of: Sequence[float], to: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: what slows one round slows both sides of it."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))
