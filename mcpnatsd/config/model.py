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


class Transport(StrEnum):
    """How a server with a URL speaks HTTP."""

    AUTO = "auto"
    """Streamable HTTP, and the older one where that is refused."""

    HTTP = "http"
    SSE = "sse"
    """HTTP+SSE of revision 2024-11-05."""


class Level(StrEnum):
    """From which severity on the log holds a line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


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
    """One MCP server that the daemon serves on the bus: a process of its own, or one at a URL."""

    name: str
    """Key under `servers:`. It is a token of the subject."""

    command: tuple[str, ...] = ()
    """Program and arguments. Never a shell line. Empty: it runs elsewhere, at `url`."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the small environment that every server gets."""

    cwd: str | None = None
    url: str | None = field(default=None, repr=False)
    """Where it listens, if we do not start it ourselves. It may hold a secret."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with each of our requests to `url`."""

    transport: Transport = Transport.AUTO
    isolation: Isolation = Isolation.AUTO
    era: EraChoice = EraChoice.AUTO
    start: Start = Start.LAZY
    limits: Limits = Limits()
    tools: ToolFilter = ToolFilter()

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixEndpoint:
    """A socket where local clients reach one server of the bus."""

    path: str
    server: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTls:
    """Files for HTTPS, in PEM."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtConfig:
    """Whose signed tokens let a client in."""

    jwks: str
    """URL of the issuer's keys."""

    issuer: str
    audience: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How much one listener takes. Times are in seconds."""

    body_bytes: int = 8 * _MIB
    """Largest message of a client."""

    requests: int = 4096
    """Answered or streamed at the same time."""

    sessions: int = 256
    """Of older clients, at the same time, that have a process each. Others may be more."""

    session_timeout: float = 1800.0
    """A session that nobody uses ends then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """An HTTP listener where clients reach servers of the bus, each under its name."""

    address: str
    servers: tuple[str, ...] = ("*",)
    """Which servers of the bus: shell patterns."""

    tls: HttpTls | None = None
    tokens: str | None = None
    """File of bearer tokens, a client and its token on each line."""

    jwt: JwtConfig | None = None
    secret: str | None = field(default=None, repr=False)
    """What the names of its callers on the bus are made with. Absent, a kept key of its own."""

    origins: tuple[str, ...] = ()
    """Web pages of other origins that may come, beside those of this machine."""

    hosts: tuple[str, ...] = ()
    """Names it is reached under, beside those of this machine."""

    limits: HttpLimits = HttpLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What the daemon writes about itself."""

    level: Level | None = None
    """Absent: LOG_LEVEL of the environment says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """A listener for probes and for Prometheus."""

    listen: str
    drain_from: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks whose hosts may have us drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that one daemon is told."""

    name: str = "mcpnatsd"
    """Tells this daemon from others on the same host."""

    log: LogConfig = LogConfig()
    nats: NatsConfig = NatsConfig()
    servers: Mapping[str, ServerConfig] = field(default_factory=dict)
    endpoints: tuple[UnixEndpoint | HttpEndpoint, ...] = ()
    metrics: MetricsConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "servers", MappingProxyType(dict(self.servers)))
