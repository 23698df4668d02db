"""The subjects of the wire: from what a message names to where it is published.

No byte of a client reaches a subject raw, and no subject is ever decoded: whoever must know what
a subject stands for encodes the message's own method and name, then compares (WIRE.md, "Subjects").
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final, Self

from mcpnatsd.errors import ConfigError, UsageError

QUEUE_GROUP: Final = "mcpnatsd"
"""One name everywhere: two queue groups over overlapping subjects would run a call twice."""

MOST_BYTES: Final = 200
"""Of an encoded method, and of an encoded name. NATS ends a connection at 4096 bytes a line."""

RESPONSE: Final = "response"
"""Tail of a tunnel's client when it answers the server."""

CONTROL: Final = "control"
"""Tail of what tunnels say to each other, beside what their clients and servers say."""

NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods whose tail ends in what they name, and the member that names it."""

_SERVER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+|\{account\}|\{user\}")
_NOT_IN_ENDPOINT: Final = re.compile(r"[^A-Za-z0-9_-]|^_|_(?=[0-9A-F]{2})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def is_server_name(name: str) -> bool:
    """Say whether a name is one token `[A-Za-z0-9_-]`, at most 64 bytes."""
    return _SERVER.fullmatch(name) is not None


def checked_server(name: str) -> str:
    """Return the name of a server, if it can be one.

    Raises:
        UsageError: It cannot.
    """
    if not is_server_name(name):
        raise UsageError(f"{name!r} names no server: only letters, digits, _ and - may stand in it")
    return name


def encode_piece(piece: str) -> str:
    """Encode what must be exactly one token: every byte that is not plain is `=HH`."""
    if not piece:
        return "="
    return "".join(
        chr(byte) if byte in _PLAIN else f"={byte:02X}"
        for byte in piece.encode("utf-8", "surrogatepass")
    )


def encode_name(name: str) -> str:
    """Encode a tool's or prompt's name: `.` stays a level, so that a grant may say `admin.>`."""
    return _bounded(".".join(encode_piece(level) for level in name.split(".")), name)


def encode_method(method: str) -> str:
    """Encode a method: `/` becomes a level, `.` becomes `=2E`."""
    return _bounded(".".join(encode_piece(piece) for piece in method.split("/")), method)


def encode_uri(uri: str) -> str:
    """Encode a resource as `{scheme}.{SHA-256 of the URI}`: a grant may say `file.>`."""
    scheme, colon, _ = uri.partition(":")
    return f"{_bounded(encode_piece(scheme if colon else ''), scheme)}.{_digest(uri)}"


def encode_caller(name: str) -> str:
    """Encode the name of an account or a user: one token, however long it is."""
    return _bounded(encode_piece(name), name)


def tail(method: str, name: str | None = None) -> str:
    """Return the end of a request's subject: its method, and what the method names."""
    # A client may send many names of many megabytes: only what is short is worth remembering.
    short = len(method) + len(name or "") <= MOST_BYTES
    return _tail(method, name) if short else _tail.__wrapped__(method, name)


@lru_cache(maxsize=4096)
def _tail(method: str, name: str | None) -> str:
    head = encode_method(method)
    if name is None:
        return head
    if method == "resources/read":
        return f"{head}.{encode_uri(name)}"
    return f"{head}.{encode_name(name)}"


def endpoint_name(name: str) -> str:
    """Encode a name for ADR-32, whose endpoints are `[A-Za-z0-9_-]`: other bytes are `_XX`.

    `_` stays itself but at the start, which is kept free for names of ours, and before two digits
    that would make it look encoded. So no two names of up to 200 bytes share one.
    """
    text = _NOT_IN_ENDPOINT.sub(_escaped, name)
    return text if 0 < len(text) <= MOST_BYTES else f"_h{_digest(name)}"


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"_{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _bounded(encoded: str, original: str) -> str:
    return encoded if len(encoded) <= MOST_BYTES else f"=h{_digest(original)}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Prefix:
    """The configured prefix, with `{account}` and `{user}` where NATS enforces a caller's name."""

    tokens: tuple[str, ...]
    names_caller: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names_caller", any(token[0] == "{" for token in self.tokens))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a prefix.

        Raises:
            ConfigError: A token is neither `[A-Za-z0-9_-]+` nor a placeholder.
        """
        tokens = tuple(text.split("."))
        for token in tokens:
            if not _TOKEN.fullmatch(token):
                raise ConfigError(
                    f"nats.prefix {text!r}: {token!r} must be letters, digits, _ and -, "
                    "or {account} or {user}"
                )
        return cls(tokens)

    @property
    def listening(self) -> str:
        """How a daemon subscribes: any caller."""
        return ".".join("*" if token[0] == "{" else token for token in self.tokens)

    @property
    def plain(self) -> str:
        """Without the placeholders: for events and control, which no caller owns."""
        return ".".join(token for token in self.tokens if token[0] != "{")

    @property
    def names_user(self) -> bool:
        """Whether a caller's own name is part of it, beside its account's."""
        return "{user}" in self.tokens

    def in_account(self, account: str) -> Self:
        """Return the prefix of all users of one account."""
        own = encode_caller(account)
        return type(self)(tuple(own if one == "{account}" else one for one in self.tokens))

    def speaking(self, *, account: str = "", user: str = "") -> str:
        """How a client publishes: its own tokens filled in, as NATS enforces them."""
        own = {"{account}": encode_caller(account), "{user}": encode_caller(user)}
        return ".".join(own.get(token, token) for token in self.tokens)

    def caller_in(self, subject: list[bytes]) -> bytes:
        """Return the tokens of a subject that name its caller; empty where the prefix has none."""
        pairs = zip(self.tokens, subject, strict=False)
        return b".".join(token for own, token in pairs if own[0] == "{")


def request(prefix: str, server: str, tail: str) -> str:
    return f"{prefix}.req.{server}.{tail}"


def pinned(prefix: str, server: str, instance: str, id: str, tail: str) -> str:  # noqa: A002
    return f"{prefix}.ses.{server}.{instance}.{id}.{tail}"


def cancel(prefix: str, server: str) -> str:
    return f"{prefix}.cxl.{server}"


def event(plain_prefix: str, server: str, what: str) -> str:
    return f"{plain_prefix}.evt.{server}.{what}"
