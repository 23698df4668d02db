"""Header blocks: what goes in comes out, and nothing hostile breaks a reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol import headers

TEXT = st.text(st.characters() | st.sampled_from("\r\n\0 =?\ud800"))
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)


@given(st.dictionaries(NAMES, TEXT, max_size=5))
def test_any_text_comes_back(values: dict[str, str]) -> None:
    block = headers.encode([(name, headers.safe(value)) for name, value in values.items()])

    found = headers.parse(block)

    assert {name: headers.plain(value) for name, value in found.items()} == values


@given(TEXT)
def test_a_safe_value_is_printable_ascii_in_one_line(value: str) -> None:
    safe = headers.safe(value)

    assert safe.isascii()
    assert safe.isprintable()
    assert safe == safe.strip() != ""


@pytest.mark.parametrize("value", ["x", "a b", "a:b", "=?utf-8?", "x=?base64?eA==?="])
def test_plain_ascii_stays_readable(value: str) -> None:
    assert headers.safe(value) == headers.plain(value) == value


@pytest.mark.parametrize(
    "value", ["", " x", "x ", "é", "a\r\nMcp-Wire: 2", "=?base64?eA==?=", "\x7f"]
)
def test_what_a_header_cannot_hold_is_base64(value: str) -> None:
    """2026-07-28, Streamable HTTP: non-ASCII or edge white space is `=?base64?…?=`."""
    assert headers.safe(value).startswith("=?base64?")
    assert headers.plain(headers.safe(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?",
        "=?base64?eA==",
        "=?base64?eA?=",
        "=?base64?e A==?=",
        "=?base64?é?=",
        "=?base64?/w==?=",
        "=?base64?eA==?= ",
        "=?base64?eA==?=x",
    ],
)
def test_malformed_base64_is_no_value(value: str) -> None:
    assert headers.plain(value) is None


def test_a_block_is_what_nats_wants() -> None:
    assert headers.encode([("A", "1"), ("B", "2")]) == b"NATS/1.0\r\nA:1\r\nB:2\r\n\r\n"
    assert headers.encode([]) == b"NATS/1.0\r\n\r\n"


@pytest.mark.parametrize(
    "block", [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 503 No Responders\r\nX:1\r\n\r\n"]
)
def test_a_status_is_under_the_empty_name(block: bytes) -> None:
    assert headers.parse(block)[""] == headers.NO_RESPONDERS


def test_no_header_of_a_peer_passes_for_a_status() -> None:
    assert headers.parse(b"NATS/1.0\r\n:503\r\nA:1\r\n\r\n") == {"A": "1"}


def test_a_name_keeps_its_case_and_a_value_its_inner_blanks() -> None:
    assert headers.parse(b"NATS/1.0\r\nmcp-Wire:  a b: c \r\n\r\n") == {"mcp-Wire": "a b: c"}


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"NATS/1.0\r\n" + rest))
def test_any_bytes_are_read_without_a_fault(block: bytes) -> None:
    found = headers.parse(block)

    headers.seq_of(block)
    for name, value in found.items():
        headers.number(found, name)
        headers.plain(value)


def test_no_block_has_no_headers() -> None:
    assert headers.parse(None) == headers.parse(b"") == {}


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_sequence_number_comes_back_by_either_way(seq: int) -> None:
    block = headers.seq_only(seq)

    assert headers.seq_of(block) == seq
    assert headers.number(headers.parse(block), headers.SEQ) == seq


@pytest.mark.parametrize(
    "block",
    [
        None,
        b"",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nMcp-Seq:\r\n\r\n",
        b"NATS/1.0\r\nMcp-Seq: 7\r\n\r\n",
        b"NATS/1.0\r\nMcp-Seq:-7\r\n\r\n",
        b"NATS/1.0\r\nMcp-Seq:7\r\nMcp-Part:1/2\r\n\r\n",
        b"NATS/1.0\r\nMcp-Part:1/2\r\nMcp-Seq:7\r\n\r\n",
        b"NATS/1.0\r\nMcp-Seq:" + b"9" * 5000 + b"\r\n\r\n",
    ],
)
def test_only_a_lone_sequence_number_takes_the_short_way(block: bytes | None) -> None:
    assert headers.seq_of(block) is None


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", " 1", "1_0", "²", "٣", "0x1", "9" * 5000])
def test_nothing_but_digits_is_a_number(text: str) -> None:
    assert headers.number({"N": text}, "N") is None
    assert headers.number({}, "N") is None


def test_digits_are_a_number() -> None:
    assert headers.number({"N": "0"}, "N") == 0
    assert headers.number({"N": "007"}, "N") == 7


def test_long_blocks_are_read_and_not_remembered() -> None:
    before = headers._parse_again.cache_info().currsize
    block = headers.encode([("A", "x" * 2000)])
    request = headers.encode([("A", "x" * 2000), ("Mcp-Call", "c.1")])

    assert headers.parse_again(block) == {"A": "x" * 2000}
    assert headers.parse_request(request) == {"A": "x" * 2000, "Mcp-Call": "c.1"}
    assert headers._parse_again.cache_info().currsize == before


def test_short_blocks_are_remembered() -> None:
    block = headers.encode([("Remembered", "yes")])
    request = headers.encode([("Remembered", "too"), ("Mcp-Call", "c.1")])

    before = headers._parse_again.cache_info().hits
    for _ in range(2):
        headers.parse_again(block)
        headers.parse_request(request)
    assert headers._parse_again.cache_info().hits >= before + 2
