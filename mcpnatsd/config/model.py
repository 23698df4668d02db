"""The configuration, once it is known to be right.

Instances are values: frozen, comparable and without I/O. Nothing is checked here: `schema.json`
says what a file may hold, `load.py` reads one, and a unit test holds schema and fields to the
same names and defaults. Only the standard library is imported, because the shim starts with this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

_KIB = 1024
_MIB = 1024 * _KIB


class Isolation(StrEnum):
    """Who shares a server's process."""

    AUTO = "auto"
    """Modern clients share one, each legacy session has its own."""

    SHARED = "shared"
    """One process for everybody, legacy sessions too."""

    SESSION = "session"
    """One process per client."""


class EraChoice(StrEnum):
    """Which era a server speaks."""

    AUTO = "auto"
    """Find out, and remember."""

    MODERN = "modern"
    LEGACY = "legacy"


class Start(StrEnum):
    """When a server's process is started."""

    LAZY = "lazy"
    """With its first request."""

    EAGER = "eager"
    """With the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """A nats-server that the daemon runs for itself, on the loopback interface."""

    port: int = 0
    """0 is a free one."""

    store: str | None = None
    """JetStream's folder; absent, there is no JetStream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files for TLS towards NATS, in PEM."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    first: bool = False
    """Start TLS before NATS says INFO, as a server with `handshake_first` wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsConfig:
    """How to reach NATS, who we are there, and under which subjects we speak."""

    urls: tuple[str, ...] = field(default=("nats://127.0.0.1:4222",), repr=False)
    """A URL may hold a password, so it is not in `repr`."""

    embedded: EmbeddedConfig | None = None
    """Present: run this nats-server, and leave `urls` alone. A file's `url` makes it absent."""

    prefix: str = "mcp"
    """First tokens of every subject. `{account}` and `{user}` stand for the caller's own."""

    credentials: str | None = field(default=None, repr=False)
    """Path of a .creds file, or its content: that holds "BEGIN NATS USER JWT"."""

    nkey: str | None = field(default=None, repr=False)
    """A seed, or the path of a file that holds one."""

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsConfig | None = None
    inbox_prefix: str = "_INBOX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much, and how long. Times are in seconds."""

    line_bytes: int = 8 * _MIB
    """Largest message sent to the server."""

    output_line_bytes: int = 16 * _MIB
    """Largest line read from it."""

    start_timeout: float = 120.0
    call_timeout: float = 600.0

    idle_timeout: float = 300.0
    """0 keeps an idle process for ever."""

    stop_timeout: float = 2.0
    """From closing stdin to SIGTERM, and again from SIGTERM to SIGKILL."""

    concurrency: int = 64
    """Requests in flight on one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFilter:
    """Which tools can be seen and called: shell patterns, and `deny` wins."""

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One MCP server that the daemon starts and serves on the bus."""

    name: str
    """Key under `servers:`. It is a token of the subject."""

    command: tuple[str, ...]
    """Program and arguments. Never a shell line."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the small environment that every server gets."""

    cwd: str | None = None
    isolation: Isolation = Isolation.AUTO
    era: EraChoice = EraChoice.AUTO
    start: Start = Start.LAZY
    limits: Limits = Limits()
    tools: ToolFilter = ToolFilter()

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixEndpoint:
    """A socket where local clients reach one server of the bus."""

    path: str
    server: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that one daemon is told."""

    name: str = "mcpnatsd"
    """Tells this daemon from others on the same host."""

    nats: NatsConfig = NatsConfig()
    servers: Mapping[str, ServerConfig] = field(default_factory=dict)
    endpoints: tuple[UnixEndpoint, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "servers", MappingProxyType(dict(self.servers)))
