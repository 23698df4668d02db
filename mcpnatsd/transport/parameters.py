"""What a Python program says of its place on NATS.

All of it is checked when the parameters are made, but for what only the machine can tell.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mcpnatsd.config.model import NatsConfig, TlsConfig
from mcpnatsd.config.settings import VARIABLES, resolve
from mcpnatsd.errors import UsageError
from mcpnatsd.protocol import subjects
from mcpnatsd.transport.checks import (
    check_listed,
    check_numbers,
    check_prefix,
    check_server,
    check_urls,
)

EVERY: Final = "*"
"""As `service_name` of a client: every server on the bus."""

_OURS: Final = "mcp."
_SHOWN: Final = "; `mcpnatsd list` shows what is there"
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsParameters:
    """How to reach NATS, and who we are there.

    What is left out is found as `mcpnatsd connect` finds it: in the environment
    (`MCPNATSD_NATS_URL`, `MCPNATSD_CREDS`, …), from a daemon of this machine, by default.
    """

    url: str | Sequence[str] = field(default="", repr=False)
    """`nats://`, `tls://`, `ws://` or `wss://`; several are one cluster. It may hold a password."""

    credentials: str | None = field(default=None, repr=False)
    """Path of a .creds file, or its content."""

    nkey: str | None = field(default=None, repr=False)
    """A seed, or the path of a file that holds one."""

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsConfig | None = None

    prefix: str = ""
    """First tokens of every subject, as the servers have it; `mcp` unless somebody said so."""

    inbox_prefix: str = ""
    """First tokens of reply subjects; `_INBOX` unless somebody said so."""

    def __post_init__(self) -> None:
        if self.password is not None and self.user is None:
            raise ValueError("a password needs a user")
        check_listed("url", self.url)
        check_urls(_listed(self.url))
        check_prefix(self.prefix)
        for path in (self.credentials, self.nkey):
            if path is not None and not _is_content(path) and not Path(path).expanduser().exists():
                raise ValueError(f"there is no file {path}")

    def nats(self) -> NatsConfig:
        """Return where NATS is and who we are, with what the environment adds.

        Raises:
            UsageError: Several daemons run on this machine, or what was said does not go together.
        """
        flags = {"nats": ",".join(_listed(self.url)), "prefix": self.prefix}
        environ = _without_identity(os.environ) if self._says_who else os.environ
        try:
            found = resolve({**flags, "inbox_prefix": self.inbox_prefix}, environ)
        except UsageError as fault:
            raise UsageError(f"{fault} (or say `url` and the rest in the parameters)") from None
        if self._says_who:
            found = replace(
                found,
                credentials=self.credentials,
                nkey=self.nkey,
                token=self.token,
                user=self.user,
                password=self.password,
            )
        return replace(found, tls=self.tls) if self.tls is not None else found

    @property
    def _says_who(self) -> bool:
        return any((self.credentials, self.nkey, self.token, self.user))


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsClientParameters(NatsParameters):
    """One MCP client, and the server it speaks to: `service_name` must be said, the rest may be.

    Raises:
        ValueError: A field cannot be right; the text says what to say instead.
    """

    service_name: str | Sequence[str]
    """Name of the server on the bus, as `mcpnatsd list` shows it; a list of them, or `*` for all:
    one session over several servers, whose tools then have the server's name in front."""

    client_id: str = ""
    """For people: NATS shows it as the name of the connection."""

    connect_timeout: float = 10.0
    """Seconds in which NATS must be there. Once it was, it may come and go."""

    def __post_init__(self) -> None:
        NatsParameters.__post_init__(self)
        check_listed("service_name", self.service_name)
        for name in self.servers:
            if name != EVERY:
                check_server(name, hint=_SHOWN)
        check_numbers(self, ["connect_timeout"])
        if not self.servers:
            raise ValueError("service_name names no server")
        if EVERY in self.servers and len(self.servers) > 1:
            raise ValueError('service_name is "*", or a list of names')

    @property
    def servers(self) -> tuple[str, ...]:
        """The names; `*` alone for all."""
        return tuple(dict.fromkeys(_listed(self.service_name)))

    @property
    def several(self) -> bool:
        """Whether the session is one over several servers."""
        return not isinstance(self.service_name, str) or self.service_name == EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServerParameters(NatsParameters):
    """One MCP server on the bus. Processes that serve the same name share its requests.

    `service_name` must be said, the rest may be.

    Raises:
        ValueError: A field cannot be right; the text says what to say instead.
    """

    service_name: str
    """Name of the server on the bus: letters, digits, `_` and `-`, at most 64."""

    server_id: str = ""
    """Id of this instance, another one for each; 16 random hex digits when left out."""

    description: str = ""
    """For people: the description that discovery shows."""

    version: str = ""
    """The version that discovery shows; what the server itself says, when left out."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """Added to what discovery shows. Keys that begin with `mcp.` are not free."""

    line_bytes: int = 8 * _MIB
    """Largest message that a client may send."""

    output_line_bytes: int = 16 * _MIB
    """Largest message of the server; a larger one is an error for whom it answered."""

    call_timeout: float = 600.0
    """Seconds in which a request must be answered."""

    concurrency: int = 64
    """Requests of the modern era at a time; more wait."""

    idle_timeout: float | None = None
    """Seconds without a request after which a connection to the server object ends, and its
    lifespan with it; 0 is never. When left out: never for a server of SDK 2, 300 s for one of
    SDK 1, where each client that speaks the modern era has a connection of its own."""

    drain_timeout: float = 30.0
    """Seconds that open requests have to finish when the server is stopped."""

    def __post_init__(self) -> None:
        NatsParameters.__post_init__(self)
        check_server(self.service_name)
        check_numbers(self, ["line_bytes", "output_line_bytes", "call_timeout", "concurrency"])
        check_numbers(self, ["drain_timeout"], zero=True)
        if self.idle_timeout is not None:
            check_numbers(self, ["idle_timeout"], zero=True)
        if self.server_id and not subjects.is_server_name(self.server_id):
            raise ValueError("server_id: letters, digits, _ and - only, at most 64")
        taken = sorted(key for key in self.metadata if key.startswith(_OURS))
        if taken:
            raise ValueError(f"metadata: keys of mcpnatsd's own begin with {_OURS!r}: {taken}")
        wrong = [key for key, value in self.metadata.items() if type(value) is not str]
        if wrong:
            raise ValueError(f"metadata: values are strings, as NATS wants them: {wrong}")
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))


def _listed(names: str | Sequence[str]) -> list[str]:
    if not isinstance(names, str):
        return list(names)
    return [names] if names else []


def _is_content(secret: str) -> bool:
    """Tell what was given as such from the path of a file."""
    return "BEGIN NATS USER JWT" in secret or (secret.startswith("SU") and "/" not in secret)


def _without_identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out who the environment says we are: the parameters say it."""
    variables = {VARIABLES[flag] for flag in ("creds", "nkey", "token", "user", "password")}
    return {name: value for name, value in environ.items() if name not in variables}
