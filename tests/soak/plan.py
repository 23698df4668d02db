"""What a soak consists of: how many of what, which servers, which clients, which files."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Era = Literal["modern", "legacy"]
Way = Literal["edge", "unix", "shim", "http"]
Fate = Literal["stable", "changing", "coming and going"]

SERVER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("server.py"))]
CALL_TIMEOUT = 30
IDLE_TIMEOUT = 10
SESSION_TIMEOUT = 20
KINDS: tuple[tuple[str, str], ...] = (
    ("both", "auto"), ("modern", "auto"), ("legacy", "auto"),
    ("both", "shared"), ("legacy", "shared"), ("both", "session"),
)  # fmt: skip
"""The era of a server, and who shares its process."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much, and how often. Times are in seconds."""

    seconds: float
    servers: int = 50
    clients: int = 200
    calls_a_second: float = 120.0
    sockets: int = 10
    shims: int = 8
    http_clients: int = 20
    reload_every: float = 4.0
    small_kill_every: float = 1.5
    big_kill_every: float = 20.0
    daemons_die_for: float = 0.6
    """Part of the time in which daemons are killed; in the rest their memory is watched."""


@dataclass(frozen=True, slots=True)
class Served:
    """One configured server."""

    name: str
    era: str
    isolation: str
    fate: Fate

    @property
    def knows_clients(self) -> bool:
        """Whether what it says of its client is that client: nobody else uses its process."""
        return self.isolation != "shared"

    def config(self, record: Path, version: int) -> dict[str, Any]:
        limits = {"call_timeout": CALL_TIMEOUT, "idle_timeout": IDLE_TIMEOUT, "stop_timeout": 1}
        return {
            "command": [*SERVER, self.name, str(record), self.era, str(version)],
            "isolation": self.isolation,
            "env": {"MCPNATSD_SOAK": "${env:MCPNATSD_SOAK}"},
            "limits": limits,
        }


@dataclass(frozen=True, slots=True)
class Who:
    """One client."""

    name: str
    era: Era
    way: Way
    server: Served
    asked: bool
    """Whether it can be asked by a server."""

    @property
    def is_balanced(self) -> bool:
        """Whether each of its calls may go to another instance: so the next goes to the newest."""
        apart = self.server.era == "legacy" or self.server.isolation == "session"
        return self.era == "modern" and not apart


def servers(size: Size) -> list[Served]:
    """Three of five stay as they are, one changes at reloads, one comes and goes."""
    fates: tuple[Fate, ...] = ("stable", "stable", "changing", "stable", "coming and going")
    return [
        Served(f"s{at}", *KINDS[at % len(KINDS)], fates[at % len(fates)])
        for at in range(size.servers)
    ]


def clients(size: Size, served: list[Served]) -> Iterator[Who]:
    """Spread the clients over eras, ways and servers, so that each meets each."""
    eras: tuple[Era, Era] = ("modern", "legacy")
    for at in range(size.clients):
        way = way_of(size, at)
        server = served[(at * 7 + at // len(served)) % len(served)]
        if way == "unix":
            server = served[at % size.sockets]
        era = eras[(at + at // len(served)) % 2]
        asked = at % 3 == 0 and way != "http" and server.isolation != "shared"
        yield Who(f"c{at}", era, way, server, asked)


def way_of(size: Size, at: int) -> Way:
    if at < size.shims:
        return "shim"
    if at < size.shims + size.http_clients:
        return "http"
    return "unix" if at % 4 == 0 else "edge"


def behind(nats_url: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The file of the daemon that has the servers."""
    return {"name": "behind", "nats": {"url": nats_url}, "servers": dict(found)}


def before(nats_url: str, sockets: Mapping[str, Path], port: int, extra: Path | None) -> Any:
    """The file of the daemon that clients come to. An extra socket comes and goes."""
    limits = {"session_timeout": SESSION_TIMEOUT}
    gateway = {"http": f"127.0.0.1:{port}", "servers": ["*"], "limits": limits}
    endpoints: list[dict[str, Any]] = [gateway]
    endpoints += [{"unix": str(path), "server": name} for name, path in sockets.items()]
    if extra is not None:
        endpoints.append({"unix": str(extra), "server": "s0"})
    return {"name": "before", "nats": {"url": nats_url}, "servers": {}, "endpoints": endpoints}
