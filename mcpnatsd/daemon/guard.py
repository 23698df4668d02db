"""A guard around each part: one that fails is said and started again, and stops nobody else."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from mcpnatsd.errors import McpnatsdError

log = logging.getLogger(__name__)

PAUSE: Final = 5.0
"""Seconds before a part that failed is run again."""


OnFault = Callable[[Exception], None]
"""Hears of each failure."""


async def guarded(
    name: str, run: Callable[[], Coroutine[None, None, None]], on_fault: OnFault | None = None
) -> None:
    """Run a part until cancelled, again and again should it fail."""
    while True:
        await contained(name, run, on_fault)
        await asyncio.sleep(PAUSE)


async def contained(
    name: str, run: Callable[[], Coroutine[None, None, None]], on_fault: OnFault | None = None
) -> None:
    """Run a part once; should it fail, say so."""
    try:
        await run()
    except Exception as error:  # a part's fault is nobody else's
        fault = _reason(error)
        if isinstance(fault, McpnatsdError):
            log.error("a part failed", extra={"part": name, "error": str(fault)})  # noqa: TRY400
        else:
            log.exception("a part failed", extra={"part": name})
        if on_fault is not None:
            on_fault(fault)


def _reason(error: Exception) -> Exception:
    """Return what happened, out of the groups in which task groups wrap it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class Part:
    """A part behind a guard, until it is stopped."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        name: str,
        run: Callable[[], Coroutine[None, None, None]],
        on_fault: OnFault | None = None,
    ) -> None:
        self._task = group.create_task(guarded(name, run, on_fault), name=name)

    def cancel(self) -> None:
        """Have it stop, without waiting for that."""
        self._task.cancel()

    async def stop(self) -> None:
        """Stop it, and return when it has."""
        self._task.cancel()
        await asyncio.wait([self._task])
