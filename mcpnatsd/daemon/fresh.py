"""Who we are to NATS, as the configuration file says it now.

A secret may be rotated under a running daemon: `${file:…}` then holds another one. The one that was
good last is tried first, and the file's when NATS refuses it: a file may hold a wrong one.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from mcpnatsd.bus.client_bus import who_we_are
from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.bus.credentials import Settings
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.config.model import NatsConfig, TlsConfig
from mcpnatsd.errors import ConfigError, RestartRequired

log = logging.getLogger(__name__)

FRESH_FOR: Final = 1.0
"""Seconds for which what was read is good: an attempt to connect asks several times."""

_SECRETS: Final = ("credentials", "nkey", "token", "password")
"""And the user, unless the prefix has it: our clients ask as that one."""


async def refuse_another_user(connection: Connection, inbox: Inbox, settings: Settings) -> None:
    """See that NATS takes us for whom it took us so far; while it is away, nobody can tell.

    Raises:
        RestartRequired: It would not: our clients ask under a name that it would not let us use.
        BusError: It is not there, or refuses us.
    """
    if not connection.up:
        return
    other = await open_connection(settings, name=connection.name, wait=True)
    try:
        same = await who_we_are(other, Inbox(other)) == await who_we_are(connection, inbox)
    finally:
        await other.close()
    if not same:
        raise RestartRequired(
            "these credentials are another user's, and nats.prefix holds who we are: "
            "restart the daemon for that"
        )


class FreshNats:
    """The `nats:` section that runs; after each refusal its secrets are the file's, and back."""

    def __init__(
        self, first: NatsConfig, read: Callable[[], NatsConfig], refusals: Callable[[], int]
    ) -> None:
        """Take what is good now, what reads the file, and how often NATS refused us so far."""
        self._first = first
        self._read = read
        self._refusals = refusals
        self._refused_before = refusals()
        self._last = first
        self._read_at = time.monotonic()

    @property
    def urls(self) -> tuple[str, ...]:
        return self._first.urls

    @property
    def tls(self) -> TlsConfig | None:
        return self._first.tls

    @property
    def inbox_prefix(self) -> str:
        return self._first.inbox_prefix

    @property
    def credentials(self) -> str | None:
        return self._now().credentials

    @property
    def nkey(self) -> str | None:
        return self._now().nkey

    @property
    def token(self) -> Callable[[], str] | None:
        return None if self._first.token is None else lambda: self._now().token or ""

    @property
    def user(self) -> Callable[[], str] | None:
        return None if self._first.user is None else lambda: self._now().user or ""

    @property
    def password(self) -> Callable[[], str] | None:
        return None if self._first.password is None else lambda: self._now().password or ""

    def _now(self) -> NatsConfig:
        """Return whose turn it is. While the file is wrong, what it said last is good."""
        if (self._refusals() - self._refused_before) % 2 == 0:
            return self._first
        if time.monotonic() - self._read_at >= FRESH_FOR:
            self._read_at = time.monotonic()
            try:
                self._last = self._read_ours()
            except ConfigError as fault:
                log.warning("credentials not read again", extra={"error": str(fault)})
        return self._last

    def _read_ours(self) -> NatsConfig:
        """Return what the file says of the same NATS; of another one only a reload may speak."""
        found = self._read()
        return found if _without_secrets(found) == _without_secrets(self._first) else self._first


def _without_secrets(nats: NatsConfig) -> NatsConfig:
    """Return the rest of a section, and which secrets there are."""
    names = _SECRETS if "{" in nats.prefix else (*_SECRETS, "user")
    given: dict[str, Any] = {name: "given" for name in names if getattr(nats, name) is not None}
    return replace(nats, **given)
