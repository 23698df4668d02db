"""The metrics page: what a server says of itself cannot break it, nor make it endless."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mcpnatsd.daemon import metrics
from mcpnatsd.daemon.metrics import LINES_A_TURN, MOST_TOOLS
from mcpnatsd.protocol.statistics import Statistics


def bridge(server: str, *tools: str) -> Any:
    """Return what the page looks at of one server, each of its tools called once."""
    statistics = Statistics()
    statistics.know(tools)
    for tool in tools:
        statistics.record("tools/call", tool, 0.1, None)
    verdict = SimpleNamespace(names="modern")
    catalogue = SimpleNamespace(statistics=statistics, verdict=verdict)
    idle = SimpleNamespace(sessions=(), queued=0, in_flight=0, parked_calls=0)
    return SimpleNamespace(
        server=server, state="asleep", catalogue=catalogue, shared=[], sessions=[],
        legacy_shared=None, translator=idle, last_fault=None, open_sessions=0,
    )  # fmt: skip


def view_of(*bridges: Any, leaving: tuple[Any, ...] = ()) -> Any:
    """Return what the page looks at of a whole daemon."""
    last = SimpleNamespace(
        loaded=SimpleNamespace(files=()), loaded_at="", count=1, refused=2, last=None, stale=None
    )
    connection = SimpleNamespace(url="", connected=True, up=True, connects=1, trouble=None)
    return SimpleNamespace(
        name="a", version="1", path="", started_at=time.monotonic(), bridges=bridges,
        leaving=leaving, connection=connection, embedded=False, reloader=last, frontends=(),
    )  # fmt: skip


def samples(*bridges: Any, leaving: tuple[Any, ...] = ()) -> dict[tuple[str, str, str], float]:
    """Return the values of the page by name, server and tool, as Prometheus reads them."""
    page = asyncio.run(metrics.page(view_of(*bridges, leaving=leaving), draining=False))
    return {
        (one.name, one.labels.get("server", ""), one.labels.get("tool", "")): one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
    }


def test_a_tool_may_have_any_name() -> None:
    names = ('say "hi"', "back\\slash", "two\nlines", "ümlaut", "}", "")
    found = samples(bridge("one", *names))

    assert {key[2] for key in found if key[0] == "mcpnatsd_tool_calls_total"} == set(names)


def test_of_a_server_with_too_many_tools_the_rest_are_summed() -> None:
    found = samples(bridge("one", *(f"tool{number}" for number in range(MOST_TOOLS + 50))))
    calls = {key: value for key, value in found.items() if key[0] == "mcpnatsd_tool_calls_total"}

    assert len(calls) == MOST_TOOLS + 1
    assert calls["mcpnatsd_tool_calls_total", "one", ""] == 50


def test_servers_that_have_nothing_yet_are_there_all_the_same() -> None:
    found = samples(bridge("one"), bridge("two"))

    assert {key[1] for key in found if key[0] == "mcpnatsd_in_flight"} == {"one", "two"}


def test_a_server_that_was_removed_counts_until_it_has_ended() -> None:
    gone = bridge("gone", "echo")
    gone.translator.in_flight = 3
    found = samples(bridge("one"), leaving=(gone,))

    assert found["mcpnatsd_in_flight", "gone", ""] == 3
    assert found["mcpnatsd_tool_calls_total", "gone", "echo"] == 1


def test_of_a_server_that_was_replaced_its_work_counts_and_its_past_does_not() -> None:
    new, old = bridge("one", "echo"), bridge("one", "echo")
    old.translator.in_flight = 3
    old.state = "failing"
    found = samples(new, leaving=(old,))

    assert found["mcpnatsd_in_flight", "one", ""] == 3
    assert found["mcpnatsd_server_failing", "one", ""] == 0
    assert found["mcpnatsd_tool_calls_total", "one", "echo"] == 1


async def test_others_have_their_turns_while_a_page_of_many_servers_is_made() -> None:
    bridges = [bridge(f"server{number}", "echo") for number in range(100)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    page = await metrics.page(view_of(*bridges), draining=False)
    others.cancel()

    assert turns >= len(bridges) + len(page.splitlines()) // LINES_A_TURN
