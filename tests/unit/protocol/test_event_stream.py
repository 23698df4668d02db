"""Server-sent events: how they look, and what is kept of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol.event_stream import EventId, EventStore, event, priming


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


def kept(*events: tuple[str, int], most_bytes: int = 100, most_events: int = 100) -> EventStore:
    store = EventStore(most_bytes, most_events)
    for stream, number in events:
        store.keep(EventId(stream, number), b"x" * 10)
    return store


def test_a_stream_goes_on_behind_the_last_event() -> None:
    store = kept(("a", 1), ("b", 1), ("a", 2), ("a", 3))

    assert [id.number for id, _ in store.between("a", 1, 3)] == [2, 3]
    assert store.between("a", 3, 3) == []
    assert store.between("c", 0, 9) == []


def test_the_oldest_go_first_by_bytes_and_by_number() -> None:
    by_bytes = kept(*(("a", number) for number in range(1, 13)))
    by_number = kept(*(("a", number) for number in range(1, 5)), most_events=2)

    assert [id.number for id, _ in by_bytes.between("a", 0, 12)] == list(range(3, 13))
    assert by_bytes.kept_bytes == 100
    assert [id.number for id, _ in by_number.between("a", 0, 4)] == [3, 4]


def test_a_stream_is_forgotten_whole_and_no_other() -> None:
    store = kept(("a", 1), ("b", 1), ("a", 2))
    store.forget("a", 2)

    assert store.between("a", 0, 2) == []
    assert len(store.between("b", 0, 1)) == 1
    assert store.kept_bytes == 10


def test_a_message_over_the_bound_is_not_kept() -> None:
    store = kept()
    store.keep(EventId("a", 1), b"x" * 101)

    assert store.between("a", 0, 1) == []
    assert store.kept_bytes == 0


def test_a_number_out_of_reach_costs_nothing() -> None:
    assert kept(("a", 1)).between("a", 0, 10**17) == []
