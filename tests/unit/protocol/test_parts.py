"""Large messages: cut into frame parts, put together again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.errors import RemoteProtocolError, TooLarge
from mcpnatsd.protocol import parts
from mcpnatsd.protocol.parts import Assembler


@given(body=st.binary(max_size=200), each=st.integers(min_value=1, max_value=50))
def test_what_was_cut_comes_together_again(body: bytes, each: int) -> None:
    assembler = Assembler(len(body))
    *first, (_, _, last) = parts.cut(body, each)
    for number, many, piece in first:
        assert len(piece) == each
        assembler.receive(f"{number}/{many}", piece)

    assert assembler.started == bool(first)
    assert assembler.finish(last) == body
    assert not assembler.started


@given(size=st.integers(min_value=0, max_value=10**6), each=st.integers(min_value=1, max_value=500))
def test_the_count_is_known_before_anything_is_cut(size: int, each: int) -> None:
    many = parts.count(size, each)

    assert (many - 1) * each < max(size, 1) <= many * each


def test_an_empty_body_is_one_empty_part() -> None:
    assert list(parts.cut(b"", 10)) == [(1, 1, b"")]


def test_a_part_is_numbered_from_one() -> None:
    assert list(parts.cut(b"abcde", 2)) == [(1, 3, b"ab"), (2, 3, b"cd"), (3, 3, b"e")]


def test_a_message_fits_when_there_is_room_for_its_headers() -> None:
    """NATS counts the headers too."""
    assert parts.fits(1_000_000, 1024 * 1024)
    assert parts.fits(1024 * 1024 - 4096, 1024 * 1024)
    assert not parts.fits(1024 * 1024 - 4095, 1024 * 1024)


@pytest.mark.parametrize(
    ("max_payload", "each"), [(1024 * 1024, 128 * 1024), (65536, 61440), (4096, 1024), (100, 1024)]
)
def test_parts_are_small_enough_for_the_broker_and_for_others_to_pass(
    max_payload: int, each: int
) -> None:
    assert parts.part_bytes(max_payload) == each


@pytest.mark.parametrize(
    "position", ["1/3", "3/3", "0/3", "-1/3", "", "/3", "x", "02/3", "2 /3", "²/3"]
)
def test_a_part_that_is_not_the_next_one_is_refused(position: str) -> None:
    assembler = Assembler(100)
    assembler.receive("1/3", b"a")

    with pytest.raises(RemoteProtocolError, match="out of order"):
        assembler.receive(position, b"b")


def test_a_part_that_was_refused_leaves_no_trace() -> None:
    assembler = Assembler(100)
    with pytest.raises(RemoteProtocolError):
        assembler.receive("2/2", b"x")

    assembler.receive("1/2", b"a")

    assert assembler.finish(b"b") == b"ab"


def test_a_message_that_grows_over_its_limit_is_stopped_at_once() -> None:
    assembler = Assembler(3)
    assembler.receive("1/9", b"abc")

    with pytest.raises(TooLarge, match="3 bytes"):
        assembler.receive("2/9", b"d")
    with pytest.raises(TooLarge):
        assembler.finish(b"d")


def test_the_last_piece_counts_too() -> None:
    assembler = Assembler(3)
    assembler.receive("1/2", b"abc")

    with pytest.raises(TooLarge):
        assembler.finish(b"d")


def test_a_message_of_one_piece_is_handed_on_as_it_is() -> None:
    body = b"whole"

    assert Assembler(1).finish(body) is body


def test_an_assembler_can_be_used_again() -> None:
    assembler = Assembler(4)
    for _ in range(3):
        assembler.receive("1/2", b"ab")
        assert assembler.finish(b"cd") == b"abcd"
