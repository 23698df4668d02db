"""How a daemon leaves the bus: other instances get what is new, and what is open is finished.

It happens once, because somebody asked for it or because the daemon stops, and is not undone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.daemon import status
from mcpnatsd.daemon.endpoints import Frontend

log = logging.getLogger(__name__)

DRAIN_FOR: Final = 30.0
"""Seconds that open calls have to finish. systemd's stop timeout is longer."""

SAY_EVERY: Final = 5.0
"""Seconds after which the log says again what holds it up."""


class Draining:
    """One drain: of all servers, or of all endpoints."""

    def __init__(
        self, bridges: Callable[[], Iterable[Bridge]], frontends: Callable[[], Iterable[Frontend]]
    ) -> None:
        """Take whom to drain; those that are there when it begins."""
        self._bridges = bridges
        self._frontends = frontends
        self._begun = asyncio.Event()
        self._hurry = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        """Have it begin, as soon as it is run."""
        self._begun.set()

    def hurry(self) -> None:
        """Wait no longer for what is open."""
        self._hurry.set()

    async def wait(self) -> str:
        """Return when it is over, with what was still open then: "nothing", or what in words."""
        await self._over.wait()
        return self.open_work()

    async def run(self) -> None:
        """Wait until it is asked for, and drain."""
        await self._begun.wait()
        if self._parts():
            log.info("draining", extra={"what": self._what(), "open": self.open_work()})
        try:
            await self._drain()
        finally:
            self._over.set()

    async def _drain(self) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + DRAIN_FOR
        async with asyncio.TaskGroup() as group:
            pending = {group.create_task(part.drain()) for part in self._parts()}
            hurry = group.create_task(self._wait_hurry())
            while pending and not hurry.done() and (left := deadline - now()) > 0:
                done, _ = await asyncio.wait(
                    {*pending, hurry},
                    timeout=min(SAY_EVERY, left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                pending -= done
                if not done:
                    left = max(0.0, deadline - now())
                    facts = {"open": self.open_work(), "left": f"{left:.0f} s"}
                    log.info("still draining", extra=facts)
            if pending:
                self._say_given_up(told_twice=hurry.done())
            for task in (*pending, hurry):
                task.cancel()

    def _parts(self) -> list[Bridge | Frontend]:
        return [*self._bridges(), *self._frontends()]

    def _what(self) -> str:
        counts = {"server": len(list(self._bridges())), "endpoint": len(list(self._frontends()))}
        there = {noun: count for noun, count in counts.items() if count}
        return ", ".join(f"{n} {noun}" + "s" * (n != 1) for noun, n in there.items())

    def open_work(self) -> str:
        """Return what is still open, in words: "nothing" when that is so."""
        return status.open_work(self._bridges(), self._frontends())

    async def _wait_hurry(self) -> None:
        await self._hurry.wait()

    def _say_given_up(self, *, told_twice: bool) -> None:
        why = "told twice" if told_twice else f"{DRAIN_FOR:.0f} s are over"
        still_open = self.open_work()
        level = logging.INFO if still_open == "nothing" else logging.WARNING
        log.log(level, "stopping now", extra={"why": why, "open": still_open})
