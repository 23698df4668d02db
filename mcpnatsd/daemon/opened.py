"""The endpoints of this daemon, by where they are: each a frontend behind a guard.

One that cannot be opened when the daemon starts is tried again; one that cannot be opened in a
reload makes that fail.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.diff import Endpoint
from mcpnatsd.daemon.endpoints import Closed, Frontend, closed, frontend
from mcpnatsd.daemon.guard import Part, contained
from mcpnatsd.errors import ConfigError

log = logging.getLogger(__name__)

OPEN_WITHIN: Final = 10.0
"""Seconds in which an endpoint is open. A prefix with `{user}` needs an answer of NATS first."""

LEAVE_WITHIN: Final = 30.0
"""Seconds that clients of an endpoint have to finish, once a reload replaced or removed it."""

MOST_LEAVING: Final = 64
"""Endpoints at which a client waits for an answer. Beyond that the oldest is ended at once."""


class _Opened:
    """One endpoint."""

    def __init__(self, endpoint: Endpoint, before: Frontend | None) -> None:
        self.endpoint = endpoint
        self.before = before
        """Who listens there now, and hands its socket over."""

        self.frontend: Frontend | None = None
        self.fault: str | None = None
        """Why it is not open; None while it is, and before it was tried."""

        self.part: Part | None = None
        self.leaves = False
        """Whether its leaving has begun: one that is cancelled before that never ends it."""

        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_busy(self) -> bool:
        return self.frontend is not None and self.frontend.in_flight > 0

    def opened(self) -> None:
        self.before = self.fault = None
        if not self.outcome.done():
            self.outcome.set_result(None)

    def failed(self, fault: Exception) -> None:
        self.fault = str(fault) or type(fault).__name__
        if not self.outcome.done():
            self.outcome.set_exception(fault)
            self.outcome.exception()  # at the start nobody waits for it


class Endpoints:
    """All endpoints of a daemon."""

    def __init__(
        self,
        make_bus: Callable[[], Awaitable[ClientBus]],
        group: asyncio.TaskGroup,
        folder: Path,
    ) -> None:
        """Take how a bus is made; `folder` is kept between runs."""
        self._folder = folder
        self._make_bus = make_bus
        self._group = group
        self._bus: ClientBus | None = None
        self._making = asyncio.Lock()
        self._opened: dict[str, _Opened] = {}
        self._leaving: dict[_Opened, asyncio.Task[None]] = {}
        self._all: set[_Opened] = set()
        """Those two, and what is being opened."""

        self._requests: Part | None = None

    @property
    def frontends(self) -> list[Frontend]:
        """Those that clients find."""
        opened = (one.frontend for one in self._opened.values() if one.fault is None)
        return [one for one in opened if one is not None]

    @property
    def closed(self) -> list[Closed]:
        """Those that should be open and are not; each is tried again."""
        tried = self._opened.values()
        return [closed(one.endpoint, one.fault) for one in tried if one.fault is not None]

    def start(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Open endpoints, each as soon as that works."""
        for key, endpoint in endpoints.items():
            self._opened[key] = self._begin(key, _Opened(endpoint, None))

    async def wait_tried(self, bound: float) -> None:
        """Return when each is open or has failed once, or after that many seconds."""
        outcomes = [one.outcome for one in self._opened.values()]
        if outcomes:
            await asyncio.wait(outcomes, timeout=bound)

    async def open(self, key: str, endpoint: Endpoint) -> None:
        """Open one. What was there before is left alone until it is, and then finishes.

        Raises:
            ConfigError: It cannot be opened.
        """
        old = self._opened.get(key)
        new = self._begin(key, _Opened(endpoint, None if old is None else old.frontend))
        try:
            await asyncio.wait([new.outcome], timeout=OPEN_WITHIN)
            refuse_closed(key, new.outcome)
            self._opened[key] = new
        finally:
            if self._opened.get(key) is not new:
                await self._end(new)
        if old is not None:
            self._retire(old)

    def has(self, key: str, endpoint: Endpoint) -> bool:
        """Say whether this very endpoint is open, or tried to be."""
        return key in self._opened and self._opened[key].endpoint == endpoint

    def close(self, keys: Iterable[str]) -> None:
        """Have endpoints take no new clients, finish and end. One that is not there is no fault."""
        for key in keys:
            old = self._opened.pop(key, None)
            if old is not None:
                self._retire(old)

    async def stop(self) -> None:
        """End everything at once."""
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        for one in list(self._all):
            await self._end(one)
        if leaving:
            await asyncio.wait(leaving)
        if self._requests is not None:
            await self._requests.stop()

    def _begin(self, key: str, one: _Opened) -> _Opened:
        async def run() -> None:
            bus = await self._client_bus()
            one.frontend = frontend(one.endpoint, bus, self._folder, one.opened, one.before)
            await one.frontend.run()

        self._all.add(one)
        one.part = Part(self._group, f"endpoint {key}", run, one.failed)
        return one

    async def _client_bus(self) -> ClientBus:
        """Return what all of them ask on; we are their clients' user on NATS."""
        async with self._making:
            if self._bus is None:
                self._bus = await self._make_bus()
                self._requests = Part(self._group, "requests", self._bus.requester.run)
            return self._bus

    def _retire(self, old: _Opened) -> None:
        leave = contained("an endpoint, leaving", partial(self._leave, old))
        self._leaving[old] = self._group.create_task(leave)

    def _end_oldest(self) -> None:
        busy = [one for one in self._leaving if one.leaves and one.is_busy]
        for one in busy[:-MOST_LEAVING]:
            _say_cut_off(one)
            self._leaving.pop(one).cancel()

    async def _leave(self, old: _Opened) -> None:
        old.leaves = True
        self._end_oldest()
        try:
            if old.frontend is not None:
                async with asyncio.timeout(LEAVE_WITHIN):
                    await old.frontend.drain()
        except TimeoutError:
            _say_cut_off(old)
        finally:
            self._leaving.pop(old, None)
            await self._end(old)

    async def _end(self, one: _Opened) -> None:
        self._all.discard(one)
        if one.part is not None:
            await one.part.stop()


def refuse_closed(key: str, outcome: asyncio.Future[None]) -> None:
    """See that an endpoint is open.

    Raises:
        ConfigError: It is not; the text says why.
    """
    if not outcome.done():
        raise ConfigError(f"endpoint {key}: it is not open after {OPEN_WITHIN:g} s")
    fault = outcome.exception()
    if fault is not None:
        raise ConfigError(f"endpoint {key}: {fault}") from None


def _say_cut_off(one: _Opened) -> None:
    place = one.frontend.place if one.frontend is not None else ""
    log.warning("clients of an endpoint are cut off", extra={"endpoint": place})
