"""Clocks go on, whatever a tick raises."""

import asyncio
from itertools import count

from mcpnatsd.bus import clock


async def test_a_tick_that_raises_does_not_end_its_clock() -> None:
    numbers, thrice = count(1), asyncio.Event()

    def tick() -> None:
        if next(numbers) == 3:
            thrice.set()
        raise ValueError

    running = asyncio.create_task(clock.tick_every(0.0, tick))
    async with asyncio.timeout(20):
        await thrice.wait()

    assert not running.done()
    running.cancel()


def test_a_guarded_step_gets_its_arguments() -> None:
    got: list[int] = []

    clock.guarded(got.append, 7)

    assert got == [7]
