"""Event streams: the examples of HTML, and whatever chunks they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol.event_reader import Event, EventReader


def read(stream: bytes, limit: int = 1000) -> list[Event]:
    return EventReader(limit).receive(stream)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [Event(b"a")]),
        (b"data:a\n\n", [Event(b"a")]),
        (b"data:  a\n\n", [Event(b" a")]),
        (b"event: message\ndata: a\nid: 7\n\n", [Event(b"a", b"message")]),
        (b"data: a\ndata: b\n\n", [Event(b"a\nb")]),
        (b"data: a\n\ndata: b\n\n", [Event(b"a"), Event(b"b")]),
        (b"event: one\ndata: a\n\ndata: b\n\n", [Event(b"a", b"one"), Event(b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(b"a")]),
        (b": keep-alive\n\ndata: a\n\n", [Event(b"a")]),
        (b"data: a:b\n\n", [Event(b"a:b")]),
        (b"unknown: x\ndata: a\n\n", [Event(b"a")]),
        (b"data\n\n", []),
        (b"data:\n\n", []),
        (b"event: ping\n\n", []),
        (b"data: never ended\n", []),
    ],
)
def test_events_are_read(stream: bytes, events: list[Event]) -> None:
    assert read(stream) == events
    assert read(stream.replace(b"\n", b"\r\n")) == events
    assert read(stream.replace(b"\n", b"\r")) == events


@given(
    st.lists(st.sampled_from([b"data: a", b"event: x", b"id: 7", b": c", b"", b"data: b"])),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.lists(st.integers(1, 7), min_size=1),
)
def test_chunks_do_not_matter(lines: list[bytes], end: bytes, sizes: list[int]) -> None:
    stream = b"".join(line + end for line in lines)
    reader, found, at, turn = EventReader(1000), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += reader.receive(stream[at : at + size])
        at, turn = at + size, turn + 1

    assert found == read(stream)


def test_the_last_id_stays_until_another_one_comes() -> None:
    reader = EventReader(1000)
    reader.receive(b"id: 1\ndata:\n\n")
    assert reader.last_id == b"1"

    reader.receive(b"data: a\n\nid: 2\n")
    assert reader.last_id == b"1", "the event of the second id has not ended"

    reader.receive(b"\nid: a\0b\ndata: c\n\n")
    assert reader.last_id == b"2"


@pytest.mark.parametrize(
    ("line", "seconds"), [(b"1500", 1.5), (b"0", 0), (b"-1", None), (b"9" * 5000, None)]
)
def test_the_server_says_when_to_come_back(line: bytes, seconds: float | None) -> None:
    reader = EventReader(1000)
    reader.receive(b"retry: " + line + b"\n\n")

    assert reader.retry == seconds


def test_an_event_over_the_limit_is_skipped_and_the_next_one_is_read() -> None:
    reader = EventReader(100)
    large = b"data: " + b"x" * 200 + b"\n\n"

    assert reader.receive(large + b"data: a\n\n") == [Event(b"a")]
    assert [one.size for one in reader.take_oversize()] == [206]
    assert reader.take_oversize() == []


def test_many_lines_of_one_event_have_one_limit() -> None:
    reader = EventReader(100)

    assert reader.receive(b"data: xxxxxxxxxx\n" * 20) == []
    assert reader.receive(b"\ndata: a\n\n") == [Event(b"a")]
    assert [one.size for one in reader.take_oversize()] == [220]


def test_an_event_as_large_as_the_limit_is_read() -> None:
    assert read(b"data: " + b"x" * 100 + b"\n\n", limit=100) == [Event(b"x" * 100)]


def test_a_stream_goes_on_over_another_connection() -> None:
    reader = EventReader(1000)
    reader.receive(b"id: 1\nretry: 10\ndata: a\n\nid: 2\ndata: half")
    reader.reopened()

    assert reader.receive(b"data: b\n\n") == [Event(b"b")]
    assert (reader.last_id, reader.retry) == (b"1", 0.01)
