"""The parser, fed by hand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.bus.parser import MAX_LINE_BYTES, Parser
from mcpnatsd.errors import RemoteProtocolError


class Fed:
    """A parser with one route, `1`, and a note of all it called."""

    def __init__(self) -> None:
        self.called: list[tuple[object, ...]] = []
        self.parser = Parser(
            {b"1": lambda *msg: self.called.append(msg), b"2": self.fail},
            on_stray=lambda *msg: self.called.append(("stray", *msg)),
            on_line=lambda line: self.called.append(("line", line)),
            on_fault=lambda sid, subject, error: self.called.append(
                ("fault", sid, subject, str(error))
            ),
        )

    @staticmethod
    def fail(*_: object) -> None:
        raise ValueError("broken")


STREAM = (
    b"INFO {}\r\n"
    b"MSG a.b 1 4\r\nbody\r\n"
    b"MSG a 1 re.ply 0\r\n\r\n"
    b"PING\r\n"
    b"HMSG a 1 12 16\r\nNATS/1.0\r\n\r\n\r\n\r\n\r\n"
    b"HMSG a 1 re.ply 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"-ERR 'no'\r\n"
    b"MSG c 7 2\r\n\r\n\r\n"
    b"MSG c 2 2\r\nno\r\n"
    b"MSG a 1 1\r\nx\r\n"
)
MEANING = [
    ("line", b"INFO {}"),
    (b"a.b", b"", b"body", None),
    (b"a", b"re.ply", b"", None),
    ("line", b"PING"),
    (b"a", b"", b"\r\n\r\n", b"NATS/1.0\r\n\r\n"),
    (b"a", b"re.ply", b"", b"NATS/1.0 503\r\n\r\n"),
    ("line", b"-ERR 'no'"),
    ("stray", b"7", b"c", b"", b"\r\n", None),
    ("fault", b"2", b"c", "broken"),
    (b"a", b"", b"x", None),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_however_the_bytes_are_cut_they_mean_the_same(cuts: list[int]) -> None:
    fed = Fed()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        fed.parser.feed(STREAM[start:end])
    assert fed.called == MEANING


def test_byte_by_byte() -> None:
    fed = Fed()
    for at in range(len(STREAM)):
        fed.parser.feed(STREAM[at : at + 1])
    assert fed.called == MEANING


@pytest.mark.parametrize("line", [b"MSG a 1", b"MSG a 1 x", b"HMSG a 1 4", b"MSG a 1 b c 4"])
def test_a_message_without_a_size_is_not_the_protocol(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Fed().parser.feed(line + b"\r\n")


def test_a_line_without_an_end_is_not_the_protocol() -> None:
    fed = Fed()
    with pytest.raises(RemoteProtocolError):
        fed.parser.feed(b"x" * (MAX_LINE_BYTES + 1))


def test_a_body_may_be_larger_than_a_line() -> None:
    fed = Fed()
    body = bytes(3 * MAX_LINE_BYTES)
    stream = b"MSG a 1 %d\r\n%s\r\n" % (len(body), body)
    for at in range(0, len(stream), 65_536):
        fed.parser.feed(stream[at : at + 65_536])
    assert fed.called == [(b"a", b"", body, None)]
