"""Leaves requests to other instances while the server cannot be started here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from mcpnatsd.backends.place import Place
from mcpnatsd.bus.directory import survey
from mcpnatsd.errors import BusError
from mcpnatsd.protocol.discovery import State

log = logging.getLogger(__name__)

TROUBLED_AFTER: Final = 3
"""Failed starts in a row after which the requests are left to other instances, if there are any."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks whether anybody else is there yet to whom requests are left."""

MOST_LOOKS: Final = 6
"""Looks after which a client may try again whether a legacy server can be started."""

_UNABLE: Final = frozenset({State.FAILING, State.DRAINING, State.ASIDE})
"""States of an instance that takes no requests, or would answer none."""


class Aside:
    """One instance's place in the queue group, while it is in trouble."""

    def __init__(
        self,
        server: str,
        *,
        count_others: Callable[[], Awaitable[int]],
        leave: Callable[[], None],
        join: Callable[[], None],
        try_again: Callable[[], bool],
    ) -> None:
        """Take what tells of others, and what to do.

        `try_again` has a start tried again without a client, whose success joins; it says whether
        that is possible. One of a client's own is not, as no client comes here meanwhile.
        """
        self._server = server
        self._count_others = count_others
        self._leave = leave
        self._join = join
        self._try_again = try_again
        self._stepping = False
        self._told = ""
        self._started = asyncio.Event()

    def started(self) -> None:
        """Learn that the server was started: our place is in the group again."""
        self._started.set()
        self._join()

    async def step(self) -> None:
        """Leave the group if there are others; come back when there are none any more.

        While it is away, or asks whether there are others, another step is none.
        """
        if self._stepping:
            return
        self._stepping = True
        self._started.clear()
        try:
            await self._step()
        finally:
            self._stepping = False

    async def _step(self) -> None:
        others = await self._others()
        if self._started.is_set():
            return  # while others were asked
        if others:
            self._leave()
            log.warning("left to other instances", extra={"server": self._server, "others": others})
            await self._wait()
        self._join()

    async def _wait(self) -> None:
        looks = 0
        while self._try_again() or looks < MOST_LOOKS:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._started.wait()
                    return
            looks += 1
            if not await self._others():
                return

    async def _others(self) -> int:
        """Return how many there are; none, if NATS does not let us ask."""
        try:
            found = await self._count_others()
        except BusError as error:
            facts = {"server": self._server, "error": str(error)}
            level = logging.DEBUG if str(error) == self._told else logging.WARNING
            log.log(level, "cannot see other instances; requests stay here", extra=facts)
            self._told = str(error)
            return 0
        self._told = ""
        return found


async def count_others(place: Place, server: str) -> int:
    """Return how many other instances there are to whom requests can be left.

    Raises:
        BusError: NATS is away, or does not let us ask.
    """
    prefix = place.prefix.listening
    found = await survey(place.connection, place.inbox, prefix=prefix, server=server)
    return sum(one.id != place.instance and one.state not in _UNABLE for one in found)
