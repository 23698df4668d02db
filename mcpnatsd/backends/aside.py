"""Leaves requests to other instances while the server cannot be started here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

TROUBLED_AFTER: Final = 3
"""Failed starts in a row after which the requests are left to other instances, if there are any."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks whether anybody else is there yet to whom requests are left."""

MOST_LOOKS: Final = 6
"""Looks after which a client may try again whether a legacy server can be started."""


class Aside:
    """One instance's place in the queue group, while it is in trouble."""

    def __init__(
        self,
        server: str,
        *,
        count_others: Callable[[], Awaitable[int]],
        leave: Callable[[], None],
        join: Callable[[], None],
        tries_itself: Callable[[], bool],
    ) -> None:
        """Take what tells of others, and what to do.

        `tries_itself` says whether a start is tried again without a client, whose success joins.
        A modern process is; a session is a client's, and nobody opens one here meanwhile.
        """
        self._server = server
        self._count_others = count_others
        self._leave = leave
        self._join = join
        self._tries_itself = tries_itself
        self._away = False
        self._started = asyncio.Event()

    def started(self) -> None:
        """Learn that the server was started: our place is in the group again."""
        self._started.set()
        self._join()

    async def step(self) -> None:
        """Leave the group if there are others; come back when there are none any more."""
        others = await self._count_others()
        if not others:
            self._join()
        elif not self._away:
            self._away = True
            self._started.clear()
            self._leave()
            log.warning("left to other instances", extra={"server": self._server, "others": others})
            try:
                await self._wait()
            finally:
                self._away = False

    async def _wait(self) -> None:
        looks = 0
        while not self._started.is_set() and (looks < MOST_LOOKS or self._tries_itself()):
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._started.wait()
            looks += 1
            if not await self._count_others():
                break
        self._join()
