"""Waiting for a condition, with a bound."""

import asyncio
from collections.abc import Callable

TIMEOUT = 10.0


async def until(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)
