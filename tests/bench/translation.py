"""What translation costs: one client and one server, of the same era and of two.

All ways end at the same thin server, which then knows one era only, behind one daemon.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import programs
from tests.bench.client import Era, Failed, can_be_asked
from tests.bench.paths import Measured, client
from tests.bench.ratios import Ratio, each
from tests.bench.rounds import Size, in_turn
from tests.natsd import NatsServer

ERAS: tuple[Era, ...] = ("modern", "legacy")
MOST_P50 = 1.25
LEAST_RATE = 0.8


@dataclass(frozen=True, slots=True)
class Way:
    """From a client to a server, each of its era."""

    client: Era
    server: Era
    measured: Measured
    asked: bool = False
    """Whether the server may elicit: then the calls of one client each take a session."""


def measure(size: Size, folder: Path) -> list[Way]:
    servers: dict[str, object] = {era: {"command": [*programs.SERVER, era]} for era in ERAS}
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(folder / "nats"))
        daemon = stack.enter_context(programs.daemon(folder / "daemon", nats.url, servers))
        ends = Ends(nats, daemon, folder, stack)
        ways = [ends.open(of, to) for of in ERAS for to in ERAS]
        ways.append(ends.open("modern", "legacy", asked=True))
        in_turn("translation", [way.measured for way in ways], size)
    return ways


@dataclass(frozen=True, slots=True)
class Ends:
    """Where clients start."""

    nats: NatsServer
    daemon: programs.Daemon
    folder: Path
    stack: ExitStack

    def open(self, of: Era, to: Era, *, asked: bool = False) -> Way:
        """Connect a client of an era with the server of an era."""
        name = f"{of} to {to}" + (", can be asked" if asked else "")
        log = self.folder / f"{of}-{to}-{asked}.log"
        lines = can_be_asked() if asked else None
        opened = client(self.daemon.connect(to), of, log, self.daemon.env, lines)
        try:
            shim = self.stack.enter_context(opened)
        except (Failed, OSError) as error:
            return Way(of, to, Measured(name, None, failed=str(error)), asked)
        pids = (shim.process.pid, self.daemon.pid, self.nats.pid)
        return Way(of, to, Measured(name, shim, pids=pids), asked)


def ratios(ways: list[Way]) -> Iterator[Ratio]:
    """Compare what is translated with what is not, of the same client and of the same server."""
    plain = {way.client: way.measured for way in ways if way.client == way.server}
    for way in ways:
        if way.client == way.server or not way.measured.rate:
            continue
        yield from against(way, plain[way.client], target=not way.asked)
        yield from against(way, plain[way.server], target=False)


def against(way: Way, plain: Measured, *, target: bool) -> Iterator[Ratio]:
    if not plain.rate:
        return
    one, whose = way.measured, f"of {plain.name}"
    p50, rate = each(one.p50, plain.p50), each(one.rate, plain.rate)
    yield Ratio(f"{one.name}: p50, {whose}", p50, MOST_P50 if target else None)
    least = LEAST_RATE if target else None
    yield Ratio(f"{one.name}: calls/s, {whose}", rate, least, at_least=True)
    yield Ratio(f"{one.name}: CPU, {whose}", each(one.cpu, plain.cpu))
    yield Ratio(f"{one.name}: 500 KB, {whose}", each(one.big, plain.big))
