"""What was found, as tables: Markdown that reads well on a terminal too."""

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.memory import IDLE, TUNNELS, Memory
from tests.bench.paths import Measured
from tests.bench.ratios import Ratio
from tests.bench.starting import Started
from tests.bench.starts import Floor, Found, Life
from tests.bench.transport import Transport
from tests.bench.web import COUNTS, OverHttp
from tests.bench.web_memory import ABANDONED, KEPT, Kept
from tests.natsd import _program

Row = Sequence[str]


ABSENT = "-"
METHOD = """\
By `make bench`: medians of interleaved rounds, in brackets the least and the most. A call is a
`tools/call` of `echo` with 200 bytes. All run on one machine, together with the client that makes
the calls. Where a target is missed, [NOTES.md](NOTES.md) says where the time goes."""


@dataclass(frozen=True, slots=True)
class Section:
    """What belongs together: how it was measured, the tables, and what was wanted of it."""

    title: str
    method: str
    tables: str
    rows: Sequence[Ratio]

    def text(self, machine: str) -> str:
        head = ["target", "found", "wanted", ""]
        targets = table(head, [row.row() for row in self.rows]) if self.rows else "No figures."
        return "\n\n".join([f"## {self.title}", self.method, machine, self.tables, targets])


def page(sections: Sequence[Section], load: float, before: str = "") -> str:
    """Return the page; sections that were not measured now stay as they were `before`."""
    measured = {one.title: one.text(machine(load)) for one in sections}
    known = {text.partition("\n")[0]: f"## {text.strip()}" for text in before.split("\n## ")[1:]}
    return "\n\n".join(["# Measured", METHOD, *(known | measured).values()])


def table(head: Row, rows: Sequence[Row]) -> str:
    """Lay out a table; the columns after the first are for numbers."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(row, widths) for row in (head, rule, *rows))


def line(row: Row, widths: list[int]) -> str:
    first, *rest = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "| " + " | ".join([first, *rest]) + " |"


def spread(found: list[float], shown: Callable[[float], str]) -> str:
    """Show a median, and between what it lies."""
    if not found:
        return ABSENT
    return f"{shown(statistics.median(found))} ({shown(min(found))} to {shown(max(found))})"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def whole(number: float) -> str:
    return f"{number:,.0f}"


def mib(number: float) -> str:
    return f"{number:.1f}"


def calls(measured: Sequence[Measured]) -> str:
    head = ["way", "p50 ms", "p99 ms", "calls/s", "in flight", "500 KB p50 ms"]
    return table(head, [calls_row(one) for one in measured])


def calls_row(one: Measured) -> Row:
    if one.failed:
        return [one.name, f"failed: {one.failed[:60]}", ABSENT, ABSENT, str(one.in_flight), ABSENT]
    times = [spread(found, milliseconds) for found in (one.p50, one.p99)]
    big = spread(one.big, milliseconds)
    return [one.name, *times, spread(one.rate, whole), str(one.in_flight), big]


def translations(measured: Sequence[Measured]) -> str:
    head = ["way", "p50 ms", "p99 ms", "calls/s", "in flight", "500 KB p50 ms", "CPU µs"]
    return table(head, [[*calls_row(one), spread(one.cpu, microseconds)] for one in measured])


def transports(measured: Sequence[Transport]) -> str:
    head = ["way", "p50 ms", "p99 ms", "calls/s, 16", "calls/s, 64", "500 KB p50 ms"]
    head += ["client's CPU µs", "all CPU µs"]
    return table(head, [transports_row(one) for one in measured])


def transports_row(one: Transport) -> Row:
    if one.failed:
        return [one.name, f"failed: {one.failed[:60]}", *[ABSENT] * 6]
    times = [spread(found, milliseconds) for found in (one.p50, one.p99)]
    rates = [spread(found, whole) for found in (one.few, one.rate)]
    spent = [spread(found, microseconds) for found in (one.client_cpu, one.cpu)]
    return [one.name, *times, *rates, spread(one.big, milliseconds), *spent]


def over_http(measured: Sequence[OverHttp]) -> str:
    head = ["way", *(f"p50 ms, {count}" for count in COUNTS)]
    head += [*(f"calls/s, {count}" for count in COUNTS), "CPU µs", "client's CPU µs"]
    return table(head, [over_http_row(one) for one in measured])


def over_http_row(one: OverHttp) -> Row:
    if one.failed:
        return [one.name, f"failed: {one.failed[:60]}", *[ABSENT] * (2 * len(COUNTS) + 1)]
    times = [spread(one.p50[count], milliseconds) for count in COUNTS]
    rates = [spread(one.rate[count], whole) for count in COUNTS]
    spent = [spread(found, microseconds) for found in (one.cpu, one.client_cpu)]
    return [one.name, *times, *rates, *spent]


def kept_by_http(kept: Kept) -> str:
    rows = [
        ["an idle subscription, modern, KiB", mib(kept.modern_listener)],
        ["an idle GET stream with its session, legacy, KiB", mib(kept.legacy_listener)],
        [f"{KEPT:,} sessions abandoned, without servers, MiB", mib(kept.few_abandoned)],
        [f"{ABANDONED:,} sessions abandoned, without servers, MiB", mib(kept.abandoned)],
        ["the session too many at a legacy server", kept.refused],
    ]
    return table(["what the daemon keeps, or says", ""], rows)


def starts_and_memory(started: Sequence[Started], kept: Memory) -> str:
    return f"{starts(started)}\n\n{memory(kept)}"


def starts(started: Sequence[Started]) -> str:
    return table(
        ["start", "to the first answer, s", "memory after 100 calls, MiB", "times"],
        [starts_row(one) for one in started],
    )


def starts_row(one: Started) -> Row:
    if one.failed:
        return [one.name, f"failed: {one.failed[:60]}", ABSENT, ABSENT]
    rss = spread(one.rss, mib) if any(one.rss) else ABSENT
    return [one.name, spread(one.seconds, "{:.3f}".format), rss, str(len(one.seconds))]


def daemons(found: Found) -> str:
    head = ["daemon", "servers", "control socket, s", "READY, s", "first call, s", "MiB"]
    head += ["reload, s", "new server answers, s", "nothing changed, s", "stop, s", "times"]
    lives = table(head, [life_row(one) for one in found.lives])
    floors = table(["start", "s", "times"], [floor_row(one) for one in found.floors])
    return f"{lives}\n\n{floors}"


def life_row(one: Life) -> Row:
    if one.failed:
        return [one.name, f"{one.servers:,}", f"failed: {one.failed[:60]}", *[ABSENT] * 8]
    start = [spread(found, seconds) for found in (one.control, one.ready, one.answered)]
    later = (one.reloaded, one.added, one.unchanged, one.stopped)
    rest = [spread(one.rss, mib), *(spread(found, seconds) for found in later)]
    return [one.name, f"{one.servers:,}", *start, *rest, str(len(one.ready))]


def floor_row(one: Floor) -> Row:
    return [one.name, spread(one.seconds, seconds), str(len(one.seconds))]


def seconds(number: float) -> str:
    return f"{number:.3f}"


def memory(found: Memory) -> str:
    rows = [
        ["without servers", mib(found.empty)],
        [f"with {IDLE} servers that sleep", mib(found.idle)],
        ["a server that sleeps", f"{found.kib_per_idle_server / 1024:.3f}"],
        ["with 1 open session", mib(found.one_tunnel)],
        [f"with {TUNNELS} open sessions", mib(found.tunnels)],
        ["an open session", f"{found.kib_per_tunnel / 1024:.3f}"],
        [f"its reaper, with {TUNNELS} servers running", mib(found.reaper)],
    ]
    return table(["the daemon", "MiB"], rows)


def machine(load: float) -> str:
    cpu = Path("/proc/cpuinfo")
    model = platform.processor()
    if cpu.exists():
        model = cpu.read_text().partition("model name")[2].partition(":")[2].partition("\n")[0]
    said = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True)
    facts = [
        f"{model.strip()}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}",
        said.stdout.strip(),
        f"nats-py {version('nats-py')}",
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"load average before the run {load:.1f}",
    ]
    return "; ".join(facts)
