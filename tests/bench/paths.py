"""The ways from a client to the server, each measured alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.bench.client import BOUND, Client, Era, Failed, Lines, within

Process = subprocess.Popen[bytes]
NATSPY = [sys.executable, str(Path(__file__).with_name("natspy.py"))]


class Way(Protocol):
    """Something that takes calls."""

    def sequential(self, seconds: float) -> list[float]: ...

    def big(self, seconds: float) -> list[float]: ...

    def flood(self, seconds: float, in_flight: int) -> float: ...


@dataclass(slots=True)
class Measured:
    """One way, and what each round found on it."""

    name: str
    way: Way | None
    in_flight: int = 64
    large: bool = True
    pids: Sequence[int] = ()
    """The processes whose CPU is counted while calls are in flight."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    big: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Seconds for a call."""

    failed: str = ""

    def warm(self, seconds: float) -> None:
        """Let it compile and allocate what it will, uncounted."""
        self._try(lambda way: way.flood(seconds, self.in_flight))

    def round(self, seconds: float) -> None:
        """Measure once more."""
        self._try(lambda way: self._round(way, seconds))

    def _spent(self) -> float:
        return sum(map(cpu_seconds, self.pids))

    def _try(self, do: Callable[[Way], object]) -> None:
        """Do something with the way, unless it failed before."""
        if self.failed or self.way is None:
            return
        try:
            do(self.way)
        except (Failed, OSError) as error:
            self.failed = str(error)

    def _round(self, way: Way, seconds: float) -> None:
        taken = sorted(way.sequential(seconds))
        self.p50.append(statistics.median(taken))
        self.p99.append(taken[int(len(taken) * 0.99)])
        before = self._spent()
        rate = way.flood(seconds, self.in_flight)
        self.rate.append(rate)
        self.cpu.append((self._spent() - before) / (rate * seconds))
        if self.large:
            self.big.append(statistics.median(way.big(seconds / 2)))


class NatsPy:
    """nats-py on both sides, each in a process of its own."""

    def __init__(self, url: str, stack: ExitStack, *options: str) -> None:
        self._answering = stack.enter_context(piped([*NATSPY, "serve", url, *options]))
        with within(BOUND):
            answered(self._answering)
        self._asking = stack.enter_context(piped([*NATSPY, "ask", url, *options]))

    def sequential(self, seconds: float) -> list[float]:
        return self._ask(seconds, 1, "echo")[0]

    def big(self, seconds: float) -> list[float]:
        return self._ask(seconds, 1, "big")[0]

    def flood(self, seconds: float, in_flight: int) -> float:
        return self._ask(seconds, in_flight, "echo")[1]

    def _ask(self, seconds: float, in_flight: int, subject: str) -> tuple[list[float], float]:
        found = asked(self._asking, seconds=seconds, in_flight=in_flight, subject=subject)
        return found["taken"], found["rate"]


def asked(process: Process, *, seconds: float, **wish: Any) -> Any:
    """Have a program measure something; return what it found."""
    assert process.stdin is not None
    process.stdin.write(json.dumps({"seconds": seconds, **wish}).encode() + b"\n")
    process.stdin.flush()
    with within(seconds + BOUND):
        return answered(process)


def answered(process: Process) -> Any:
    """Return the next line of a program, which is JSON."""
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise Failed("it ended")
    return json.loads(line)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def piped(argv: list[str], log: Path | None = None) -> Iterator[Process]:
    """Run a program that ends when its stdin does; its stderr goes into a file, if one is named."""
    with (
        log.open("wb") if log else nullcontext() as stderr,
        subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def client(
    argv: Sequence[str],
    era: Era,
    log: Path,
    env: Mapping[str, str] | None,
    lines: Lines | None = None,
) -> Iterator[Client]:
    """Run a program that speaks MCP on its stdio, and greet it."""
    opened = Client(argv, era, log, env, lines)
    try:
        opened.greet()
        yield opened
    finally:
        opened.close()
