"""Answers of HTTP as bytes."""

import pytest

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol import http_answers


def test_a_head_ends_with_an_empty_line() -> None:
    headers = [(b"content-type", b"application/json")]

    assert http_answers.head(200, headers, b"content-length: 2\r\n") == (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"vary", b"a\r\nset-cookie: x"), (b"vary", b"a\nb"), (b"vary", b"a\0"), (b"vary", b"\x7f"),
     (b"va ry", b"a"), (b"vary\r\nx", b"a"), (b"", b"a"), (b"vary:", b"a")],
)  # fmt: skip
def test_a_header_cannot_bring_another_with_it(name: bytes, value: bytes) -> None:
    for _ in range(2):  # what is refused is not remembered
        with pytest.raises(LocalProtocolError):
            http_answers.head(200, [(name, value)])


def test_a_value_may_hold_what_a_client_sent_in_latin_1() -> None:
    assert b"vary: n\xe9\t x\r\n" in http_answers.head(200, [(b"vary", b"n\xe9\t x")])


def test_what_is_remembered_has_a_bound() -> None:
    for number in range(1000):
        assert b"vary: %d\r\n" % number in http_answers.head(200, [(b"vary", b"%d" % number)])

    assert http_answers._start.cache_info().currsize <= 64


def test_a_chunk_says_its_length_in_hex() -> None:
    assert http_answers.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
