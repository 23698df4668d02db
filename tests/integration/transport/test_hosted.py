"""A server object as a bridge sees it: lines in, lines out, one end."""

import asyncio
import json
from typing import Any

import anyio
import pytest

from mcpnatsd.backends.process import Exit
from mcpnatsd.config.model import Limits, ServerConfig
from mcpnatsd.errors import Busy, ProcessDied
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.transport import sdk
from mcpnatsd.transport.hosted import Hosted
from tests.waiting import until

MIB = 1 << 20
LIMITS = Limits(stop_timeout=0.05, line_bytes=MIB, output_line_bytes=MIB)
CONFIG = ServerConfig(name="object", command=("in Python",), limits=LIMITS)


class Listener:
    """Keeps what a server says."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.oversize: list[Oversize] = []
        self.exits: list[Exit] = []

    def receive_output(self, line: bytes) -> None:
        self.lines.append(line)

    def receive_oversize(self, skipped: Oversize) -> None:
        self.oversize.append(skipped)

    def exited(self, exit: Exit) -> None:
        self.exits.append(exit)


def note(text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "x", "params": {"text": text}}).encode()


async def repeat(read: Any, write: Any) -> None:
    """Say everything again, until the end."""
    async for item in read:
        await write.send(item)


async def deaf(_read: Any, _write: Any) -> None:
    await asyncio.Event().wait()


async def test_what_it_is_told_and_what_it_says_are_lines() -> None:
    listener = Listener()
    hosted = Hosted(repeat, CONFIG, listener)
    hosted.write(note("ü"))
    await until(lambda: listener.lines)

    assert json.loads(listener.lines[0]) == json.loads(note("ü"))
    assert hosted.unwritten_bytes == 0
    await hosted.stop()


async def test_at_the_end_of_its_input_it_ends_and_says_so_once() -> None:
    listener = Listener()
    hosted = Hosted(repeat, CONFIG, listener)
    hosted.write(note("last"))
    first, second = await asyncio.gather(hosted.stop(), hosted.stop())

    assert first is second
    await until(lambda: listener.exits)
    assert listener.exits == [first]
    assert len(listener.lines) == 1
    with pytest.raises(ProcessDied, match="was told to stop"):
        hosted.write(note("late"))


async def test_one_that_ignores_the_end_of_its_input_is_cancelled() -> None:
    assert (await Hosted(deaf, CONFIG, Listener()).stop()).sentence() == "was cancelled"


async def test_one_that_ignores_even_that_is_left_behind() -> None:
    free = asyncio.Event()

    async def stubborn(_read: Any, _write: Any) -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    listener = Listener()
    hosted = Hosted(stubborn, CONFIG, listener)

    assert (await hosted.stop()).sentence() == "was cancelled"
    free.set()
    await until(hosted._task.done)
    assert len(listener.exits) == 1


async def test_one_that_does_not_read_is_busy_at_a_bound() -> None:
    hosted = Hosted(deaf, CONFIG, Listener())
    line = note("x" * MIB)
    for _ in range(31):
        hosted.write(line)
    with pytest.raises(Busy, match="does not read"):
        hosted.write(line)

    assert 31 * MIB < hosted.unwritten_bytes <= 32 * MIB
    await hosted.stop()


async def test_while_it_is_paused_what_it_says_waits() -> None:
    listener = Listener()
    hosted = Hosted(repeat, CONFIG, listener)
    hosted.pause()
    hosted.write(note("held"))
    await until(lambda: hosted.unwritten_bytes == 0)
    assert not listener.lines
    hosted.resume()
    await until(lambda: listener.lines)
    await hosted.stop()


async def test_what_it_says_over_the_limit_is_reported_by_its_ends() -> None:
    listener = Listener()
    hosted = Hosted(repeat, CONFIG, listener)
    hosted.write(note("y" * 2 * MIB))
    await until(lambda: listener.oversize)

    assert listener.oversize[0].size > 2 * MIB
    assert listener.oversize[0].head.startswith(b'{"')
    assert not listener.lines
    await hosted.stop()


async def test_its_exception_is_how_it_ended() -> None:
    async def fail(_read: Any, _write: Any) -> None:
        raise ExceptionGroup("of a task group", [ValueError("no such table")])

    listener = Listener()
    hosted = Hosted(fail, CONFIG, listener)
    await until(lambda: listener.exits)

    assert listener.exits[0].sentence() == "raised ValueError: no such table"
    with pytest.raises(ProcessDied, match="no such table"):
        hosted.write(note("late"))


async def test_one_that_closed_a_stream_is_ended_though_it_runs_on() -> None:
    async def closes(read: Any, write: Any) -> None:
        await read.aclose()
        await deaf(read, write)

    listener = Listener()
    hosted = Hosted(closes, CONFIG, listener)
    hosted.write(note("to nobody"))
    await until(lambda: listener.exits)

    assert listener.exits[0].sentence() == "was cancelled"


async def test_what_it_sends_after_its_end_fails() -> None:
    streams: list[Any] = []

    async def keep(_read: Any, write: Any) -> None:
        streams.append(write)

    hosted = Hosted(keep, CONFIG, Listener())
    await hosted.stop()

    with pytest.raises(anyio.BrokenResourceError):
        await streams[0].send(sdk.decode(note("late")))
