"""A drain has an end, whatever is open."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from mcpnatsd.daemon import draining
from mcpnatsd.daemon.draining import Draining


class Held:
    """A bridge, as far as a drain sees one, with a call that ends when the test says so."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.responder = SimpleNamespace(in_flight=1)
        self.sessions: tuple[Any, ...] = ()
        self.translator = SimpleNamespace(parked_calls=0)
        self.open_sessions = 0
        self.over = asyncio.Event()
        self.drains = 0

    async def drain(self) -> None:
        self.drains += 1
        await self.over.wait()
        self.responder.in_flight = 0


async def test_what_is_open_after_the_bound_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_FOR", 0.05)
    held: Any = [Held("quick"), Held("stuck")]
    held[0].over.set()
    one = Draining(lambda: held, list)
    running = asyncio.create_task(one.run())
    assert not one.begun

    one.begin()
    async with asyncio.timeout(5):
        assert await one.wait() == "stuck: 1 in flight, sessions: 0"
        await running


async def test_it_is_over_when_nothing_is_open_and_happens_once() -> None:
    held: Any = [Held("one"), Held("two")]
    one = Draining(lambda: held, list)
    running = asyncio.create_task(one.run())
    for _ in range(3):
        one.begin()
    waiting = [asyncio.create_task(one.wait()) for _ in range(3)]
    for bridge in held:
        bridge.over.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == ["nothing"] * 3
        await running

    assert [bridge.drains for bridge in held] == [1, 1]


async def test_a_hurry_ends_it_at_once() -> None:
    held: Any = [Held("stuck")]
    one = Draining(lambda: held, list)
    one.begin()
    one.hurry()
    async with asyncio.timeout(5):
        await one.run()
        assert "stuck" in await one.wait()


async def test_the_time_left_is_that_of_the_moment_it_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(draining, "DRAIN_FOR", 1.4)
    monkeypatch.setattr(draining, "SAY_EVERY", 1.0)
    held: Any = [Held("stuck")]
    one = Draining(lambda: held, list)
    one.begin()
    with caplog.at_level(logging.INFO):
        async with asyncio.timeout(10):
            await one.run()

    told = [vars(record) for record in caplog.records]
    assert [one["left"] for one in told if one["msg"] == "still draining"][:1] == ["0 s"]
    assert [one["what"] for one in told if one["msg"] == "draining"] == ["1 server"]


async def test_without_servers_there_is_nothing_to_wait_for() -> None:
    one = Draining(list, list)
    one.begin()
    async with asyncio.timeout(5):
        await one.run()
        assert await one.wait() == "nothing"
