"""The event loop that every program of ours runs on."""

import asyncio
import os
import signal

import pytest

from mcpnatsd import loop


def test_a_programs_exit_code_is_what_it_returns() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    assert loop.run(main()) == 7


def test_a_programs_exception_is_not_swallowed() -> None:
    async def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(main())


def test_it_is_the_fast_loop() -> None:
    async def main() -> int:
        return int(type(asyncio.get_running_loop()).__module__.startswith("uvloop"))

    assert loop.run(main()) == 1


def test_a_signal_calls_from_within_the_loop() -> None:
    async def main() -> int:
        came = asyncio.Event()
        loop.on_signal(signal.SIGUSR1, came.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(20.0):
            await came.wait()
        return 0

    assert loop.run(main()) == 0
