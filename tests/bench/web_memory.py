"""What the gateway keeps for those who only listen, and for those who never come back."""

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import programs
from tests.bench.client import BOUND, Failed, initialize, within
from tests.bench.programs import Daemon, rss_mib
from tests.bench.ratios import Ratio
from tests.bench.web_client import (
    OK,
    Place,
    ask,
    listen,
    modern_headers,
    open_session,
    read,
    session_headers,
)
from tests.natsd import NatsServer

LISTENERS = 1000
FIRST_LISTENERS = 50
MOST_KIB_EACH = 30
ABANDONED = 10_000
KEPT = 1000
GONE_AFTER = 1.0
MOST_GROWTH_MIB = 8
CAPPED = 8
TELLS = {"toolsListChanged": True}
SERVER = str(Path(__file__).parents[1] / "servers" / "asks_modern.py")
SERVERS: Mapping[str, Any] = {
    "new": {"command": [programs.SERVER[0], SERVER]},
    "old": {"command": [*programs.SERVER, "legacy"]},
}
RETRY = re.compile(rb"\r\nretry-after: *([^\r]+)", re.IGNORECASE)

Open = Callable[[socket.socket, Place], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """By one daemon, which has the server too. In KiB for a listener, and in MiB."""

    modern_listener: float
    legacy_listener: float
    few_abandoned: float
    """By a daemon without servers: one that has them keeps their last answers for a minute."""

    abandoned: float
    refused: str
    """What the session too many at a legacy server is told."""


@dataclass(frozen=True, slots=True)
class Here:
    """Where daemons run, one after the other."""

    folder: Path
    nats_url: str
    port: int

    @property
    def place(self) -> Place:
        return Place(self.port, "/mcp/new")

    @contextmanager
    def daemon(self, name: str, **limits: float) -> Iterator[Daemon]:
        """Run one that has the servers too."""
        endpoint = self.endpoint(limits)
        running = programs.daemon(self.folder / name, self.nats_url, SERVERS, endpoint)
        with running as daemon, within(BOUND * 4):
            yield daemon

    @contextmanager
    def apart(self, name: str, **limits: float) -> Iterator[Daemon]:
        """Run one that has no servers, beside another that has them."""
        serving = programs.daemon(self.folder / f"{name}-servers", self.nats_url, SERVERS)
        endpoint = self.endpoint(limits)
        running = programs.daemon(self.folder / name, self.nats_url, {}, endpoint)
        with serving, running as daemon, within(BOUND * 4):
            yield daemon

    def endpoint(self, limits: Mapping[str, float]) -> Mapping[str, Any]:
        return {"http": f"127.0.0.1:{self.port}", "limits": limits}


def measure(folder: Path) -> Kept:
    with NatsServer(folder / "nats") as nats:
        return kept(Here(folder, nats.url, programs.free_ports(1)))


def kept(here: Here) -> Kept:
    with here.daemon("listeners", sessions=LISTENERS + 1) as daemon:
        modern = grown(daemon, here.place, listen_modern)
    with here.daemon("streams", sessions=LISTENERS + 1) as daemon:
        legacy = grown(daemon, here.place, listen_legacy)
    with here.apart("abandoned", sessions=KEPT, session_timeout=GONE_AFTER) as daemon:
        few, many = abandoned(daemon, here.place)
    with here.daemon("capped", sessions=CAPPED):
        refused = refusal(Place(here.port, "/mcp/old"))
    return Kept(modern, legacy, few, many, refused)


def grown(daemon: Daemon, place: Place, begin: Open) -> float:
    """Return by how many KiB it grows with each listener."""
    with ExitStack() as stack:
        opened(place, FIRST_LISTENERS, begin, stack)
        before = rss_mib(daemon.pid)
        opened(place, LISTENERS - FIRST_LISTENERS, begin, stack)
        after = rss_mib(daemon.pid)
    return (after - before) * 1024 / (LISTENERS - FIRST_LISTENERS)


def opened(place: Place, count: int, begin: Open, stack: ExitStack) -> None:
    for _ in range(count):
        connection = stack.enter_context(place.connect())
        connection.settimeout(BOUND)
        begin(connection, place)


def listen_modern(connection: socket.socket, place: Place) -> None:
    """Subscribe; return when the server said so."""
    connection.sendall(place.post(listen(TELLS), *modern_headers("subscriptions/listen")))
    read_until(connection, b"subscriptions/acknowledged")


def listen_legacy(connection: socket.socket, place: Place) -> None:
    """Open a session, and the stream of what belongs to no request; return when it has begun."""
    session = open_session(connection, place)
    connection.sendall(place.get(*session_headers(session)))
    read_until(connection, b"id: ")


def read_until(connection: socket.socket, text: bytes) -> None:
    data = b""
    while text not in data:
        data += read(connection, data)
        if data and not OK.startswith(data[: len(OK)]):
            raise Failed(f"it answered {data[:500]!r}")


def abandoned(daemon: Daemon, place: Place) -> tuple[float, float]:
    """Open sessions and leave; return what is kept after some, and after many."""
    leave(place, KEPT)
    few = rss_mib(daemon.pid)
    for _ in range(ABANDONED // KEPT - 1):
        leave(place, KEPT)
    return few, rss_mib(daemon.pid)


def leave(place: Place, count: int) -> None:
    """Open that many sessions, each on a connection that then breaks off."""
    for _ in range(count):
        while True:
            with place.connect() as connection:
                answer = ask(connection, place.post(initialize().rstrip()))
            if answer.startswith(OK):
                break
            if not answer.startswith(b"HTTP/1.1 503"):
                raise Failed(f"no session: {answer[:500]!r}")
            time.sleep(GONE_AFTER / 4)  # those abandoned before make room


def refusal(place: Place) -> str:
    """Return what the session too many is told."""
    with ExitStack() as stack:
        opened(place, CAPPED, begin_session, stack)
        connection = stack.enter_context(place.connect())
        answer = ask(connection, place.post(initialize().rstrip()))
    status = answer.split(b" ", 2)[1].decode()
    found = RETRY.search(answer)
    return f"{status}, Retry-After: {found[1].decode() if found else 'none'}"


def begin_session(connection: socket.socket, place: Place) -> None:
    open_session(connection, place)


def ratios(kept: Kept) -> Iterator[Ratio]:
    of = f"of {LISTENERS:,}"
    yield Ratio(f"an idle subscription {of}, modern", kept.modern_listener, MOST_KIB_EACH, "KiB")
    yield Ratio(f"an idle GET stream {of}, legacy", kept.legacy_listener, MOST_KIB_EACH, "KiB")
    grown_by = kept.abandoned - kept.few_abandoned
    what = f"growth from {KEPT:,} to {ABANDONED:,} abandoned sessions"
    yield Ratio(what, grown_by, MOST_GROWTH_MIB, "MiB")
