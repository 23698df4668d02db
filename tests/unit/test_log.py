"""What a log line looks like, for a terminal, the journal and programs."""

import io
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture
def entries(journal: str) -> Iterator[socket.socket]:
    """The other end, where journald would be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(journal)
        end.settimeout(5)
        yield end


@contextmanager
def under_systemd(folder: Path, journal: str) -> Iterator[Path]:
    """Log to what systemd said is its journal; yield what stands for stderr."""
    path = folder / "stderr"
    with path.open("w", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        log.set_up(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, journal=journal)
        yield path
        logging.getLogger().handlers[0].close()


def test_the_journal_gets_a_line_and_a_field_for_each_fact(
    tmp_path: Path, journal: str, entries: socket.socket
) -> None:
    facts = {
        "server": "git",
        "tool": "log",
        "caller": "alice",
        "subject": "mcp.req.git.tools.call.log",
        "pid": 7,
        "error": None,
    }
    with under_systemd(tmp_path, journal) as stderr:
        OURS.warning("call failed", extra=facts)

    entry = entries.recv(65536).decode().splitlines()
    assert entry[0].startswith("MESSAGE=call failed server=git tool=log caller=alice ")
    assert {
        "PRIORITY=4",
        "SYSLOG_IDENTIFIER=mcpnatsd",
        "LOGGER=mcpnatsd.test",
        "MCP_SERVER=git",
        "MCP_TOOL=log",
        "MCP_CALLER=alice",
        "NATS_SUBJECT=mcp.req.git.tools.call.log",
        "MCPNATSD_PID=7",
        "CODE_FUNC=test_the_journal_gets_a_line_and_a_field_for_each_fact",
    } <= set(entry)
    assert not [line for line in entry if line.startswith("MCPNATSD_ERROR")]
    assert stderr.read_text() == ""


def test_the_journal_gets_an_exceptions_trace_in_the_same_entry(
    tmp_path: Path, journal: str, entries: socket.socket
) -> None:
    with under_systemd(tmp_path, journal):
        try:
            int("x")
        except ValueError:
            OURS.exception("it failed")

    entry = entries.recv(65536)
    assert entry.startswith(b"MESSAGE\n")
    assert b"it failed\n    Traceback" in entry


def test_what_the_journal_did_not_take_is_told_once_it_can(
    tmp_path: Path, journal: str, entries: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpnatsd.journal.SEND_TIMEOUT", 0.001)
    monkeypatch.setattr("mcpnatsd.journal.PAUSE", 0.0)
    more = 2 * int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    with under_systemd(tmp_path, journal):
        for number in range(more):
            OURS.info("one of many", extra={"number": number})
        taken = received(entries)
        OURS.info("again")
        told = received(entries)

    assert 0 < len(taken) < more
    assert [b"again" in one for one in told] == [True, False]
    assert f"\nMCPNATSD_LOST={more - len(taken)}\n".encode() in told[1]


def received(end: socket.socket) -> list[bytes]:
    """Return the entries that are there by now."""
    end.settimeout(0)
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(end.recv(65536))
    return found


def test_without_a_journal_behind_it_stderr_gets_priorities_and_no_time(
    tmp_path: Path, journal: str
) -> None:
    with under_systemd(tmp_path, journal) as stderr:
        OURS.warning("NATS is away", extra={"url": "nats://a"})

    assert stderr.read_text() == "<4>NATS is away url=nats://a\n"


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
