"""How long a program takes from its start to the first answer, and what it keeps in memory."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tests.bench.client import Client, Era, Failed
from tests.bench.programs import descendants, rss_mib

IMPORTS = "import asyncio, nats.aio.client, uvloop, msgspec"
CALLS = 100  # before the memory is looked at

Start = Callable[[], tuple[float, float]]
"""Returns the seconds, and MiB where there is an answer to wait for."""


@dataclass(slots=True)
class Started:
    """One program, started again and again."""

    name: str
    start: Start
    times: int
    seconds: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    failed: str = ""

    def round(self, number: int) -> None:
        """Start it once more, unless it had its rounds, or failed."""
        if number >= self.times or self.failed:
            return
        try:
            seconds, rss = self.start()
        except (Failed, OSError) as error:
            self.failed = str(error)
        else:
            self.seconds.append(seconds)
            self.rss.append(rss)


def python(code: str) -> Start:
    def start() -> tuple[float, float]:
        began = perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return perf_counter() - began, 0.0

    return start


def bridge(argv: Sequence[str], era: Era, log: Path, env: Mapping[str, str] | None) -> Start:
    def start() -> tuple[float, float]:
        client = Client(argv, era, log, env)
        try:
            seconds = client.first_answer()
            client.call(CALLS)
            pid = client.process.pid
            return seconds, sum(map(rss_mib, (pid, *descendants(pid))))
        finally:
            client.close()

    return start
