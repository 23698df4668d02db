"""How the daemon is, in one line of text for each who probes it.

Started, ready and healthy are three things. Only readiness asks whether NATS and the servers are
there: a probe that restarts what is no better afterwards makes an outage worse.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.bus.connection import Connection
from mcpnatsd.daemon.draining import DRAIN_FOR, Draining
from mcpnatsd.daemon.view import View
from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol.discovery import State

START_FOR: Final = 5.0
"""Seconds more that a drain may wait for, when the daemon has just been started."""

_STARTING: Final = "the daemon is starting"

MOST_NAMED: Final = 3
"""Servers in trouble that one line names."""


class Verdict(NamedTuple):
    """An answer to a probe."""

    good: bool
    text: str


class Health:
    """Looks at a daemon whenever it is asked."""

    def __init__(self, path: Path, draining: Draining, view: Callable[[], View]) -> None:
        """Take where to look; `view` raises `LocalProtocolError` until there is anything."""
        self.draining = draining
        self._path = path
        self._view = view
        self.serving = False
        """Whether all servers of the configuration have their bridges."""

        self._was_ready = False

    def started(self) -> Verdict:
        """Say that the configuration is right: whoever asks is answered only then."""
        return Verdict(good=True, text=f"started: {self._path} is in use")

    def healthy(self) -> Verdict:
        """Say that the event loop runs: it is what answers."""
        return Verdict(good=True, text="healthy: the event loop runs")

    def ready(self) -> Verdict:
        """Say whether requests off the bus are answered here."""
        why = self._unready()
        if why is not None:
            return Verdict(good=False, text=f"not ready: {why}")
        self._was_ready = True
        bridges = self._view().bridges
        troubled = [one for one in bridges if _trouble(one) is not None]
        text = f"ready: NATS is up, servers: {len(bridges)}"
        return Verdict(good=True, text=f"{text}; {_named(troubled)}" if troubled else text)

    async def drain(self) -> Verdict:
        """Leave the bus; return when nothing is open any more, or it took too long."""
        self.draining.begin()
        try:
            async with asyncio.timeout(DRAIN_FOR + START_FOR):
                still_open = await self.draining.wait()
        except TimeoutError:
            return Verdict(good=False, text="not drained: the daemon is still starting")
        if still_open == "nothing":
            return Verdict(good=True, text="drained: nothing is open")
        return Verdict(good=False, text=f"not drained in time: {still_open}")

    def _unready(self) -> str | None:
        if self.draining.begun:
            return "draining, until this daemon is started again"
        try:
            view = self._view()
        except LocalProtocolError:
            return _STARTING
        if not view.connection.up:
            return _away(view.connection)
        if not self.serving:
            return _STARTING
        if view.closed and not (view.frontends or view.bridges):
            one = view.closed[0]
            return f"no endpoint is open: {one.place}: {one.fault}"
        return _unready_servers(view.bridges, first=not self._was_ready)


def _unready_servers(bridges: Sequence[Bridge], *, first: bool) -> str | None:
    """Return what is waited for, or what is wrong when nothing works; one is not enough for that.

    A server that runs elsewhere and is away must not stop a rollout of all others, and one that a
    reload adds must not take the others from their clients: only the `first` time all are awaited.
    """
    late = [one for one in bridges if first and not one.settled.is_set()]
    if not late and not all(map(_trouble, bridges)):
        return None
    return _named(late or bridges) or None


def _away(connection: Connection) -> str:
    seconds = asyncio.get_running_loop().time() - connection.down_at
    return f"{connection.trouble or 'NATS is not connected yet'} (for {seconds:.0f} s)"


def _named(bridges: Sequence[Bridge]) -> str:
    """Return what is wrong with the first few."""
    said = [f"{one.server}: {_trouble(one)}" for one in bridges[:MOST_NAMED]]
    more = len(bridges) - len(said)
    return "; ".join([*said, f"{more} more"] if more else said)


def _trouble(bridge: Bridge) -> str | None:
    """Return why a server cannot answer here; None when it can, or nobody has tried yet."""
    if bridge.state is State.FAILING:
        return bridge.last_fault
    if not bridge.settled.is_set():
        return "is starting"
    return None if bridge.responder.joined else "is not on the bus"
