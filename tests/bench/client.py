"""A raw MCP client that costs next to nothing: its lines are made beforehand, its pipes block."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from tests.running import META

Era = Literal["modern", "legacy"]

BOUND = 60.0
CHUNK = 1 << 16
RING = 4096
TEXT = "x" * 200
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


class Failed(Exception):
    """What is measured does not do what it should."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Requests made beforehand, taken in turn."""

    echo: list[bytes]
    big: bytes


@cache
def lines_of(era: Era) -> Lines:
    return lines({"_meta": META} if era == "modern" else {})


def can_be_asked() -> Lines:
    """Return the lines of a modern client that answers elicitation."""
    declared: dict[str, Any] = {"elicitation": {"form": {}}}
    return lines({"_meta": {**META, "io.modelcontextprotocol/clientCapabilities": declared}})


def lines(more: dict[str, Any]) -> Lines:
    # Twice the ring: a slice never has to wrap. Id 0 belongs to the handshake.
    echo = [call(id, "echo", {"text": TEXT}, more) for id in range(1, RING + 1)]
    return Lines(echo * 2, call(RING + 1, "big", {"bytes": 500_000}, more))


def line(id: int, method: str, params: dict[str, Any]) -> bytes:
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def call(id: int, tool: str, arguments: dict[str, Any], more: dict[str, Any]) -> bytes:
    return line(id, "tools/call", {"name": tool, "arguments": arguments, **more})


def initialize() -> bytes:
    info = {"name": "bench", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    return line(0, "initialize", params)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Failed` in what blocks for longer. It costs nothing while nothing goes wrong."""

    def late(*_: object) -> None:
        raise Failed(f"no answer within {seconds:g} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Client:
    """A process that speaks MCP on its stdio, and the client of it."""

    def __init__(
        self,
        argv: Sequence[str],
        era: Era,
        log: Path,
        env: Mapping[str, str] | None = None,
        lines: Lines | None = None,
    ) -> None:
        self.era: Era = era
        self.log = log
        self._lines = lines or lines_of(era)
        self._next = 0
        self._began = perf_counter()
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                argv, bufsize=0, env=env, stderr=stderr,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in = self.process.stdin.fileno()
        self._out = self.process.stdout.fileno()

    def greet(self) -> None:
        """Do what the era wants first; then see that calls are answered, one line each."""
        self.first_answer()
        self.call(20)

    def first_answer(self) -> float:
        """Return how long after its start it answered the first request of the era."""
        with within(BOUND):
            self._ask(initialize() if self.era == "legacy" else self._take(1))
            took = perf_counter() - self._began
            if self.era == "legacy":
                os.write(self._in, INITIALIZED)
        return took

    def call(self, times: int) -> None:
        with within(BOUND):
            for _ in range(times):
                self._ask(self._take(1))

    def sequential(self, seconds: float) -> list[float]:
        """Call `echo`, one call at a time; return how long each took."""
        return self._timed(self._lines.echo[:RING], seconds)

    def big(self, seconds: float) -> list[float]:
        """Call for 500 KB, one call at a time; return how long each took."""
        return self._timed([self._lines.big], seconds)

    def flood(self, seconds: float, in_flight: int) -> float:
        """Keep calls in flight; return how many were answered in a second."""
        with within(seconds + BOUND):
            os.write(self._in, self._take(in_flight))
            answered, began = 0, perf_counter()
            while (took := perf_counter() - began) < seconds:
                fresh = self._read()
                answered += fresh
                os.write(self._in, self._take(fresh))
            while in_flight > 0:
                in_flight -= self._read()
        return answered / took

    def close(self) -> None:
        """End it as hosts do: its stdin first."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _timed(self, lines: list[bytes], seconds: float) -> list[float]:
        taken: list[float] = []
        with within(seconds + BOUND):
            last = perf_counter()
            end = last + seconds
            while last < end:
                self._ask(lines[len(taken) % len(lines)])
                now = perf_counter()
                taken.append(now - last)
                last = now
        return taken

    def _ask(self, request: bytes) -> None:
        os.write(self._in, request)
        data = os.read(self._out, CHUNK)
        while not data.endswith(b"\n"):
            self._check(data)
            data = os.read(self._out, CHUNK)
        self._check(data)

    def _take(self, count: int) -> bytes:
        start = self._next
        self._next = (start + count) % RING
        return b"".join(self._lines.echo[start : start + count])

    def _read(self) -> int:
        data = os.read(self._out, CHUNK)
        self._check(data)
        return data.count(b"\n")

    def _check(self, data: bytes) -> None:
        if not data:
            raise Failed(f"it ended: {self.log.read_text(errors='replace')[-500:]}")
        if b'"error":' in data:
            raise Failed(f"it answered: {data[:500]!r}")
