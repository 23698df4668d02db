"""The Python transport beside the SDK's own: one server object, one client, other ways between.

What is compared is the whole call, as a program that uses the SDK sees it. Each client runs in a
process of its own, so that its CPU can be told.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nats

from tests.bench import programs
from tests.bench.client import BOUND, Era, Failed, within
from tests.bench.paths import Measured, Process, Way, answered, asked, piped
from tests.bench.programs import descendants
from tests.bench.ratios import Ratio, each
from tests.bench.rounds import Size, in_turn
from tests.natsd import NatsServer

SERVER = [sys.executable, "-m", "tests.bench.sdk_server"]
CLIENT = [sys.executable, "-m", "tests.bench.sdk_client"]
ERAS: tuple[Era, ...] = ("modern", "legacy")
FEW = 16
MOST_OF_STDIO = 1.3
"""What a call over NATS may cost, for each second of the same call over the SDK's stdio."""


class SdkClient:
    """The SDK's client in a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.cpu = 0.0
        """Seconds of CPU that it had for a call when it was asked last."""

    def sequential(self, seconds: float) -> list[float]:
        return list(self._ask(seconds, 1, "echo")["taken"])

    def big(self, seconds: float) -> list[float]:
        return list(self._ask(seconds, 1, "big")["taken"])

    def flood(self, seconds: float, in_flight: int) -> float:
        return float(self._ask(seconds, in_flight, "echo")["rate"])

    def _ask(self, seconds: float, in_flight: int, tool: str) -> Any:
        found = asked(self._process, seconds=seconds, in_flight=in_flight, tool=tool)
        self.cpu = found["cpu"]
        return found


@dataclass
class Transport(Measured):
    """One way of the SDK's client to the server, and what each round found on it."""

    few: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    """The client's own part of it."""

    def _round(self, way: Way, seconds: float) -> None:
        assert isinstance(way, SdkClient)
        super()._round(way, seconds)
        self.few.append(way.flood(seconds, FEW))
        self.client_cpu.append(way.cpu)


@dataclass(frozen=True, slots=True)
class Found:
    """All ways of one era."""

    era: Era
    memory: Transport
    stdio: Transport
    http: Transport
    nats: Transport

    @property
    def every(self) -> list[Transport]:
        return [self.memory, self.stdio, self.http, self.nats]


def measure(size: Size, folder: Path) -> list[Found]:
    with ExitStack() as stack:
        broker = stack.enter_context(NatsServer(folder / "nats"))
        ends = Ends(folder, stack, broker, programs.free_ports(1))
        found = [ends.open_all(era) for era in ERAS]
        in_turn("transport", [way for era in found for way in era.every], size)
    return found


class Ends:
    """The servers, each started once, and the clients that start from here."""

    def __init__(self, folder: Path, stack: ExitStack, broker: NatsServer, port: int) -> None:
        self._folder = folder
        self._stack = stack
        self._broker = broker
        self._url = f"http://127.0.0.1:{port}/mcp"
        self._http = self._serve(partial(programs.listens, port), "http", str(port))
        self._nats = self._serve(partial(on_bus, broker.url), "nats", broker.url)

    def open_all(self, era: Era) -> Found:
        broker = [self._broker.pid, *self._nats]
        return Found(
            era,
            self._open(era, "memory streams", [], "memory"),
            self._open(era, "stdio", [], "stdio"),
            self._open(era, "Streamable HTTP", self._http, "http", self._url),
            self._open(era, "mcpnatsd.transport", broker, "nats", self._broker.url),
        )

    def _serve(self, ready: programs.Ready, *role: str) -> list[int]:
        """Start the server; its clients will say it, if it does not run."""
        log = self._folder / f"server-{role[0]}.log"
        process = self._stack.enter_context(programs.running([*SERVER, *role], log))
        with suppress(Failed):
            programs.wait(ready, process, log)
        return [process.pid]

    def _open(self, era: Era, name: str, serving: list[int], *role: str) -> Transport:
        log = self._folder / f"client-{era}-{role[0]}.log"
        process = self._stack.enter_context(piped([*CLIENT, era, *role], log))
        try:
            with within(BOUND):
                answered(process)
            pids = (process.pid, *descendants(process.pid), *serving)
            return Transport(f"{name}, {era}", SdkClient(process), pids=pids)
        except (Failed, OSError) as error:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            return Transport(f"{name}, {era}", None, failed=last or str(error))


def on_bus(url: str) -> bool:
    """Tell whether anything answers discovery."""

    async def ask() -> None:
        connection = await nats.connect(url)
        try:
            await connection.request("$SRV.PING", timeout=1)
        finally:
            await connection.close()

    try:
        asyncio.run(ask())
    except (nats.errors.Error, OSError):
        return False
    return True


def ratios(found: Found) -> Iterator[Ratio]:
    """Compare with both transports of the SDK, and with what none can go below."""
    one, stdio, http = found.nats, found.stdio, found.http
    if not one.rate:
        return
    if stdio.rate:
        yield Ratio(f"{one.name}: p50, of stdio's", each(one.p50, stdio.p50), MOST_OF_STDIO)
        cpu = each(one.client_cpu, stdio.client_cpu)
        yield Ratio(f"{one.name}: CPU of the client, of stdio's", cpu, MOST_OF_STDIO)
        yield Ratio(f"{one.name}: CPU of all processes, of stdio's", each(one.cpu, stdio.cpu))
        yield Ratio(f"{one.name}: 500 KB, of stdio's", each(one.big, stdio.big))
        for what, rate, plain in rates(one, stdio):
            cost = each(plain, rate)
            yield Ratio(f"{one.name}: time a call, {what}, of stdio's", cost, MOST_OF_STDIO)
    if http.rate:
        faster = each(http.p50, one.p50)
        yield Ratio(f"{one.name}: p50, faster than HTTP", faster, 1, at_least=True)
        yield Ratio(f"{one.name}: 500 KB, faster than HTTP", each(http.big, one.big))
        for what, rate, plain in rates(one, http):
            more = each(rate, plain)
            yield Ratio(f"{one.name}: calls/s, {what}, of HTTP's", more, 1, at_least=True)


def rates(
    one: Transport, other: Transport
) -> Iterator[tuple[str, Sequence[float], Sequence[float]]]:
    yield f"{FEW} in flight", one.few, other.few
    yield f"{one.in_flight} in flight", one.rate, other.rate
