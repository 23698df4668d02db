"""What a daemon keeps in memory: for servers that sleep, and for open sessions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import programs
from tests.bench.client import BOUND, Failed, within
from tests.bench.paths import piped
from tests.bench.programs import Daemon, descendants, rss_mib

IDLE = 100
TUNNELS = 50


@dataclass(frozen=True, slots=True)
class Memory:
    """In MiB. A reaper is the daemon's second process."""

    empty: float
    idle: float
    one_tunnel: float
    tunnels: float
    reaper: float

    @property
    def kib_per_idle_server(self) -> float:
        return (self.idle - self.empty) * 1024 / IDLE

    @property
    def kib_per_tunnel(self) -> float:
        return (self.tunnels - self.one_tunnel) * 1024 / (TUNNELS - 1)


def measure(folder: Path, nats_url: str) -> Memory:
    command = {"command": programs.SERVER}
    with programs.daemon(folder / "none", nats_url, {}) as daemon:
        empty = rss_mib(daemon.pid)
    idle_servers = {f"idle{number}": command for number in range(IDLE)}
    with programs.daemon(folder / "idle", nats_url, idle_servers) as daemon:
        idle = rss_mib(daemon.pid)
    with programs.daemon(folder / "tunnels", nats_url, {"bench": command}) as daemon:
        with opened(nats_url, 1):
            one = rss_mib(daemon.pid)
        with opened(nats_url, TUNNELS):
            return Memory(empty, idle, one, rss_mib(daemon.pid), reaper_mib(daemon))


@contextmanager
def opened(nats_url: str, count: int) -> Iterator[None]:
    """Hold that many legacy sessions open."""
    argv = [sys.executable, "-m", "tests.bench.tunnels", nats_url, str(count)]
    with piped(argv) as process, within(BOUND + count):
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline() != b"open\n":
            raise Failed("sessions do not open")
        yield
        process.stdin.close()
        process.wait()


def reaper_mib(daemon: Daemon) -> float:
    """Return what the process that starts the servers keeps."""
    return max((rss_mib(pid) for pid in descendants(daemon.pid) if is_reaper(pid)), default=0.0)


def is_reaper(pid: int) -> bool:
    return b"reaper" in Path(f"/proc/{pid}/cmdline").read_bytes()
