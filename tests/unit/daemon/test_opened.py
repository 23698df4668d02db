"""Endpoints that a reload removes: each ends, however many there are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcpnatsd.config.model import UnixEndpoint
from mcpnatsd.daemon import opened as module
from mcpnatsd.daemon.opened import Endpoints

BOUND = 10.0


class Listening:
    """A frontend, as far as those who open it see one."""

    def __init__(self, endpoint: UnixEndpoint, on_open: Callable[[], None]) -> None:
        self.place = endpoint.path
        self.in_flight = 0
        self.ended = asyncio.Event()
        self._on_open = on_open

    async def run(self) -> None:
        self._on_open()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def drain(self) -> None:
        while self.in_flight:  # as a frontend does
            await asyncio.sleep(0.001)


@asynccontextmanager
async def endpoints(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> AsyncIterator[tuple[Endpoints, list[Listening]]]:
    """Yield so many that are open; see that all have ended, and nothing else runs, at the end."""
    made: list[Listening] = []

    def frontend(endpoint: UnixEndpoint, _bus: Any, _folder: Path, on_open: Any, _old: Any) -> Any:
        made.append(Listening(endpoint, on_open))
        return made[-1]

    async def bus() -> Any:
        return SimpleNamespace(requester=SimpleNamespace(run=asyncio.Event().wait))

    monkeypatch.setattr(module, "frontend", frontend)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        one = Endpoints(bus, group, Path("/nowhere"))
        for number in range(count):
            await one.open(str(number), UnixEndpoint(path=str(number), server="a"))
        yield one, made
        await one.stop()
        assert all(it.ended.is_set() for it in made)


async def test_each_of_many_that_are_removed_at_once_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEAVING", 4)
    async with endpoints(monkeypatch, 9) as (one, made):
        one.close(map(str, range(9)))
        for it in made:
            await it.ended.wait()


async def test_a_stop_ends_those_that_have_not_begun_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with endpoints(monkeypatch, 3) as (one, _made):
        one.close(map(str, range(3)))


async def test_only_those_whose_clients_wait_count_and_of_them_the_oldest_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_LEAVING", 2)
    async with endpoints(monkeypatch, 9) as (one, made):
        busy = [made[0], made[7], made[8]]
        for it in busy:
            it.in_flight = 1
        one.close(map(str, range(9)))

        for it in made[:7]:
            await it.ended.wait()
        assert not any(it.ended.is_set() for it in busy[1:])
        cut_off = [it for it in caplog.records if "are cut off" in it.message]
        assert [vars(it)["endpoint"] for it in cut_off] == ["0"]
