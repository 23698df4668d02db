"""What the numbers mean: each target, beside what was found in the same run."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench.memory import Memory
from tests.bench.paths import Measured
from tests.bench.starting import Started


@dataclass(frozen=True, slots=True)
class Ratio:
    what: str
    found: float
    target: float
    unit: str = "times"
    at_least: bool = False

    def row(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        met = self.found >= self.target if self.at_least else self.found <= self.target
        found = f"{self.found:,.2f} {self.unit}"
        return [
            self.what,
            found,
            f"{sign} {self.target:,g} {self.unit}",
            "met" if met else "missed",
        ]


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
    floor = median(found.stdio.p50) + median(found.natspy.p50)
    for one in found.ours:
        if one.failed:
            continue
        yield Ratio(f"{one.name}: p50, of plain stdio + nats-py", median(one.p50) / floor, 2.2)
        yield Ratio(f"{one.name}: calls/s", median(one.rate), 20_000, "calls/s", at_least=True)
        yield Ratio(
            f"{one.name}: calls/s, of nats-py's",
            median(one.rate) / median(found.natspy.rate),
            1,
            at_least=True,
        )
        yield Ratio(
            f"{one.name}: 500 KB, of nats-py's", median(one.big) / median(found.natspy.big), 2
        )


def of_peers(found: Found) -> Iterator[Ratio]:
    """Compare with the best of the others, each number for itself."""
    for one in found.ours:
        if one.failed:
            continue
        if fastest := best(found.peers, lambda peer: [-p50 for p50 in peer.p50]):
            what = f"{one.name}: p50, times faster than {fastest.name}"
            yield Ratio(what, median(fastest.p50) / median(one.p50), 3, at_least=True)
        if busiest := best(found.peers, lambda peer: peer.rate):
            what = f"{one.name}: calls/s, times those of {busiest.name}"
            yield Ratio(what, median(one.rate) / median(busiest.rate), 10, at_least=True)


def of_starts(started: Sequence[Started]) -> Iterator[Ratio]:
    for one in started:
        if one.seconds and any(one.rss) and one.name.startswith("mcpnatsd"):
            yield Ratio(f"{one.name}: to the first answer", median(one.seconds), 0.15, "s")
            yield Ratio(f"{one.name}: memory", median(one.rss), 32, "MiB")


def of_memory(memory: Memory) -> Iterator[Ratio]:
    yield Ratio("the daemon with 100 servers that sleep", memory.idle, 40, "MiB")


def best(peers: Sequence[Measured], key: Callable[[Measured], list[float]]) -> Measured | None:
    running = [peer for peer in peers if not peer.failed and key(peer)]
    return max(running, key=lambda peer: median(key(peer)), default=None)


def median(found: list[float]) -> float:
    return statistics.median(found)
