"""What of a daemon its status and its greeting show."""

from dataclasses import dataclass
from pathlib import Path

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.bus.connection import Connection
from mcpnatsd.daemon.endpoints import Closed, Frontend
from mcpnatsd.daemon.reload import Reloader


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The daemon's parts, to look at."""

    name: str
    version: str
    path: Path
    started_at: float
    connection: Connection
    embedded: bool
    draining: bool
    """Whether it leaves the bus, because it stops or because `/drain` was asked for."""

    bridges: tuple[Bridge, ...]
    leaving: tuple[Bridge, ...]
    """Those that a reload replaced or removed, while they finish what is open."""

    reloader: Reloader
    frontends: tuple[Frontend, ...]
    closed: tuple[Closed, ...]
    """Endpoints that could not be opened."""
