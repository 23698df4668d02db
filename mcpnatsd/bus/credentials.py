"""Who we are to NATS, read anew for each connection.

A credential may be rotated under a running daemon. So a path stays a path, and is read when it is
needed; a file that is missing or half-written then only fails that one attempt.
"""

import base64
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mcpnatsd.errors import ConfigError

Secret = str | Callable[[], str]
"""A secret, or where to get what it is now."""


class Tls(Protocol):
    """What `nats.tls` says."""

    @property
    def ca(self) -> str | None: ...
    @property
    def cert(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def first(self) -> bool: ...


class Settings(Protocol):
    """What a connection needs to know of the configuration."""

    @property
    def urls(self) -> tuple[str, ...]: ...
    @property
    def credentials(self) -> str | None: ...
    @property
    def nkey(self) -> str | None: ...
    @property
    def token(self) -> Secret | None: ...
    @property
    def user(self) -> Secret | None: ...
    @property
    def password(self) -> Secret | None: ...
    @property
    def tls(self) -> Tls | None: ...
    @property
    def inbox_prefix(self) -> str: ...


def user_jwt(credentials: str) -> bytes:
    """Return the user's JWT out of a .creds file, or its content.

    Raises:
        ConfigError: There is none in it, or it cannot be read.
    """
    return _block(_creds_text(credentials), "NATS USER JWT")


def user_seed(credentials: str) -> bytes:
    """Return the user's seed out of a .creds file, or its content.

    Raises:
        ConfigError: There is none in it, or it cannot be read.
    """
    return _block(_creds_text(credentials), "USER NKEY SEED")


def nkey_seed(nkey: str) -> bytes:
    """Return the seed: `nkey` itself, or what the file of that name holds.

    Raises:
        ConfigError: The file cannot be read.
    """
    text = nkey.strip()
    if not (text.startswith("SU") and text.isalnum()):
        text = _text(nkey).strip()
    return text.encode()


def sign(seed: bytes, nonce: str) -> tuple[str, bytes]:
    """Return the public key that belongs to a seed, and the signature of the nonce.

    Raises:
        ConfigError: This is no seed.
    """
    import nkeys  # type: ignore[import-untyped]  # noqa: PLC0415  # few connections need it

    try:
        pair = nkeys.from_seed(bytearray(seed))
        return pair.public_key.decode(), base64.b64encode(pair.sign(nonce.encode()))
    except (ValueError, nkeys.NkeysError):
        raise ConfigError("nats: the nkey seed is not valid") from None


def tls_context(tls: Tls | None) -> ssl.SSLContext:
    """Return the context that `nats.tls` asks for, or one with the system's authorities.

    Raises:
        ConfigError: A file of it cannot be read.
    """
    context = ssl.create_default_context(cafile=_readable(tls.ca) if tls and tls.ca else None)
    if tls is not None and tls.cert is not None:
        context.load_cert_chain(_readable(tls.cert), _readable(tls.key) if tls.key else None)
    return context


def _located(file: str) -> Path:
    return Path(os.path.expanduser(file))  # noqa: PTH111  # Path's own raises for unknown users


def _creds_text(credentials: str) -> str:
    if "BEGIN NATS USER JWT" in credentials:
        return credentials
    return _text(credentials)


def _readable(file: str) -> Path:
    """Return where a file is that can be read: OpenSSL does not say which one it could not."""
    _text(file, errors="replace")  # it may be DER
    return _located(file)


def _text(file: str, errors: str = "strict") -> str:
    try:
        return _located(file).read_text("utf-8", errors)
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(f"{file} cannot be read: {reason}") from None


def _block(text: str, title: str) -> bytes:
    """Return the line between `-----BEGIN title-----` and its end."""
    lines = iter(text.splitlines())
    for line in lines:
        if f"BEGIN {title}" in line:
            return next(lines, "").strip().encode()
    raise ConfigError(f"nats.credentials: there is no {title} in it")
