"""How much of what a server writes gets into the log, and in which shape."""

import logging

import pytest

from mcpnatsd.backends.line_log import Allowance, LineLog, printable

log = logging.getLogger("tests.line_log")


def test_a_burst_passes_and_the_rest_is_dropped() -> None:
    allowance = Allowance(burst=20, per_second=10, now=100.0)

    assert allowance.take(50, now=100.0) == 20
    assert allowance.take(50, now=100.5) == 5
    assert allowance.take_dropped() == 75
    assert allowance.take_dropped() == 0


def test_an_allowance_does_not_grow_for_ever() -> None:
    allowance = Allowance(burst=20, per_second=10, now=0.0)

    assert allowance.take(1000, now=3600.0) == 20


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain\r", "plain"),
        (b"\tindented", "\tindented"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"bell\x07 null\x00", "bell\\x07 null\\x00"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("grüße ✓".encode(), "grüße ✓"),
        ("\u2028".encode(), ""),
        ("a\u2028b".encode(), "a\\u2028b"),
        (b"x" * 501, "x" * 499 + "…"),
        (b"x" * 500, "x" * 500),
        (b"x" * 10_000_000, "x" * 499 + "…"),
    ],
)
def test_a_line_is_made_printable(line: bytes, text: str) -> None:
    assert printable(line) == text


def test_what_was_dropped_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", log.name)
    lines = LineLog("git", "server says", log, logging.INFO)

    lines.write([b"line"] * 100)
    lines.close()
    lines.close()

    assert [record.getMessage() for record in caplog.records] == ["server says"] * 20 + [
        "lines dropped"
    ]
    assert [record.__dict__.get("text") for record in caplog.records] == ["line"] * 20 + [None]
    assert caplog.records[-1].__dict__["dropped"] == 80
    assert {record.__dict__["server"] for record in caplog.records} == {"git"}


def test_a_level_that_is_off_counts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", log.name)
    lines = LineLog("git", "line skipped", log, logging.DEBUG)

    lines.write([b"line"] * 100)
    lines.close()

    assert caplog.records == []
