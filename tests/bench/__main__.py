"""Measures the program, its floor and others' bridges in one run: `python -m tests.bench [quick]`.

Nothing is asserted. The rounds of all ways are interleaved, so that a busy machine does not favour
one of them; what counts is the ratios.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import install, memory, programs, ratios, report, starting
from tests.bench.client import Era, Failed
from tests.bench.memory import Memory
from tests.bench.paths import Measured, NatsPy, Way, client
from tests.bench.programs import Daemon
from tests.bench.ratios import Found
from tests.bench.starting import Started
from tests.natsd import NatsServer, _program

RESULTS = Path(__file__).with_name("RESULTS.md")
ERAS: tuple[Era, ...] = ("modern", "legacy")


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    seconds: float
    starts: int


FULL = Size(rounds=5, seconds=2.0, starts=20)
QUICK = Size(rounds=2, seconds=0.5, starts=3)


class Bench:
    """Everything that runs meanwhile, in a folder that goes away."""

    def __init__(self, size: Size, stack: ExitStack) -> None:
        self._size = size
        self._stack = stack
        self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        self._nats = stack.enter_context(NatsServer(self._folder / "nats"))
        servers = {"bench": {"command": programs.SERVER}}
        daemon = programs.daemon(self._folder / "daemon", self._nats.url, servers)
        self._daemon: Daemon = stack.enter_context(daemon)
        self._peers = list(self._serving())

    def calls(self) -> Found:
        """Measure calls, round by round."""
        found = Found(
            Measured("plain stdio", self._shim(programs.SERVER, "modern")),
            Measured("nats-py", NatsPy(self._nats.url, self._stack)),
            [
                Measured("nats-py on uvloop", NatsPy(self._nats.url, self._stack, "uvloop")),
            ],
            [],
        )
        return found

    def _serving(self) -> Iterator[programs.Peer]:
        for peer in programs.peers(programs.free_ports(3)):
            self._stack.enter_context(programs.serving(peer, self._folder))
            yield peer
