"""Looks whether a server at a URL is there: it is not ours to start, and nobody tells.

It is looked for while a client's request found it away, so that its return is noticed before the
next client comes; and always, if it shall be ready before any client comes (`start: eager`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, runtime_checkable

from mcpnatsd.backends.launch import Launcher
from mcpnatsd.config.model import ServerConfig, Start
from mcpnatsd.errors import McpnatsdError, ProcessDied
from mcpnatsd.protocol.lifecycle import Backoff

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at a server that is there."""

LOOK_AGAIN: Final = 2.0
"""Seconds between two looks at one that is away."""

LOOKED_FOR: Final = Backoff(most=5.0)
"""Pauses between two attempts to speak to one that is away: they cost it nothing."""

AWAY_AFTER: Final = 2
"""Failures in a row to connect after which requests are left to others: one may be the network's.

One at a URL takes no time to start: once it is away, the next call would find it so too.
"""

UNREACHABLE: Final = "cannot be reached at"
BROKEN: Final = "broke the connection at"


@runtime_checkable
class Distant(Protocol):
    """Where a server at a URL comes from."""

    async def look(self, config: ServerConfig) -> None:
        """Find out whether anybody listens there.

        Raises:
            ProcessDied: Nobody does.
        """


class Owner(Protocol):
    """The bridge, as far as it must know."""

    last_fault: str | None

    @property
    def joined(self) -> bool:
        """Whether it takes its share of the requests."""

    @property
    def is_tried(self) -> bool:
        """Whether a process is being started, again and again, which then shows how it is."""

    def modern_ready(self) -> None: ...

    def start_failed(self, failures: int, fault: McpnatsdError) -> None: ...


class Presence:
    """The looks at one server. At one that we start ourselves nobody need look."""

    def __init__(
        self,
        config: ServerConfig,
        launcher: Launcher,
        owner: Owner,
        wait_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Take whom to look at, whom to tell, and how to wait for NATS, where others may be."""
        self._config = config
        self._distant = launcher if isinstance(launcher, Distant) else None
        self._owner = owner
        self._wait_up = wait_up
        self.looks_first = self._distant is not None and config.start is Start.EAGER
        """Whether requests are wanted only once it was seen: then no call is lost to its start."""

    async def run(self) -> None:
        """Look until cancelled."""
        if self._distant is None:
            return
        seen = not self.looks_first
        while True:
            await self._wait_up()
            there = await self._look(self._distant, seen=seen) if self._is_wanted() else True
            seen |= there
            await asyncio.sleep(LOOK_EVERY if there else LOOK_AGAIN)

    def _is_wanted(self) -> bool:
        eager = self._config.start is Start.EAGER
        away = is_of_the_connection(self._owner.last_fault)
        return eager or away or not self._owner.joined

    async def _look(self, distant: Distant, *, seen: bool) -> bool:
        fault = self._owner.last_fault
        try:
            await distant.look(self._config)
        except ProcessDied as error:
            failures = AWAY_AFTER if is_of_the_connection(fault) else 1
            told = ProcessDied(f"server {self._config.name!r} {error}")
            self._owner.start_failed(failures, told)
            return False
        if self._is_over(fault) or (fault is None and not seen):
            self._owner.modern_ready()
        return True

    def _is_over(self, fault: str | None) -> bool:
        """Say whether what kept requests away is over, as somebody listens.

        Whether a modern server works, its own restart shows, if one is under way.
        """
        if self._owner.is_tried or self._owner.last_fault != fault:  # of after the look began
            return False
        return is_of_the_connection(fault) or (fault is None and not self._owner.joined)


def is_of_the_connection(fault: str | None) -> bool:
    """Say whether a fault is over as soon as somebody listens again."""
    return fault is not None and (UNREACHABLE in fault or BROKEN in fault)
