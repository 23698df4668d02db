"""Server-sent events: how they look, and what is kept of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol.event_stream import (
    EVENT_BYTES,
    EventId,
    EventStore,
    SessionEvents,
    event,
    priming,
)


def test_an_event_has_its_message_on_one_line() -> None:
    assert event(b'{"a":1}') == b'event: message\ndata: {"a":1}\n\n'
    assert event(b"{}", id=EventId("s", 3)) == b"id: s.3\nevent: message\ndata: {}\n\n"
    assert event(b"/sse/x", "endpoint") == b"event: endpoint\ndata: /sse/x\n\n"


def test_a_priming_event_has_an_id_and_no_data() -> None:
    assert priming(EventId("s", 0)) == b"id: s.0\ndata: \n\n"


@given(st.from_regex(r"[a-z0-9.]{1,20}", fullmatch=True), st.integers(0, 10**17))
def test_an_id_is_read_as_it_was_written(stream: str, number: int) -> None:
    assert EventId.parse(str(EventId(stream, number))) == (stream, number)


@pytest.mark.parametrize("text", ["", "x", ".", ".1", "x.", "x.-1", "x.1a", "x.²", "x." + "9" * 19])
def test_what_is_no_id_is_none(text: str) -> None:
    assert EventId.parse(text) is None


SIZE = 10 + EVENT_BYTES


def store_of(most: int, most_events: int = 100) -> EventStore:
    """Return one that has room for so many events."""
    return EventStore(most * SIZE, most_events)


def kept(*events: tuple[str, int], most: int = 100, most_events: int = 100) -> SessionEvents:
    return put(store_of(most, most_events).session(), *events)


def put(session: SessionEvents, *events: tuple[str, int]) -> SessionEvents:
    for stream, number in events:
        session.keep(EventId(stream, number), b"x" * 10)
    return session


def many(stream: str, number: int) -> list[tuple[str, int]]:
    return [(stream, one) for one in range(1, number + 1)]


def numbers(session: SessionEvents, stream: str, after: int, last: int) -> list[int]:
    return [id.number for id, _ in session.between(stream, after, last)]


def test_a_stream_goes_on_behind_the_last_event() -> None:
    session = kept(("a", 1), ("b", 1), ("a", 2), ("a", 3))

    assert numbers(session, "a", 1, 3) == [2, 3]
    assert session.between("a", 3, 3) == []
    assert session.between("c", 0, 9) == []


def test_the_oldest_go_first_by_bytes_and_by_number() -> None:
    by_bytes = kept(*many("a", 12), most=10)
    by_number = kept(*many("a", 4), most_events=2)

    assert numbers(by_bytes, "a", 0, 12) == list(range(3, 13))
    assert by_bytes.kept_bytes == 10 * SIZE
    assert numbers(by_number, "a", 0, 4) == [3, 4]


def test_a_stream_that_lost_its_next_event_cannot_go_on() -> None:
    session = kept(*many("a", 4), most_events=2)

    assert [session.follows("a", after, 4) for after in range(6)] == [
        False, False, True, True, True, False,
    ]  # fmt: skip
    assert session.follows("b", 0, 0)


def test_a_session_that_says_much_takes_no_events_of_its_neighbour() -> None:
    by_number, by_bytes = store_of(100, 10), store_of(10)
    for store in (by_number, by_bytes):
        quiet, loud = put(store.session(), *many("a", 5)), put(store.session(), *many("b", 50))

        assert numbers(quiet, "a", 0, 5) == [1, 2, 3, 4, 5]
        assert numbers(loud, "b", 0, 50)[-1] == 50


def test_a_session_has_its_share_of_what_another_one_had_filled() -> None:
    store = store_of(10)
    loud, quiet = put(store.session(), *many("b", 10)), put(store.session(), *many("a", 5))

    assert numbers(quiet, "a", 0, 5) == [1, 2, 3, 4, 5]
    assert numbers(loud, "b", 0, 10) == [6, 7, 8, 9, 10]
    assert store.kept_bytes == 10 * SIZE


def test_a_stream_is_forgotten_whole_and_no_other() -> None:
    store = store_of(100)
    session = put(store.session(), ("a", 1), ("b", 1), ("a", 2))
    session.forget("a", 2)

    assert session.between("a", 0, 2) == []
    assert len(session.between("b", 0, 1)) == 1
    assert store.kept_bytes == session.kept_bytes == SIZE


def test_a_message_over_the_bound_is_not_kept_and_takes_nobodys_place() -> None:
    store = store_of(2)
    other, session = put(store.session(), ("b", 1)), store.session()
    session.keep(EventId("a", 1), b"x" * 3 * SIZE)

    assert session.between("a", 0, 1) == []
    assert numbers(other, "b", 0, 1) == [1]
    assert store.kept_bytes == SIZE


def test_a_number_out_of_reach_costs_nothing() -> None:
    assert kept(("a", 1)).between("a", 0, 10**17) == []
