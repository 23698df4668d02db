"""What a server's endpoints have done."""

import pytest

from mcpnatsd.protocol.statistics import (
    BOUNDS,
    GROUPS,
    MOST_UNLISTED,
    Counts,
    Durations,
    Statistics,
)


def test_a_tool_that_is_known_has_counts_of_its_own() -> None:
    statistics = Statistics()
    statistics.know(["echo"])

    statistics.record("tools/call", "echo", 0.25, None)
    statistics.record("tools/call", "echo", 0.5, "it broke")

    assert statistics.tools["echo"] == Counts(2, 1, "it broke", 750_000_000)
    assert statistics.groups["tools"].requests == 0


@pytest.mark.parametrize(
    ("method", "group"),
    [
        ("tools/call", "tools"),
        ("tools/list", "tools"),
        ("resources/templates/list", "resources"),
        ("server/discover", "server"),
        ("subscriptions/listen", "subscriptions"),
        ("initialize", "other"),
        ("tasks/get", "other"),
        ("other", "other"),
        ("", "other"),
        ("/tools", "other"),
    ],
)
def test_everything_else_is_counted_with_its_group(method: str, group: str) -> None:
    statistics = Statistics()

    statistics.know(["listed"])

    statistics.record(method, "unlisted", 0.0, None)

    assert statistics.groups[group].requests == 1
    assert statistics.requests == 1


def test_a_prompt_does_not_count_as_the_tool_of_its_name() -> None:
    statistics = Statistics()
    statistics.know(["echo"])

    statistics.record("prompts/get", "echo", 0.0, None)

    assert statistics.tools["echo"].requests == 0


def test_made_up_names_make_no_endpoints() -> None:
    """Else any caller could fill our memory."""
    statistics = Statistics()
    for number in range(100):
        statistics.record(f"x{number}/y", f"x{number}", 0.0, None)
        statistics.record("tools/call", f"x{number}", 0.0, None)

    assert statistics.tools == {}
    assert set(statistics.groups) == {*GROUPS, "other"}


def test_a_new_list_of_tools_keeps_what_was_counted_in_its_order() -> None:
    statistics = Statistics()
    statistics.know(["b", "gone"])
    statistics.record("tools/call", "b", 1.0, None)

    statistics.know(["z", "b", "a"])

    assert list(statistics.tools) == ["z", "b", "a"]
    assert [counts.requests for counts in statistics.tools.values()] == [0, 1, 0]


def test_the_totals_are_of_tools_and_groups() -> None:
    statistics = Statistics()
    statistics.know(["echo"])
    statistics.record("tools/call", "echo", 0.0, "x")
    statistics.record("tools/list", None, 0.0, None)
    statistics.record("ping", None, 0.0, "y")

    assert (statistics.requests, statistics.errors) == (3, 2)


def test_the_last_error_is_kept_short() -> None:
    counts = Counts()
    counts.add(0.0, "x" * 10_000)

    assert len(counts.last_error) == 200


def test_a_success_does_not_hide_the_last_error() -> None:
    counts = Counts()
    counts.add(0.0, "")
    counts.add(0.0, None)

    assert (counts.requests, counts.errors) == (2, 1)


def test_a_call_that_came_before_the_list_of_tools_is_counted_with_its_tool() -> None:
    """The first call starts the server; its tools are listed while it runs."""
    counts = Statistics()
    counts.record("tools/call", "echo", 1.0, None)
    counts.record("tools/call", "made up", 1.0, "no such tool")
    assert (counts.requests, counts.errors) == (2, 1)

    counts.know(["echo"])

    assert counts.tools["echo"].requests == 1
    assert (counts.groups["tools"].requests, counts.groups["tools"].errors) == (1, 1)
    assert (counts.requests, counts.errors) == (2, 1)


def test_names_that_a_caller_makes_up_do_not_pile_up() -> None:
    counts = Statistics()
    for number in range(10_000):
        counts.record("tools/call", f"tool {number}", 1.0, None)

    assert counts.requests == 10_000
    assert len(counts._unlisted) == MOST_UNLISTED


def test_to_be_of_the_other_era_is_no_error() -> None:
    counts = Statistics()

    counts.record("server/discover", None, 0.1, "speaks the handshake era")

    assert (counts.requests, counts.errors) == (1, 0)


@pytest.mark.parametrize(
    ("seconds", "place"),
    [(0.0, 0), (0.01, 0), (0.0101, 1), (1.0, 6), (300.0, len(BOUNDS) - 1), (300.1, len(BOUNDS))],
)
def test_a_duration_is_counted_at_the_first_bound_that_it_keeps(seconds: float, place: int) -> None:
    durations = Durations()

    durations.add(seconds, failed=False)

    assert durations.within[place] == sum(durations.within) == 1
    assert (durations.seconds, durations.errors) == (seconds, 0)


def test_durations_are_those_of_their_method_and_made_up_methods_share_one_place() -> None:
    statistics = Statistics()
    for number in range(100):
        statistics.record(f"made/up{number}", None, 1.0, None)
    statistics.record("tools/list", None, 1.0, "it broke")

    assert statistics.durations.keys() == {"other", "tools/list"}
    assert sum(statistics.durations["other"].within) == 100
    assert statistics.durations["tools/list"].errors == 1


def test_durations_of_two_are_added() -> None:
    both, other = Durations(), Durations()
    both.add(0.5, failed=True)
    other.add(1000.0, failed=False)

    both.merge(other)

    assert (sum(both.within), both.within[-1]) == (2, 1)
    assert (both.seconds, both.errors) == (1000.5, 1)
