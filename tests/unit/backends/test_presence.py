"""What a look at a server at a URL means for its place in the queue group."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpnatsd.backends import presence
from mcpnatsd.backends.launch import Launcher, Listener
from mcpnatsd.backends.presence import AWAY_AFTER, UNREACHABLE, Presence
from mcpnatsd.backends.process import Process
from mcpnatsd.config.model import ServerConfig, Start
from mcpnatsd.errors import McpnatsdError, ProcessDied
from tests.waiting import until

AWAY = f"{UNREACHABLE} http://h/mcp: connection refused"


class Far(Launcher):
    """A server that is there, or not."""

    def __init__(self) -> None:
        self.there = True
        self.looks = 0

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        raise NotImplementedError

    async def look(self, _config: ServerConfig) -> None:
        self.looks += 1
        await asyncio.sleep(0)
        if not self.there:
            raise ProcessDied(AWAY)


class Owner:
    """Who is told."""

    def __init__(self, *, joined: bool = True) -> None:
        self.last_fault: str | None = None
        self.joined = joined
        self.is_tried = False
        self.failures: list[int] = []
        self.ready = 0

    def modern_ready(self) -> None:
        self.last_fault, self.joined = None, True
        self.ready += 1

    def start_failed(self, failures: int, fault: McpnatsdError) -> None:
        self.last_fault = str(fault)
        self.failures.append(failures)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(presence, "LOOK_AGAIN", 0.01)


@asynccontextmanager
async def looking(
    far: Far, owner: Owner, start: Start = Start.EAGER
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Look at a server until the block ends; yield what waits for two further looks."""

    async def up() -> None: ...

    async def more() -> None:
        before = far.looks
        await until(lambda: far.looks >= before + 2)

    config = ServerConfig(name="far", url="http://h/mcp", start=start)
    task = asyncio.create_task(Presence(config, far, owner, up).run())
    try:
        yield more
        assert not task.done()
    finally:
        task.cancel()


async def test_one_failed_look_is_not_enough_to_leave() -> None:
    far, owner = Far(), Owner()
    async with looking(far, owner) as more:
        await more()
        far.there = False
        await until(lambda: len(owner.failures) >= 2)

    assert owner.failures[:2] == [1, AWAY_AFTER]


async def test_after_a_failed_look_a_good_one_clears_the_fault() -> None:
    far, owner = Far(), Owner()
    async with looking(far, owner) as more:
        await more()
        far.there = False
        await until(lambda: owner.last_fault is not None)
        far.there = True
        await until(lambda: owner.last_fault is None)


@pytest.mark.parametrize("fault", [AWAY, None])
@pytest.mark.parametrize("start", Start)
async def test_one_that_left_comes_back_when_somebody_listens(
    fault: str | None, start: Start
) -> None:
    far, owner = Far(), Owner(joined=False)
    async with looking(far, owner, start):
        await until(lambda: owner.joined)
        owner.last_fault, owner.joined = fault, False
        await until(lambda: owner.joined)

    assert owner.last_fault is None


async def test_who_is_being_started_joins_by_its_own_start() -> None:
    far, owner = Far(), Owner()
    async with looking(far, owner) as more:
        await more()
        owner.last_fault, owner.joined, owner.is_tried = AWAY, False, True
        await more()
        assert not owner.joined
        owner.is_tried = False
        await until(lambda: owner.joined)


async def test_a_refusal_is_not_over_because_somebody_listens() -> None:
    far, owner = Far(), Owner()
    async with looking(far, owner) as more:
        await more()
        owner.last_fault, owner.joined = "wants a token", False
        await more()

    assert (owner.last_fault, owner.joined) == ("wants a token", False)
