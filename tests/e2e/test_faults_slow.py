"""Faults that take their time. All that were chosen run at once, beside each other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.connections import plain
from tests.faults import Bus, ask, bus, fault_of, frozen, seconds, serving
from tests.gateways import events_of, gateway
from tests.running import Shim, text_of
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Scenario = Callable[[Path], Coroutine[None, None, None]]

BOUND = 120.0
LOST = (-31005, "unknown")
OUTAGE = 90.0
FREEZE = 20.0


async def an_outage_of_90_seconds_costs_no_call(folder: Path) -> None:
    async with bus(folder) as own, serving(own) as daemon:
        modern, legacy = await own.modern(), await own.legacy()
        asked = {}
        for shim, era in ((modern, "modern"), (legacy, "legacy")):
            for text, duration in (("during", 5), ("after", OUTAGE + 10)):
                given = {"text": f"{era} {text}", "seconds": duration}
                asked[given["text"]] = shim, ask(shim, "record", era=era, **given)
        tick = {"name": "tick", "arguments": {"steps": 100, "every": 0.1}}
        legacy.legacy("tools/call", id="tick", **tick, _meta={"progressToken": 1})
        await own.record.has(6)
        await until(lambda: own.record.runs()["-"] == 1, BOUND)

        own.natsd.kill()
        for one in (daemon, modern, legacy):
            await one.said("NATS is away")
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(own.natsd.start)

        for text, (shim, id) in asked.items():
            assert text_of(await shim.answer(id, BOUND)) == text
        assert text_of(await legacy.answer("tick", BOUND)) == "ticked"
        assert [note["params"]["progress"] for note in legacy.notes] == list(range(1, 101))
        assert text_of(await legacy.call("record", era="legacy", text="again")) == "again"
        assert {*own.record.runs().values()} == {1}


async def a_killed_daemon_is_noticed(folder: Path) -> None:
    await daemon_is_killed(folder, spied=False)


async def a_killed_daemon_is_noticed_where_someone_listens_to_everything(folder: Path) -> None:
    await daemon_is_killed(folder, spied=True)


async def daemon_is_killed(folder: Path, *, spied: bool) -> None:
    async with bus(folder) as own, AsyncExitStack() as stack:
        if spied:
            spy = await stack.enter_async_context(plain(own.natsd.url))
            await spy.subscribe(">", cb=ignore)
        first = await stack.enter_async_context(serving(own, "first"))
        modern, legacy = await own.modern(), await own.legacy()
        await set_state(legacy)
        lost = ask(modern, "sleep", seconds=1000)
        in_flight = ask(legacy, "sleep", era="legacy", seconds=1000)
        await until(lambda: own.record.runs()["-"] == 2, BOUND)
        before = {pid for pid, _, _ in own.record.lines()}
        await stack.enter_async_context(serving(own, "second"))

        first.kill()
        killed_at = seconds()
        await first.ended()
        assert text_of(await modern.call("record", text="next", bound=BOUND)) == "next"
        assert fault_of(await legacy.answer(in_flight, BOUND)) == LOST
        told = await legacy.call("record", era="legacy", text="next", bound=BOUND)
        assert text_of(told) == "next"
        assert fault_of(await modern.answer(lost, BOUND)) == LOST
        assert seconds() - killed_at < 75

        sessions = {pid for pid, method, _ in own.record.lines() if method == "initialize"} - before
        assert [own.record.of(pid) for pid in sessions] == [
            [
                ("initialize", "-"),
                ("notifications/initialized", "-"),
                ("logging/setLevel", "warning"),
                ("resources/subscribe", "file:///two"),
                ("tools/call", "next"),
            ]
        ]
        assert own.record.runs()["next"] == 2


async def a_killed_daemon_is_noticed_behind_a_gateway(folder: Path) -> None:
    async with (
        bus(folder) as own,
        gateway(folder / "web", {}, nats_url=own.natsd.url) as web,
        AsyncExitStack() as stack,
    ):
        web.http.timeout = BOUND
        first = await stack.enter_async_context(serving(own, "first"))
        session = await web.session("recorder")
        waiting = [
            asyncio.create_task(web.call("recorder", "sleep", seconds=1000)),
            asyncio.create_task(session.call("sleep", seconds=1000, id=7)),
        ]
        await until(lambda: own.record.runs()["-"] == 2, BOUND)
        await stack.enter_async_context(serving(own, "second"))

        first.kill()
        killed_at = seconds()
        await first.ended()
        for _ in range(3):
            answer = await web.call("recorder", "record", text="next")
            assert text_of(answer.json()) == "next"
        for one in waiting:
            assert fault_of(events_of((await one).text)[-1]) == LOST
        assert seconds() - killed_at < 75
        again = await session.call("record", text="again", id=8)
        assert text_of(again.json()) == "again"


async def set_state(legacy: Shim) -> None:
    """Bring a session into a state that a new instance must be told."""
    for method, params in (
        ("logging/setLevel", {"level": "debug"}),
        ("logging/setLevel", {"level": "warning"}),
        ("resources/subscribe", {"uri": "file:///one"}),
        ("resources/subscribe", {"uri": "file:///two"}),
        ("resources/unsubscribe", {"uri": "file:///one"}),
    ):
        assert "result" in await legacy.answer(legacy.legacy(method, **params), BOUND)


async def ignore(_: object) -> None:
    """Listen, and do nothing."""


async def a_frozen_nats_is_waited_for(folder: Path) -> None:
    async with bus(folder) as own, serving(own) as daemon:
        modern, legacy = await own.modern(), await own.legacy()
        asked = ask_both(modern, legacy, "before", 3)
        await own.record.has(2, "before")
        await asyncio.to_thread(own.natsd.freeze)
        late = ask_both(modern, legacy, "meanwhile", 0)
        await asyncio.sleep(FREEZE)
        for one in (daemon, modern, legacy):
            await one.said("NATS is away")
        own.natsd.thaw()

        for shim, id in asked:
            assert text_of(await shim.answer(id, BOUND)) == "before"
        for shim, id in late:
            response = await shim.answer(id, BOUND)
            assert "result" in response or fault_of(response) == LOST
        await both_work(own, modern, legacy)


async def a_frozen_daemon_is_waited_for(folder: Path) -> None:
    async with bus(folder) as own, serving(own, "first") as first:
        modern, legacy = await own.modern(), await own.legacy()
        asked = ask_both(modern, legacy, "before", 3)
        await own.record.has(2, "before")
        async with serving(own, "second"):
            with frozen(first.pid):
                for _ in range(3):
                    asked += ask_both(modern, legacy, "meanwhile", 0)
                await asyncio.sleep(FREEZE)

            for shim, id in asked:
                assert text_of(await shim.answer(id, BOUND)) in ("before", "meanwhile")
            assert own.record.runs()["meanwhile"] == 6
            await both_work(own, modern, legacy)


async def a_daemon_frozen_for_too_long_is_left(folder: Path) -> None:
    async with bus(folder) as own, serving(own, "first") as first:
        modern, legacy = await own.modern(), await own.legacy()
        asked = ask_both(modern, legacy, "before", 3)
        await own.record.has(2, "before")
        async with serving(own, "second"):
            with frozen(first.pid):
                for shim, id in asked:
                    assert fault_of(await shim.answer(id, BOUND)) == LOST
                # NATS goes on to offer new sessions to the frozen one, now and then.
                while "error" in (told := await legacy.call("pid", era="legacy", bound=BOUND)):
                    assert fault_of(told) == (-31001, None)
            await both_work(own, modern, legacy)


async def replies_that_nats_cuts_off_are_asked_for(folder: Path) -> None:
    users = """authorization { users: [
      { user: daemon, password: d, permissions: {
          subscribe: ">", publish: { deny: ["_INBOX_alice.>"] },
          allow_responses: { max: 3, expires: "1m" } } },
      { user: alice, password: a },
    ] }"""
    async with bus(folder, users) as own:
        nats = {"url": own.natsd.url, "user": "daemon", "password": "d"}
        alice = {"USER": "alice", "PASSWORD": "a", "INBOX_PREFIX": "_INBOX_alice"}
        variables = {f"MCPNATSD_{name}": value for name, value in alice.items()}
        async with serving(own, nats=nats) as daemon:
            shim = await own.modern(**variables)
            given = {"name": "progress", "arguments": {"steps": 5}, "_meta": {"progressToken": 1}}
            asked = shim.modern("tools/call", **given)

            assert text_of(await shim.answer(asked, BOUND)) == "5 steps"
            assert [note["params"]["progress"] for note in shim.notes] == [1, 2, 3]
            assert "allow_responses" in await shim.said("frames were lost")
            assert any("NATS denies a subject" in line for line in daemon.log)


async def a_stopped_daemon_leaves_a_legible_error(folder: Path) -> None:
    async with bus(folder) as own:
        async with serving(own) as daemon:
            modern, legacy = await own.modern(), await own.legacy()
            assert await daemon.stop() == 0
        ask_again = await modern.call("echo", text="x", bound=BOUND)
        assert fault_of(ask_again) == (-31001, None)
        assert fault_of(await legacy.call("echo", era="legacy", text="x", bound=BOUND))[0] in (
            -31001,
            -31005,
        )
        async with serving(own):
            assert text_of(await modern.call("echo", text="back", bound=BOUND)) == "back"
            told = await legacy.call("echo", era="legacy", text="back", bound=BOUND)
            assert text_of(told) == "back"


def ask_both(modern: Shim, legacy: Shim, text: str, duration: float) -> list[tuple[Shim, object]]:
    given = {"text": text, "seconds": duration}
    return [
        (modern, ask(modern, "record", **given)),
        (legacy, ask(legacy, "record", era="legacy", **given)),
    ]


async def both_work(own: Bus, modern: Shim, legacy: Shim) -> None:
    """Both eras can call, and nothing before ran twice."""
    for shim, id in ask_both(modern, legacy, "last", 0):
        assert text_of(await shim.answer(id, BOUND)) == "last"
    runs = own.record.runs()
    assert (runs["before"], runs["last"]) == (2, 2)
    assert runs["meanwhile"] in (0, 1, 2, 6)


SCENARIOS: list[Scenario] = [
    an_outage_of_90_seconds_costs_no_call,
    a_killed_daemon_is_noticed,
    a_killed_daemon_is_noticed_where_someone_listens_to_everything,
    a_killed_daemon_is_noticed_behind_a_gateway,
    a_frozen_nats_is_waited_for,
    a_frozen_daemon_is_waited_for,
    a_daemon_frozen_for_too_long_is_left,
    replies_that_nats_cuts_off_are_asked_for,
    a_stopped_daemon_leaves_a_legible_error,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[Scenario, asyncio.Task[None]]]:
    """All chosen scenarios, begun."""
    tests = [item for item in request.session.items if item.path == request.path]
    chosen: list[Scenario] = [test.callspec.params["scenario"] for test in tests]
    tasks = {
        scenario: asyncio.create_task(scenario(tmp_path_factory.mktemp(scenario.__name__[:30])))
        for scenario in chosen
    }
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_in_time(scenario: Scenario, begun: dict[Scenario, asyncio.Task[None]]) -> None:
    await begun[scenario]
