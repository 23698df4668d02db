"""What people and programs read."""

import io
import sys

import pytest

from mcpnatsd.verbs.terminal import Waiting, clean, clean_for, say, size, span, table
from tests.waiting import until


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_table_has_columns_and_no_blanks_at_line_ends() -> None:
    assert table(["A", "LONG"], [["long cell", "b"], ["c", ""]]).splitlines() == [
        "A          LONG",
        "long cell  b",
        "c",
    ]


def test_a_cell_cannot_break_its_line() -> None:
    assert table(["A"], [["a\nb\x1b"]]).splitlines() == ["A", "a\\nb\\x1b"]


def test_on_a_terminal_nothing_but_lines_and_tabs_acts() -> None:
    assert clean("a\tb\nc\rd\x1b[2J\x07") == "a\tb\nc\\rd\\x1b[2J\\x07"
    assert clean_for("\x1b[1m", terminal=False) == "\x1b[1m"
    assert clean_for("\x1b[1m", terminal=True) == "\\x1b[1m"


def test_a_lone_surrogate_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    say("\ud800")

    assert capsys.readouterr().out == "\\ud800\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (12_345, "12 kB"),
        (12e6, "12 MB"),
        (5e13, "50000 GB"),
    ],
)
def test_a_size_reads_well(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_a_time_reads_well(seconds: float, text: str) -> None:
    assert span(seconds) == text


async def test_a_short_wait_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    with Waiting("waiting"):
        pass

    assert capsys.readouterr().err == ""


async def test_a_long_wait_is_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    stderr.isatty = lambda: False  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", stderr)
    with Waiting("waiting for time", 0.0):
        await until(stderr.getvalue)

    assert stderr.getvalue() == "waiting for time …\n"


async def test_on_a_terminal_the_wait_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Waiting("waiting for time", 0.0) as waiting:
        await until(stderr.getvalue)
        waiting.end()

    assert stderr.getvalue() == "\rwaiting for time … 0 s \r\x1b[K"
