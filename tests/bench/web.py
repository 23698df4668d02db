"""The HTTP gateway beside the bridges of others, and beside a server that needs no bridge."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import process_time

from tests.bench import install, programs
from tests.bench.client import Era, Failed
from tests.bench.ratios import Ratio, each
from tests.bench.rounds import Size, in_turn, said
from tests.bench.web_client import Place, Web
from tests.natsd import NatsServer

ERAS: tuple[Era, ...] = ("modern", "legacy")
COUNTS = (1, 16, 64)
MOST = max(COUNTS)
MORE_THAN_BRIDGES = 5
MORE_THAN_BARE = 2
SDK_SERVER = [sys.executable, "-m", "tests.bench.sdk_server", "http"]
FASTMCP_PROXY = str(Path(__file__).with_name("fastmcp_proxy.py"))


@dataclass(slots=True)
class OverHttp:
    """One place, and what each round found there, by how many clients call at the same time."""

    name: str
    era: Era
    way: Web | None = None
    pids: Sequence[int] = ()
    """The processes whose CPU is counted, with all that they start."""

    p50: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in COUNTS})
    rate: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in COUNTS})
    cpu: list[float] = field(default_factory=list)
    """Seconds for a call, of most clients."""

    client_cpu: list[float] = field(default_factory=list)
    """Of the client that measures: where it is all there is, we measure ourselves."""

    failed: str = ""

    def warm(self, seconds: float) -> None:
        self._try(lambda way: way.load(seconds, MOST))

    def round(self, seconds: float) -> None:
        self._try(lambda way: self._round(way, seconds))

    def _try(self, do: Callable[[Web], object]) -> None:
        if self.failed or self.way is None:
            return
        try:
            do(self.way)
        except (Failed, OSError) as error:
            self.failed = str(error)

    def _round(self, way: Web, seconds: float) -> None:
        for count in COUNTS:
            before = self._spent()
            taken, rate = way.load(seconds, count)
            self.p50[count].append(statistics.median(taken))
            self.rate[count].append(rate)
            spent = [after - first for after, first in zip(self._spent(), before, strict=True)]
        self.cpu.append(spent[0] / len(taken))
        self.client_cpu.append(spent[1] / len(taken))

    def _spent(self) -> tuple[float, float]:
        return sum(map(cpu_with_ended, self.pids)), process_time()


@dataclass(frozen=True, slots=True)
class Found:
    ours: Sequence[OverHttp]
    bare: Sequence[OverHttp]
    bridges: Sequence[OverHttp]

    @property
    def every(self) -> list[OverHttp]:
        return [*self.ours, *self.bare, *self.bridges]


def measure(size: Size, folder: Path) -> Found:
    with ExitStack() as stack:
        places = Places(folder, stack)
        found = Found([*places.ours()], [*places.bare()], [*places.bridges()])
        in_turn("HTTP", found.every, size)
    return found


@dataclass(frozen=True, slots=True)
class Served:
    """Something that listens."""

    place: Place
    pids: Sequence[int]


class Places:
    """All servers and bridges, running at the same time, each on a port of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._ports = iter(range(first := programs.free_ports(8), first + 8))
        self._nats = stack.enter_context(NatsServer(folder / "nats"))

    def ours(self) -> Iterator[OverHttp]:
        """Yield a daemon that does both, and one whose server is at another daemon."""
        servers = {
            "bench": {"command": programs.SERVER},
            "new": {"command": [*programs.SERVER, "modern"]},
        }
        both, port = self._daemon("both", servers)
        for era in ERAS:
            yield opened("mcpnatsd", era, lambda: Served(Place(port, "/mcp/bench"), both))
        name = "mcpnatsd, to a modern server"
        yield opened(name, "legacy", lambda: Served(Place(port, "/mcp/new"), both))
        apart, _ = self._daemon("server", {"apart": servers["bench"]})
        gateway, port = self._daemon("gateway", {})
        pids = [*apart, *gateway]
        name = "mcpnatsd, two daemons"
        yield opened(name, "modern", lambda: Served(Place(port, "/mcp/apart"), pids))

    def bare(self) -> Iterator[OverHttp]:
        """Yield the SDK's own server."""
        served = self._starting("SDK", lambda port: [*SDK_SERVER, str(port)])
        for era in ERAS:
            yield opened("the SDK's own server", era, served)

    def bridges(self) -> Iterator[OverHttp]:
        """Yield the bridges of others, in the eras that they speak."""
        mcp_proxy = self._starting("mcp-proxy", programs.mcp_proxy)
        yield opened("mcp-proxy 0.13", "legacy", mcp_proxy)
        supergateway = self._starting("supergateway", programs.supergateway)
        fastmcp = self._starting("fastmcp", fastmcp_proxy)
        for era in ERAS:
            yield opened("supergateway 4", era, supergateway)
            yield opened("FastMCP's proxy 4.1", era, fastmcp)

    def _daemon(self, name: str, servers: Mapping[str, object]) -> tuple[list[int], int]:
        """Start a daemon with a gateway; return whose CPU it costs, and its port."""
        port = next(self._ports)
        endpoint = {"http": f"127.0.0.1:{port}"}
        running = programs.daemon(self._folder / name, self._nats.url, servers, endpoint)
        daemon = self._stack.enter_context(running)
        return [daemon.pid, self._nats.pid], port

    def _starting(self, name: str, argv: Callable[[int], list[str]]) -> Callable[[], Served]:
        """Return what starts a program once, and fails each time if it does not run."""

        @cache
        def start() -> Served:
            port, log = next(self._ports), self._folder / f"{name}.log"
            process = self._stack.enter_context(programs.running(argv(port), log))
            programs.wait(partial(programs.listens, port), process, log)
            return Served(Place(port, "/mcp"), [process.pid])

        return start


def opened(name: str, era: Era, serve: Callable[[], Served]) -> OverHttp:
    """Have all its clients shake hands; what fails is told in its row."""
    shown = f"{name}, {era}"
    try:
        served = serve()
        way = Web(served.place, era, MOST)
    except (Failed, OSError) as error:
        return OverHttp(shown, era, failed=str(error))
    return OverHttp(shown, era, way, served.pids)


def cpu_with_ended(pid: int) -> float:
    """Return the CPU time of a process and of all it started, those that ended too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it ended meanwhile
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_with_ended(int(one)) for one in started)


def fastmcp_proxy(port: int) -> list[str]:
    return [install.fastmcp_python(), FASTMCP_PROXY, str(port), *programs.SERVER]


def install_bridges() -> None:
    """Install those of others; without a registry, their rows say so."""
    for one in (install.install, install.install_fastmcp):
        try:
            one()
        except (subprocess.CalledProcessError, OSError) as error:
            said(f"without bridges of others: {error}")


def ratios(found: Found) -> Iterator[Ratio]:
    """Compare with the fastest bridge, and with the bare server in the same era."""
    bare = {one.era: one for one in found.bare if measured(one)}
    for one in filter(measured, found.ours):
        for count in COUNTS:
            yield from against(one, [*filter(measured, found.bridges)], count, MORE_THAN_BRIDGES)
            same = [bare[one.era]] if one.era in bare else []
            yield from against(one, same, count, MORE_THAN_BARE)


def against(
    one: OverHttp, others: Sequence[OverHttp], count: int, wanted: float
) -> Iterator[Ratio]:
    if not others:
        return
    best = max(others, key=lambda other: statistics.median(other.rate[count]))
    more = each(one.rate[count], best.rate[count])
    what = f"{one.name}: calls/s, {count} at a time, of {best.name}"
    yield Ratio(what, more, wanted, at_least=True)


def measured(one: OverHttp) -> bool:
    return not one.failed and bool(one.rate[MOST])
