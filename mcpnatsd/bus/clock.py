"""Clocks that no exception in a tick can end."""

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec

log = logging.getLogger(__name__)

_P = ParamSpec("_P")


async def tick_every(seconds: float, tick: Callable[[], None]) -> None:
    """Call `tick` again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        guarded(tick)


def guarded(step: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """Take one step. What it raises becomes a line in the log, and the clock goes on."""
    try:
        step(*args, **kwargs)
    except Exception as error:  # whoever keeps a clock would keep none any more
        log.warning("a clock's tick failed", extra={"reason": repr(error)}, exc_info=error)
