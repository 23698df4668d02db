"""Every exception mcpnatsd raises on purpose.

McpnatsdError
├── UsageError                the command line is wrong
├── Reported                  an error that came over the wire, passed on as it is
├── NoDaemon                  none runs on this machine, or it does not answer
├── ConfigError               the file is wrong; nothing was changed
│   └── RestartRequired       the file is right, but what it changes cannot change live
├── ProtocolError
│   ├── LocalProtocolError    we misused the core: a bug of ours
│   └── RemoteProtocolError   the peer broke JSON-RPC or MCP
│       ├── ParseError        what it sent is not JSON
│       ├── Mismatch          subject, headers and body name different things
│       └── Refused           `tools: allow/deny` says no
├── HttpRefused               an HTTP request is against the rules; it has a status
├── TooLarge                  a message is over a limit, which the text names
├── EraMismatch               client and server have no revision in common
├── BusError                  NATS is away, or refused us
│   ├── BrokerAway            not connected: nothing was sent
│   ├── NoResponders          nobody serves that subject
│   ├── Forbidden             NATS denies this user that subject
│   └── InstanceLost          whoever held the call is gone
└── BackendError              the MCP server cannot be started, or is gone
    ├── ProcessDied           it ended; its last lines of stderr are quoted
    ├── Busy                  it, or its reader, does not keep up
    └── CallTimeout           it did not answer within `call_timeout`

Codes of ours lie outside the range that JSON-RPC and MCP reserve (WIRE.md, "Errors of ours").
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum


class Outcome(StrEnum):
    """What is known of a call that got no answer."""

    UNKNOWN = "unknown"
    """It may have run."""

    NOT_EXECUTED = "not-executed"
    """Its bytes never left the caller, or were refused before they reached a server."""


class McpnatsdError(Exception):
    """Base of the tree. Carries how the error looks from outside."""

    jsonrpc_code: int = -32603
    exit_code: int = 1

    @property
    def data(self) -> Mapping[str, object] | None:
        """Return the `data` member of the JSON-RPC error, if there is one."""
        return None


class UsageError(McpnatsdError):
    exit_code = 64  # EX_USAGE


class Reported(McpnatsdError):
    """An error that came over the wire, passed on with its own code and data."""

    def __init__(self, code: int, text: str, data: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.jsonrpc_code = code
        self.exit_code = next((one.exit_code for one in _tree() if one.jsonrpc_code == code), 1)
        self._data = data

    @property
    def data(self) -> Mapping[str, object] | None:
        return self._data


class NoDaemon(McpnatsdError):
    exit_code = 69  # EX_UNAVAILABLE


class ConfigError(McpnatsdError):
    exit_code = 78  # EX_CONFIG


class RestartRequired(ConfigError):
    pass


class ProtocolError(McpnatsdError):
    pass


class LocalProtocolError(ProtocolError):
    exit_code = 70  # EX_SOFTWARE


class RemoteProtocolError(ProtocolError):
    jsonrpc_code = -32600
    exit_code = 76  # EX_PROTOCOL


class ParseError(RemoteProtocolError):
    jsonrpc_code = -32700


class Mismatch(RemoteProtocolError):
    jsonrpc_code = -32020


class Refused(RemoteProtocolError):
    jsonrpc_code = -31002
    exit_code = 77  # EX_NOPERM


class HttpRefused(McpnatsdError):
    """An HTTP request that goes no further."""

    jsonrpc_code = -32600

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


class TooLarge(McpnatsdError):
    jsonrpc_code = -31003
    exit_code = 65  # EX_DATAERR


class EraMismatch(McpnatsdError):
    """Client and server have no revision in common.

    `supported` are the server's revisions, `requested` is the client's: the same members as in
    MCP's own UnsupportedProtocolVersionError (2026-07-28, Basic, Versioning).
    """

    jsonrpc_code = -31006
    exit_code = 76

    def __init__(self, text: str, *, supported: tuple[str, ...] = (), requested: str = "") -> None:
        super().__init__(text)
        self.supported = supported
        self.requested = requested

    @property
    def data(self) -> Mapping[str, object]:
        return {"supported": list(self.supported), "requested": self.requested}


class BusError(McpnatsdError):
    exit_code = 69  # EX_UNAVAILABLE


class InstanceLost(BusError):
    """Whoever held the call is gone, or the broker is."""

    jsonrpc_code = -31005

    def __init__(self, text: str, *, outcome: Outcome = Outcome.UNKNOWN) -> None:
        super().__init__(text)
        self.outcome = outcome

    @property
    def data(self) -> Mapping[str, object]:
        return {"outcome": str(self.outcome)}


class BrokerAway(InstanceLost):
    """Not connected: nothing was sent."""

    def __init__(self, text: str) -> None:
        super().__init__(text, outcome=Outcome.NOT_EXECUTED)


class NoResponders(BusError):
    jsonrpc_code = -31001


class Forbidden(BusError):
    jsonrpc_code = -31002
    exit_code = 77  # EX_NOPERM


class BackendError(McpnatsdError):
    jsonrpc_code = -31004
    exit_code = 69


class ProcessDied(BackendError):
    pass


class Busy(BackendError):
    jsonrpc_code = -31007
    exit_code = 75  # EX_TEMPFAIL


class CallTimeout(BackendError):
    jsonrpc_code = -31008
    exit_code = 75


def _tree(root: type[McpnatsdError] = McpnatsdError) -> Iterator[type[McpnatsdError]]:
    for one in root.__subclasses__():
        if "jsonrpc_code" in vars(one):
            yield one
        yield from _tree(one)
