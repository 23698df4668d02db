"""The files that a configuration names and leaves where they are: credentials, certificates.

Their content is no part of the configuration, so a change of it shows in their digests only.
"""

import os
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from mcpnatsd.config.model import Config, HttpEndpoint, NatsConfig, UnixEndpoint
from mcpnatsd.errors import ConfigError

MOST_BYTES: Final = 1024 * 1024
"""Of one of them: more is a mistake."""

_SECRET: Final = re.compile(
    r"\n|BEGIN |^\s*(S[A-Z][^/]{30,}|eyJ[\w.-]{30,}|[A-Za-z0-9+=_-]{50,})\s*$"
)
"""What no path looks like: several lines, a seed, a JWT."""


def is_seed(nkey: str) -> bool:
    """Say whether this is a user's seed itself, and not the path of a file with one."""
    text = nkey.strip()
    return text.startswith("SU") and text.isalnum()


def wrong_with_nkey(nkey: str) -> str | None:
    """Say what is wrong with `nats.nkey`, and never what it is: it may be a secret."""
    if is_seed(nkey) or not _SECRET.search(nkey):
        return None
    return "is neither a user's seed, SU…, nor the path of a file with one"


def wrong_with_credentials(credentials: str) -> str | None:
    """Say what is wrong with `nats.credentials`, and never what it is: it may be a secret."""
    if "BEGIN NATS USER JWT" in credentials or not _SECRET.search(credentials):
        return None
    return "is neither the path of a .creds file nor its content: that has a NATS USER JWT"


def located(file: str) -> Path:
    """Return where a file is; `~` is a home. Of a user whom nobody knows, it stays a name."""
    return Path(os.path.expanduser(file))  # noqa: PTH111  # Path's own raises for such a user


def nats_files(nats: NatsConfig) -> tuple[str, ...]:
    """Return the files that say who we are to NATS, and whom we trust there.

    An embedded NATS knows who we are: of it they say nothing.
    """
    if nats.embedded is not None:
        return ()
    tls = nats.tls
    named = [tls.ca, tls.cert, tls.key] if tls is not None else []
    if nats.credentials is not None and "BEGIN NATS USER JWT" not in nats.credentials:
        named.insert(0, nats.credentials)
    if nats.nkey is not None and not is_seed(nats.nkey):
        named.insert(0, nats.nkey)
    return tuple(one for one in named if one)


def endpoint_files(endpoint: UnixEndpoint | HttpEndpoint) -> tuple[str, ...]:
    """Return the files that an endpoint reads when it opens. Its tokens it reads as they change."""
    if not isinstance(endpoint, HttpEndpoint) or endpoint.tls is None:
        return ()
    return endpoint.tls.cert, endpoint.tls.key


def named_files(config: Config) -> tuple[str, ...]:
    """Return all of them."""
    found = list(nats_files(config.nats))
    for endpoint in config.endpoints:
        found += endpoint_files(endpoint)
    return tuple(dict.fromkeys(found))


def digests(files: Iterable[str]) -> dict[str, str]:
    """Return a hash of what each file holds now; empty for one that cannot be read."""
    return {file: _digest(file) for file in files}


def refuse_unreadable(files: Iterable[str]) -> None:
    """See that each of these files can be read.

    Raises:
        ConfigError: One cannot.
    """
    for file in files:
        try:
            _content(file)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"{file} cannot be read: {reason}") from None


def _digest(file: str) -> str:
    try:
        return sha256(_content(file)).hexdigest()
    except OSError:
        return ""


def _content(file: str) -> bytes:
    with located(file).open("rb") as opened:
        return opened.read(MOST_BYTES)
