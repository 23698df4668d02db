"""A guard around each part: one that fails is said and started again, and stops nobody else."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from mcpnatsd.errors import McpnatsdError

log = logging.getLogger(__name__)

PAUSE: Final = 5.0
"""Seconds before a part that failed is run again."""


async def guarded(name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a part until cancelled, again and again should it fail."""
    while True:
        await contained(name, run)
        await asyncio.sleep(PAUSE)


async def contained(name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a part once; should it fail, say so."""
    try:
        await run()
    except McpnatsdError as fault:
        log.error("a part failed", extra={"part": name, "error": str(fault)})  # noqa: TRY400
    except Exception:
        log.exception("a part failed", extra={"part": name})
