"""Servers that a reload replaces: each ends, however many there are, and calls are not cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mcpnatsd.config.model import Limits, ServerConfig
from mcpnatsd.daemon import servers as module
from mcpnatsd.daemon.servers import Servers

BOUND = 10.0


class Serving:
    """A bridge, as far as those who replace it see one."""

    def __init__(self, config: ServerConfig, *, up: asyncio.Event) -> None:
        self.server = config.name
        self.config = config
        self.responder = self
        self.connection = SimpleNamespace(wait_up=up.wait)
        self.joined = True
        self.in_flight = 0
        self.open_sessions = 0
        self.sessions: tuple[Any, ...] = ()
        self.translator = SimpleNamespace(parked_calls=0)
        self.ended = asyncio.Event()

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    def leave(self) -> None:
        self.joined = False

    async def drain(self, *, parked_for: float) -> None:
        assert parked_for == module.LEAVE_WITHIN
        while self.in_flight or self.open_sessions:  # as a bridge does
            await asyncio.sleep(0.001)


class Daemon:
    """All servers, and every bridge that there ever was."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.made: list[Serving] = []
        self.up = asyncio.Event()
        self.up.set()
        no_launchers: Any = SimpleNamespace(of=lambda _: None, close=self._close)
        no_service: Any = SimpleNamespace(add=lambda _: None, remove=lambda _: None)
        self.servers = Servers(self._make, no_launchers, no_service, group, flush=self._flush)

    async def change(self, count: int, value: str, call_timeout: float = 600.0) -> None:
        limits = Limits(call_timeout=call_timeout)
        await self.servers.change(
            ServerConfig(name=f"s{n}", command=("true",), env={"VALUE": value}, limits=limits)
            for n in range(count)
        )

    def _make(self, config: ServerConfig, _launcher: object) -> Any:
        self.made.append(Serving(config, up=self.up))
        return self.made[-1]

    async def _close(self, _launcher: object) -> None:
        pass

    async def _flush(self) -> None:
        await asyncio.sleep(0)


@asynccontextmanager
async def daemon() -> AsyncIterator[Daemon]:
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        one = Daemon(group)
        yield one
        await one.servers.close()
        assert all(bridge.ended.is_set() for bridge in one.made)


async def test_each_of_many_that_are_replaced_at_once_leaves_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_LEAVING", 4)
    async with daemon() as one:
        await one.change(9, "old")
        await asyncio.sleep(0)  # each bridge runs
        await one.change(9, "new")

        assert [bridge.joined for bridge in one.made] == [False] * 9 + [True] * 9
        for bridge in one.made[:9]:
            await bridge.ended.wait()
        assert one.servers.leaving == []


async def test_only_those_with_open_work_count_and_of_them_the_oldest_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_LEAVING", 2)
    async with daemon() as one:
        await one.change(9, "old")
        await asyncio.sleep(0)
        busy = [one.made[0], one.made[7], one.made[8]]
        for bridge in busy:
            bridge.in_flight = 1
        await one.change(9, "new")

        await busy[0].ended.wait()
        for bridge in one.made[1:7]:
            await bridge.ended.wait()
        assert not any(bridge.ended.is_set() for bridge in busy[1:])
        given_up = [it for it in caplog.records if "is given up" in it.message]
        assert [vars(it)["server"] for it in given_up] == ["s0"]


async def test_a_modern_call_may_take_as_long_at_a_server_that_was_replaced_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LEAVE_WITHIN", 0.01)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    async with daemon() as one:
        await one.change(3, "old", call_timeout=0.5)
        await asyncio.sleep(0)
        calls, session, both = one.made
        calls.in_flight = both.in_flight = 1
        session.open_sessions = both.open_sessions = 1
        await one.change(3, "new")

        await session.ended.wait()
        assert not calls.ended.is_set()
        assert not both.ended.is_set()
        both.in_flight = 0
        await both.ended.wait()
        assert not calls.ended.is_set()
        await calls.ended.wait()


async def test_one_that_is_replaced_while_nats_is_away_leaves_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LEAVE_WITHIN", 0.01)
    async with daemon() as one:
        await one.change(1, "old")
        await asyncio.sleep(0)
        one.up.clear()
        await one.change(1, "new")

        assert not one.made[0].joined
        await one.made[0].ended.wait()
