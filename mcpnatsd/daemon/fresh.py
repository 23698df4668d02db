"""Who we are to NATS, as the configuration file says it now.

A secret may be rotated under a running daemon: `${file:…}` then holds another one. Everything but
the secrets stays what it was at the start.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from mcpnatsd.config.model import NatsConfig, TlsConfig
from mcpnatsd.errors import ConfigError

log = logging.getLogger(__name__)

FRESH_FOR: Final = 1.0
"""Seconds for which what was read is good: an attempt to connect asks several times."""


class FreshNats:
    """The `nats:` section; its secrets are read anew for each connection."""

    def __init__(self, first: NatsConfig, read: Callable[[], NatsConfig]) -> None:
        self._first = first
        self._read = read
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
        """Read the file again; while it is wrong, what it said last is good."""
        if time.monotonic() - self._read_at >= FRESH_FOR:
            self._read_at = time.monotonic()
            try:
                self._last = self._read()
            except ConfigError as fault:
                log.warning("credentials not read again", extra={"error": str(fault)})
        return self._last
