"""How a client finds NATS: flags, the environment, a daemon of this machine, the default.

The configuration file is never read for this: it may be somebody else's, and reading it is slow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mcpnatsd.config import runtime
from mcpnatsd.config.model import NatsConfig, TlsConfig
from mcpnatsd.errors import UsageError

VARIABLES: Final = {
    "nats": "MCPNATSD_NATS_URL",
    "creds": "MCPNATSD_CREDS",
    "nkey": "MCPNATSD_NKEY",
    "token": "MCPNATSD_TOKEN",
    "user": "MCPNATSD_USER",
    "password": "MCPNATSD_PASSWORD",
    "tls_ca": "MCPNATSD_TLS_CA",
    "tls_cert": "MCPNATSD_TLS_CERT",
    "tls_key": "MCPNATSD_TLS_KEY",
    "prefix": "MCPNATSD_PREFIX",
    "inbox_prefix": "MCPNATSD_INBOX_PREFIX",
    "name": "MCPNATSD_NAME",
}
"""Each flag, and the variable that stands in for it."""

_SCHEMES: Final = ("nats", "tls", "ws", "wss")
_FILES: Final = ("creds", "nkey", "tls_ca", "tls_cert", "tls_key")
_IDENTITY: Final = ("creds", "nkey", "token", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(NatsConfig):
    """How to reach NATS, and who said so."""

    where: str
    """For messages: `--nats`, a variable, a daemon's file, or the default."""


def resolve(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> ClientSettings:
    """Put together what the flags, the environment and a running daemon say, in this order.

    Raises:
        UsageError: They do not go together, or leave open which daemon is meant.
    """
    given = {flag: flags.get(flag) or environ.get(VARIABLES[flag]) or None for flag in VARIABLES}
    if (given["tls_cert"] is None) != (given["tls_key"] is None):
        raise UsageError("--tls-cert and --tls-key go together")
    if given["password"] is not None and given["user"] is None:
        raise UsageError("--password needs --user")
    _refuse_missing(given)
    if given["nats"] is None:
        return _found(given, environ)
    where = "--nats" if flags.get("nats") else VARIABLES["nats"]
    urls = tuple(filter(None, (url.strip() for url in given["nats"].split(","))))
    if not urls:
        raise UsageError(f"{where} holds no URL; nats://127.0.0.1:4222 is one")
    for url in urls:
        if wrong := wrong_with(url):
            raise UsageError(f"{where}: {wrong}")
    return _settings(given, urls, where)


def wrong_with(url: str) -> str | None:
    """Say why a URL cannot be NATS; None when it can. A password in it is never repeated."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    if parts.scheme not in _SCHEMES:
        return f"NATS does not speak {parts.scheme}://; nats://127.0.0.1:4222 is a URL of it"
    try:
        port = parts.port
    except ValueError:
        port = 0
    return (
        f"the port of {parts.hostname or 'the URL'} is none: 1 to 65535 are" if port == 0 else None
    )


def _refuse_missing(given: Mapping[str, str | None]) -> None:
    for flag in _FILES:
        path = given[flag]
        if path is not None and not Path(path).expanduser().exists():
            raise UsageError(f"--{flag.replace('_', '-')}: there is no file {path}")


def _found(given: Mapping[str, str | None], environ: Mapping[str, str]) -> ClientSettings:
    found = runtime.find_daemon(environ, given["name"])
    if found is None:
        return _settings(given, NatsConfig().urls, "the default; no daemon runs here")
    path, daemon = found
    own = {**given, "prefix": given["prefix"] or daemon.prefix}
    if not any(given[flag] for flag in _IDENTITY):
        own["token"] = daemon.token
    return _settings(own, daemon.urls, str(path))


def _settings(given: Mapping[str, str | None], urls: tuple[str, ...], where: str) -> ClientSettings:
    default = NatsConfig()
    tls = TlsConfig(ca=given["tls_ca"], cert=given["tls_cert"], key=given["tls_key"])
    return ClientSettings(
        urls=urls,
        prefix=given["prefix"] or default.prefix,
        credentials=given["creds"],
        nkey=given["nkey"],
        token=given["token"],
        user=given["user"],
        password=given["password"],
        tls=None if tls == TlsConfig() else tls,
        inbox_prefix=given["inbox_prefix"] or default.inbox_prefix,
        where=where,
    )
