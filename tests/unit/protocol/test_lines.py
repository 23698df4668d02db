"""The line splitter: however the bytes are cut, the lines are the same."""

import time

from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol.lines import LineSplitter, Oversize


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    data=st.text(alphabet="ab\n\r", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(min_value=0, max_value=60)),
    limit=st.integers(min_value=1, max_value=12),
)
def test_any_chunking_gives_the_same_lines(data: bytes, cuts: list[int], limit: int) -> None:
    whole = data.split(b"\n")
    splitter = LineSplitter(limit)

    lines = [line for piece in chunks(data, cuts) for line in splitter.receive(piece)]

    assert lines == [line for line in whole[:-1] if len(line) <= limit]
    assert splitter.close() == (whole[-1] if len(whole[-1]) <= limit else b"")
    skipped = [line for line in whole if len(line) > limit]
    assert splitter.take_oversize() == [Oversize(len(line), line, line) for line in skipped]


def test_only_a_newline_ends_a_line() -> None:
    data = '{"a":\r"\u2028\u0085\x0b"}\r\n'.encode()

    assert LineSplitter(100).receive(data) == [data[:-1]]


def test_an_empty_line_is_a_line() -> None:
    assert LineSplitter(100).receive(b"\n\na\n") == [b"", b"", b"a"]


def test_of_a_line_that_is_too_large_both_ends_are_told_once_it_is_over() -> None:
    """Its id stands at one of them, and somebody waits for the answer."""
    splitter = LineSplitter(4)

    assert splitter.receive(b"a" * 300) == []
    assert splitter.receive(b"b" * 300) == []
    assert splitter.receive(b"c\nok\n") == [b"ok"]
    [skipped] = splitter.take_oversize()
    assert skipped == Oversize(601, b"a" * 256, b"b" * 255 + b"c")
    assert splitter.take_oversize() == []


def test_a_line_of_exactly_the_limit_passes() -> None:
    splitter = LineSplitter(4)

    assert splitter.receive(b"ab") == []
    assert splitter.receive(b"cd\n") == [b"abcd"]
    assert splitter.take_oversize() == []


def test_closing_returns_what_nothing_ended() -> None:
    splitter = LineSplitter(100)
    splitter.receive(b"whole\nhalf")

    assert splitter.close() == b"half"
    assert splitter.receive(b"new\n") == [b"new"]


def test_a_large_line_in_small_pieces_takes_linear_time() -> None:
    """32 MiB in pieces of 4 KiB; joined anew for each piece it would be 130 GB of copying."""
    splitter = LineSplitter(64 << 20)
    began = time.monotonic()
    for _ in range(8192):
        assert splitter.receive(b"x" * 4096) == []
    [line] = splitter.receive(b"\n")

    assert len(line) == 32 << 20
    assert time.monotonic() - began < 5
