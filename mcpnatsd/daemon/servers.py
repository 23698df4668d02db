"""The servers that run here, by name: each a bridge behind a guard.

One that is replaced or removed leaves the bus only when its successor is there. It then finishes
what is open, for a bounded time, and ends: a call may take as long there as any other.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.bus.service import ServiceResponder
from mcpnatsd.config.model import ServerConfig, Start
from mcpnatsd.daemon import status
from mcpnatsd.daemon.guard import Part, contained
from mcpnatsd.daemon.launchers import Launchers
from mcpnatsd.errors import BrokerAway, ConfigError
from mcpnatsd.protocol.discovery import State

log = logging.getLogger(__name__)

LEAVE_WITHIN: Final = 30.0
"""Seconds that what is open at a server has to finish, once a reload replaced or removed it. After
that only calls of the modern era hold it up, for as long as its `call_timeout` says."""

LOOK_EVERY: Final = 0.5
"""Seconds after which it is seen that the last such call is over."""

JOIN_WITHIN: Final = 5.0
"""Seconds that a server which is replaced waits for its successor, which may look for a URL."""

OVERLAP_FOR: Final = 0.1
"""Seconds for which both are in the queue group. nats-server looks up who may get a message, and
then delivers it: if all that it found have left by then, the sender is told that nobody is."""

MOST_LEAVING: Final = 256
"""Bridges that finish what is open. Beyond that the oldest is ended at once. One that has nothing
open does not count: it leaves as soon as NATS knows."""


@dataclass(eq=False, slots=True)
class _Serving:
    bridge: Bridge
    launcher: Launcher
    part: Part


@dataclass(frozen=True, slots=True)
class _Begun:
    new: _Serving
    before: _Serving | None
    """Whom it replaces."""


class Servers:
    """All bridges of a daemon."""

    def __init__(
        self,
        make: Callable[[ServerConfig, Launcher], Bridge],
        launchers: Launchers,
        service: ServiceResponder,
        group: asyncio.TaskGroup,
        *,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        """Take how a bridge is made; `flush` returns once NATS has read all that was said."""
        self._make = make
        self._flush = flush
        self._launchers = launchers
        self._service = service
        self._group = group
        self._serving: dict[str, _Serving] = {}
        self._leaving: dict[_Serving, asyncio.Task[None]] = {}
        self._all: set[_Serving] = set()
        """Those two, and what is between them."""

    @property
    def bridges(self) -> list[Bridge]:
        """Those that take requests."""
        return [one.bridge for one in self._serving.values()]

    @property
    def leaving(self) -> list[Bridge]:
        """Those that only finish what is open, or are to as soon as their successors are there."""
        serving = set(self._serving.values())
        return [one.bridge for one in self._all if one not in serving]

    async def change(
        self,
        wanted: Iterable[ServerConfig],
        unwanted: Iterable[str] = (),
        *,
        prove: bool = False,
    ) -> None:
        """Put servers on the bus, and take others off it.

        One that is there already, but configured otherwise, leaves when its successor is there.
        When this returns, requests go to the new ones; what is open at the old ones is finished.

        Raises:
            ConfigError: With `prove`: one cannot start that was to replace one which is not
                failing. All is as it was.
        """
        begun = [one for config in wanted if (one := self._start(config)) is not None]
        old = [one.before for one in begun if one.before is not None]
        if old:
            await self._overlap([one.new.bridge for one in begun if one.before is not None])
        if prove and (fault := _fault_of(begun)) is not None:
            await self._take_back(begun)
            raise ConfigError(fault)
        for name in unwanted:
            if (gone := self._serving.pop(name, None)) is not None:
                self._service.remove(name)
                old.append(gone)
        for leaving in old:
            self._retire(leaving)
        if old:
            await self._leave_now()

    async def _take_back(self, begun: list[_Begun]) -> None:
        """Have those go that were begun. Whom they were to replace never left."""
        for one in begun:
            name = one.new.bridge.server
            if one.before is None:
                del self._serving[name]
                self._service.remove(name)
            else:
                self._serving[name] = one.before
                self._service.add(one.before.bridge)
            self._retire(one.new)
        await self._leave_now()

    async def _leave_now(self) -> None:
        await asyncio.sleep(0)  # each has left now, as its first step
        await self._let_nats_know()
        self._end_oldest()

    async def _overlap(self, new: list[Bridge]) -> None:
        """Return when those who are replaced may leave."""
        async with asyncio.TaskGroup() as group:
            for bridge in new:
                group.create_task(_wait_there(bridge))
        await self._let_nats_know()
        await asyncio.sleep(OVERLAP_FOR)

    async def _let_nats_know(self) -> None:
        with suppress(BrokerAway):
            await self._flush()

    def _start(self, config: ServerConfig) -> _Begun | None:
        """Start a server, unless it runs already."""
        old = self._serving.get(config.name)
        if old is not None and old.bridge.config == config:
            return None
        launcher = self._launchers.of(config)
        bridge = self._make(config, launcher)
        part = Part(self._group, f"server {config.name}", bridge.run)
        new = self._serving[config.name] = _Serving(bridge, launcher, part)
        self._all.add(new)
        self._service.add(bridge)
        return _Begun(new, old)

    async def close(self) -> None:
        """End everything at once."""
        leaving = list(self._leaving.values())
        for task in leaving:
            task.cancel()
        everything = list(self._all)
        for one in everything:
            one.part.cancel()
        for one in everything:
            await self._end(one)
        if leaving:
            await asyncio.wait(leaving)

    def _retire(self, old: _Serving) -> None:
        leave = contained(f"server {old.bridge.server}, leaving", partial(self._leave, old))
        self._leaving[old] = self._group.create_task(leave)

    def _end_oldest(self) -> None:
        """Keep the bound. All have taken their first step: who has not would never be ended."""
        busy = [one for one in self._leaving if _is_busy(one.bridge)]
        for one in busy[:-MOST_LEAVING]:
            _say_given_up(one.bridge, f"more than {MOST_LEAVING} servers finish what is open")
            self._leaving.pop(one).cancel()

    async def _leave(self, old: _Serving) -> None:
        """Let it finish, and end it."""
        try:
            old.bridge.responder.leave()
            if not await _finish(old.bridge):
                _say_given_up(old.bridge, "it took too long")
        finally:
            self._leaving.pop(old, None)
            await self._end(old)
            if not self._leaving:
                # A bridge and its parts know each other, and the collector is told to come seldom.
                gc.collect()

    async def _end(self, one: _Serving) -> None:
        self._all.discard(one)
        await one.part.stop()
        await self._launchers.close(one.launcher)


async def _wait_there(bridge: Bridge) -> None:
    """Return when a bridge takes requests and shows whether it can, or does not for too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(JOIN_WITHIN):
            await asyncio.sleep(0)  # its first step
            while not bridge.responder.joined:  # noqa: ASYNC110  # it joins and leaves by itself
                await asyncio.sleep(0.02)
            if _is_proven(bridge):
                await bridge.settled.wait()


def _is_proven(bridge: Bridge) -> bool:
    """Say whether its start tells us what to do: a URL may be away now, and come by itself."""
    return bridge.config.start is Start.EAGER and bridge.config.url is None


def _fault_of(begun: Iterable[_Begun]) -> str | None:
    """Return why one cannot start whose predecessor did nothing wrong."""
    for one in begun:
        new = one.new.bridge
        if one.before is None or one.before.bridge.state is State.FAILING:
            continue
        if _is_proven(new) and new.state is State.FAILING:
            why = f"server {new.server}: what is to replace it cannot start: {new.last_fault}"
            return f"{why}; if the two cannot run side by side, give it `start: lazy`"
    return None


async def _finish(bridge: Bridge) -> bool:
    """Have a bridge finish what is open; say whether it did in time."""
    now = asyncio.get_running_loop().time
    call_until = now() + bridge.config.limits.call_timeout
    draining = asyncio.create_task(_drain(bridge))
    try:
        await asyncio.wait([draining], timeout=LEAVE_WITHIN)
        while not draining.done() and bridge.responder.in_flight and now() < call_until:
            await asyncio.wait([draining], timeout=LOOK_EVERY)
    finally:
        draining.cancel()
        await asyncio.wait([draining])
    if draining.cancelled():
        return False
    draining.result()
    return True


async def _drain(bridge: Bridge) -> None:
    """Drain a bridge once NATS is there: no client would hear before where its session goes."""
    await bridge.responder.connection.wait_up()
    await bridge.drain(parked_for=LEAVE_WITHIN)


def _is_busy(bridge: Bridge) -> bool:
    return bool(bridge.responder.in_flight or bridge.open_sessions)


def _say_given_up(bridge: Bridge, why: str) -> None:
    facts = {"server": bridge.server, "why": why, "open": status.open_work([bridge], [])}
    log.warning("what was open at a server that was replaced is given up", extra=facts)
