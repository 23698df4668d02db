"""How the daemon is, in one line for a person: what `systemctl status` shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcpnatsd.daemon.draining import Draining
from mcpnatsd.daemon.view import View
from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol.discovery import State

MOST_NAMED: Final = 5
"""Failing servers, and endpoints that are not open, that are named; all are counted."""

RATE_OVER: Final = 1.0
"""Seconds that a rate of calls is taken over, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a line tells."""

    servers: int = 0
    endpoints: int = 0
    closed: tuple[str, ...] = ()
    """Where an endpoint should be open and is not."""

    clients: int = 0
    calls_per_second: float = 0.0
    failing: tuple[str, ...] = ()
    trouble: str | None = None
    """What is wrong with the connection to NATS."""

    refused: str | None = None
    """Why what the files say is not what runs."""

    draining: str | None = None
    """What is still open, once no new request is taken."""

    def line(self) -> str:
        """Return what a person wants to know first."""
        if self.draining is not None:
            return f"draining, open: {self.draining}"
        first = [self.trouble] if self.trouble else []
        line = ", ".join([*first, self._served(), *self._traffic(), *self._broken()])
        return f"{line}; not reloaded: {self.refused.splitlines()[0]}" if self.refused else line

    def _served(self) -> str:
        named = [_counted(self.servers, "server")] if self.servers or not self.endpoints else []
        if self.endpoints:
            named.append(_counted(self.endpoints, "endpoint"))
        return f"{'would serve' if self.trouble else 'serving'} {' and '.join(named)}"

    def _traffic(self) -> list[str]:
        clients = [_counted(self.clients, "client")] if self.clients else []
        rate = self.calls_per_second
        if not self.servers or self.trouble:
            return clients
        if rate == 0:
            return [*clients, "no calls"]
        return [*clients, f"{rate:.0f} calls/s" if rate >= 1 else "under 1 call/s"]

    def _broken(self) -> list[str]:
        servers = [f"{len(self.failing)} failing: {_listed(self.failing)}"] if self.failing else []
        if not self.closed:
            return servers
        number = _counted(len(self.closed), "endpoint")
        return [*servers, f"{number} not open: {_listed(self.closed)}"]


class StatusLine:
    """Looks at a daemon whenever it is asked; the rate of calls is since it was asked before."""

    def __init__(self, view: Callable[[], View], draining: Draining) -> None:
        """Take where to look; `view` raises `LocalProtocolError` until there is anything."""
        self._view = view
        self._draining = draining
        self._calls = 0
        self._rate = 0.0
        self._at = time.monotonic()

    def __call__(self) -> str:
        try:
            view = self._view()
        except LocalProtocolError:
            return "starting"
        return self._picture(view).line()

    def _picture(self, view: View) -> Picture:
        failing = [one.server for one in view.bridges if one.state is State.FAILING]
        connection = view.connection
        return Picture(
            servers=len(view.bridges),
            endpoints=len(view.frontends),
            closed=tuple(one.place for one in view.closed),
            clients=sum(one.clients for one in view.frontends),
            calls_per_second=self._calls_per_second(view),
            failing=tuple(failing),
            trouble=None if connection.up else connection.trouble or "NATS is not connected yet",
            refused=view.reloader.stale,
            draining=self._draining.open_work() if self._draining.begun else None,
        )

    def _calls_per_second(self, view: View) -> float:
        now = time.monotonic()
        if now - self._at >= RATE_OVER:
            calls = sum(one.catalogue.statistics.requests for one in view.bridges)
            # Servers that a reload removed took their counts with them.
            self._rate = max(0, calls - self._calls) / (now - self._at)
            self._calls, self._at = calls, now
        return self._rate


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
