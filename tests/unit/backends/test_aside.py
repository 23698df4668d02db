"""When one instance leaves requests to others, and when it takes them back."""

import asyncio
import logging

import pytest

from mcpnatsd.backends import aside
from mcpnatsd.backends.aside import MOST_LOOKS, Aside
from mcpnatsd.errors import BusError, Forbidden
from tests.waiting import until


class Group:
    """A queue group with others in it, who say how many they are once `told` is set."""

    def __init__(self, others: int | BusError = 1, *, tries: bool = True) -> None:
        self.others = others
        self.asked = 0
        self.did: list[str] = []
        self.told = asyncio.Event()
        self.told.set()
        self.aside = Aside(
            "far",
            count_others=self._count,
            leave=lambda: self.did.append("leave"),
            join=lambda: self.did.append("join"),
            try_again=lambda: tries,
        )

    async def _count(self) -> int:
        self.asked += 1
        await self.told.wait()
        if isinstance(self.others, BusError):
            raise self.others
        return self.others


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "LOOK_EVERY", 0.01)


async def test_who_may_not_ask_for_others_joins_and_says_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = Group(Forbidden("no"))
    for _ in range(3):
        await group.aside.step()

    assert group.did == ["join"] * 3
    said = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [one.message for one in said] == ["cannot see other instances; requests stay here"]


async def test_who_may_not_ask_any_more_comes_back() -> None:
    group = Group()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(group.aside.step())
        await until(lambda: group.did == ["leave"])
        group.others = Forbidden("no")

    assert group.did == ["leave", "join"]


async def test_a_start_while_others_are_asked_keeps_it_in_the_group() -> None:
    group = Group()
    group.told.clear()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(group.aside.step())
        await until(lambda: group.asked)
        group.aside.started()
        group.told.set()

    assert group.did == ["join"]


async def test_while_it_is_aside_a_further_failure_asks_nobody() -> None:
    group = Group()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(group.aside.step())
        await until(lambda: group.did)
        group.told.clear()
        asked = group.asked
        await group.aside.step()
        assert group.asked - asked <= 1  # the one of its own clock
        group.aside.started()
        group.told.set()

    assert set(group.did[1:]) == {"join"}


async def test_where_nothing_is_tried_a_client_may_try_after_some_looks() -> None:
    group = Group(tries=False)
    async with asyncio.timeout(10):
        await group.aside.step()

    assert group.did == ["leave", "join"]
    assert group.asked == 1 + MOST_LOOKS


async def test_where_it_is_tried_it_stays_aside_until_a_start_or_nobody_else_is_there() -> None:
    group = Group()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(group.aside.step())
        await until(lambda: group.asked > 2 * MOST_LOOKS)
        assert group.did == ["leave"]
        group.others = 0

    assert group.did == ["leave", "join"]
