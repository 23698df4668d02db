"""The two streams that the SDK reads and writes."""

import asyncio
import json
from typing import Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCRequest

from mcpnatsd.loop import BATCH
from mcpnatsd.transport import sdk
from mcpnatsd.transport.streams import Pair
from tests.waiting import until


def nothing() -> None:
    """Take no note."""


def line(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{}}' % number


def number(item: SessionMessage | Exception) -> Any:
    assert isinstance(item, SessionMessage)
    return json.loads(sdk.encode(item))["id"]


REQUEST = SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=1, method="ping"))


async def test_lines_come_in_their_order_and_then_the_end() -> None:
    pair = Pair(nothing)
    for one in range(3 * BATCH):
        pair.read.put(line(one))
    pair.read.end()

    assert [number(item) async for item in pair.read] == list(range(3 * BATCH))


async def test_who_writes_without_end_lets_others_run() -> None:
    pair = Pair(nothing)
    pair.write.attach(lambda _line: None, lambda: False)

    async def write() -> None:
        for _ in range(1000 * BATCH):
            await pair.write.send(REQUEST)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not writing.done()
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()


@pytest.mark.parametrize(
    "bad", [b"{", b'{"jsonrpc":"2.0","id":1}', b'{"id":1,"result":5}', b"\xff"]
)
async def test_a_bad_line_is_an_exception_and_the_next_one_is_read(bad: bytes) -> None:
    pair = Pair(nothing)
    pair.read.put(bad)
    pair.read.put(line(7))

    assert isinstance(await pair.read.receive(), ValueError)
    assert number(await pair.read.receive()) == 7


async def test_whoever_waits_learns_of_the_end() -> None:
    pair = Pair(nothing)
    waiting = asyncio.create_task(pair.read.receive())
    await asyncio.sleep(0)
    pair.read.end()

    with pytest.raises(anyio.EndOfStream):
        await waiting


async def test_whoever_waits_learns_that_it_was_closed() -> None:
    pair = Pair(nothing)
    waiting = asyncio.create_task(pair.read.receive())
    await asyncio.sleep(0)
    await pair.read.aclose()

    with pytest.raises(anyio.ClosedResourceError):
        await waiting


async def test_a_cancelled_wait_loses_no_line() -> None:
    pair = Pair(nothing)
    waiting = asyncio.create_task(pair.read.receive())
    await asyncio.sleep(0)
    pair.read.put(line(1))
    waiting.cancel()
    await asyncio.wait([waiting])

    assert number(await pair.read.receive()) == 1


async def test_bytes_that_wait_are_counted_until_they_are_taken() -> None:
    pair = Pair(nothing)
    pair.read.put(line(1))
    assert pair.read.waiting_bytes == len(line(1))

    await pair.read.receive()
    assert pair.read.waiting_bytes == 0


async def test_a_closed_stream_keeps_nothing() -> None:
    pair = Pair(nothing)
    pair.read.put(line(1))
    pair.read.close()
    pair.read.put(line(2))

    assert pair.read.waiting_bytes == 0
    with pytest.raises(anyio.ClosedResourceError):
        await pair.read.receive()


async def test_a_long_row_of_lines_lets_others_run() -> None:
    pair, turns = Pair(nothing), 0
    for one in range(4 * BATCH):
        pair.read.put(line(one))
    pair.read.end()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async for _ in pair.read:
        pass
    counting.cancel()

    assert turns >= 3


async def test_what_is_sent_before_anybody_is_there_waits() -> None:
    pair = Pair(nothing)
    lines: list[bytes] = []
    sending = asyncio.create_task(pair.write.send(REQUEST))
    await asyncio.sleep(0)
    assert not sending.done()
    pair.write.attach(lines.append, lambda: False)
    await sending

    assert json.loads(lines[0]) == {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def test_a_full_way_holds_up_whoever_sends() -> None:
    pair, lines, full = Pair(nothing), list[bytes](), [True]
    pair.write.attach(lines.append, lambda: full[0])
    sending = asyncio.create_task(pair.write.send(REQUEST))
    await asyncio.sleep(0)
    assert not lines
    full[0] = False
    await until(sending.done)

    assert len(lines) == 1


async def test_nobody_sends_to_who_is_gone() -> None:
    pair = Pair(nothing)
    pair.over()

    with pytest.raises(anyio.BrokenResourceError):
        await pair.write.send(REQUEST)


async def test_nobody_sends_on_a_closed_stream() -> None:
    pair = Pair(nothing)
    async with pair.write:
        pass

    with pytest.raises(anyio.ClosedResourceError):
        await pair.write.send(REQUEST)


async def test_its_end_is_told_once() -> None:
    told: list[None] = []
    pair = Pair(lambda: told.append(None))
    await pair.read.aclose()
    await pair.read.aclose()

    assert len(told) == 1
