"""What a log line looks like, for a terminal, the journal and programs."""

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mcpnatsd import log
from mcpnatsd.errors import UsageError

OURS = logging.getLogger("mcpnatsd.test")


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    shim = logging.getLogger(log.SHIM_LOGGER).level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger(log.SHIM_LOGGER).setLevel(shim)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(
    *facts: tuple[str, object],
    phrase: str = "server started",
    environ: Mapping[str, str] | None = None,
    stream: io.StringIO | None = None,
) -> str:
    stream = stream or io.StringIO()
    log.set_up(stream, environ or {})
    OURS.info(phrase, extra=dict(facts))
    return stream.getvalue()


def test_a_fact_is_one_line() -> None:
    line = said(("server", "time"), ("pid", 123))

    assert line[2] == line[5] == ":"
    assert line[8:] == " INFO  server started server=time pid=123\n"


def test_a_value_with_blanks_is_quoted() -> None:
    assert said(("reason", 'it said "no"')).endswith(' reason="it said \\"no\\""\n')
    assert said(("reason", "")).endswith(' reason=""\n')


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b[2J", "\x00", "\x9b", "\u2028", "\u202e"])
def test_nothing_from_elsewhere_acts_on_a_terminal(sign: str) -> None:
    line = said(("text", f"a{sign}b"), phrase=f"c{sign}d")

    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_a_lone_surrogate_can_be_written(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        log.set_up(stream, {})
        OURS.info("odd", extra={"text": "\ud800"})

    assert "\\ud800" in (tmp_path / "log").read_text()


def test_colour_is_for_terminals_that_want_it() -> None:
    assert "\x1b[32mINFO" in said(stream=Terminal())
    assert "\x1b" not in said(stream=Terminal(), environ={"NO_COLOR": "1"})
    assert "\x1b" not in said()


def test_programs_get_json() -> None:
    entry = json.loads(said(("server", "time"), ("pid", 1), environ={"LOG_FORMAT": "json"}))

    assert entry.pop("time").count(":") >= 2
    assert entry == {
        "level": "INFO",
        "logger": "mcpnatsd.test",
        "message": "server started",
        "server": "time",
        "pid": 1,
    }


def test_an_exception_comes_with_its_trace() -> None:
    stream = io.StringIO()
    log.set_up(stream, {})
    try:
        int("a\x1bb")
    except ValueError:
        OURS.exception("it failed")

    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR it failed")
    assert rest[-1].startswith("    ValueError: ")
    assert "\x1b" not in rest[-1]


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        log.set_up(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        OURS.warning("NATS is away", extra={"url": "nats://a"})

    assert path.read_text() == "<4>NATS is away url=nats://a\n"


def test_a_stream_that_is_not_the_journal_has_times(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        log.set_up(stream, {"JOURNAL_STREAM": "1:2"})
        OURS.warning("NATS is away")

    assert not (tmp_path / "log").read_text().startswith("<")


def test_the_level_can_be_chosen() -> None:
    assert said(environ={"LOG_LEVEL": "warning"}) == ""
    assert said(environ={"LOG_LEVEL": ""}) != ""


@pytest.mark.parametrize("name", ["LOG_LEVEL", "LOG_FORMAT"])
def test_a_choice_that_is_none_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}=loud is none of"):
        log.set_up(io.StringIO(), {name: "loud"})


def test_the_shim_says_warnings_and_that_it_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up_shim({})
    logging.getLogger(log.SHIM_LOGGER).info("reconnected")
    OURS.info("of no interest")
    OURS.warning("NATS is away")

    lines = capsys.readouterr().err.splitlines()
    assert [line[9:] for line in lines] == ["INFO  reconnected", "WARNING NATS is away"]


def test_the_shim_can_be_made_to_say_more(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up_shim({"LOG_LEVEL": "ERROR"})
    logging.getLogger(log.SHIM_LOGGER).info("reconnected")

    assert capsys.readouterr().err == ""
