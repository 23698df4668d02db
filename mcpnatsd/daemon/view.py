"""What of a daemon its status and its greeting show."""

from dataclasses import dataclass
from pathlib import Path

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.bus.connection import Connection
from mcpnatsd.daemon.endpoints import Frontend


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The daemon's parts, to look at."""

    name: str
    version: str
    path: Path
    started_at: float
    connection: Connection
    embedded: bool
    bridges: tuple[Bridge, ...]
    frontends: tuple[Frontend, ...]
