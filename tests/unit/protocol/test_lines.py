"""The line splitter: however the bytes are cut, the lines are the same."""

import time

from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol.lines import LineSplitter


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read(splitter: LineSplitter, pieces: list[bytes]) -> tuple[list[bytes], int]:
    lines = [line for piece in pieces for line in splitter.receive(piece)]
    return lines, len(splitter.take_oversize())


@given(
    data=st.text(alphabet="ab\n\r", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(min_value=0, max_value=60)),
    limit=st.integers(min_value=1, max_value=12),
)
def test_any_chunking_gives_the_same_lines(data: bytes, cuts: list[int], limit: int) -> None:
    whole = data.split(b"\n")
    splitter = LineSplitter(limit)

    lines, oversize = read(splitter, chunks(data, cuts))

    assert lines == [line for line in whole[:-1] if len(line) <= limit]
    assert oversize == sum(len(line) > limit for line in whole)
    assert splitter.close() == (whole[-1] if len(whole[-1]) <= limit else b"")


def test_only_a_newline_ends_a_line() -> None:
    data = '{"a":\r"\u2028\u0085\x0b"}\r\n'.encode()

    assert LineSplitter(100).receive(data) == [data[:-1]]


def test_an_empty_line_is_a_line() -> None:
    assert LineSplitter(100).receive(b"\n\na\n") == [b"", b"", b"a"]


def test_a_line_that_is_too_large_is_noticed_before_its_end() -> None:
    splitter = LineSplitter(4)

    assert splitter.receive(b"abcde") == []
    assert splitter.take_oversize() == [5]
    assert splitter.receive(b"fgh\nok\n") == [b"ok"]
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
