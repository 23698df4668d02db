"""Sets logging up: for a terminal, for the journal, or as JSON lines.

One line is one fact: a constant phrase, then `name=value`. Whatever comes from elsewhere is
escaped, so that a server can neither fake a line nor move a terminal's cursor.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

from mcpnatsd.errors import UsageError

if TYPE_CHECKING:
    from mcpnatsd.journal import Journal

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SHIM_LOGGER: Final = "mcpnatsd.frontends.stdio"

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"

FIELDS: Final = {
    "caller": "MCP_CALLER",
    "era": "MCP_ERA",
    "method": "MCP_METHOD",
    "server": "MCP_SERVER",
    "tool": "MCP_TOOL",
    "subject": "NATS_SUBJECT",
    "url": "NATS_URL",
}
"""What a fact is called in the journal. Those that nobody looks for are MCPNATSD_NAME."""


def set_up(
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    default: str = "INFO",
    journal: str = JOURNAL_SOCKET,
) -> None:
    """Log to a stream, stderr by default, as LOG_LEVEL, LOG_FORMAT and NO_COLOR say.

    A stream that systemd connected to the journal stands for it: entries then go there with fields.

    Raises:
        UsageError: One of them makes no sense.
    """
    stream = stream or sys.stderr
    level = _choice(environ, "LOG_LEVEL", default, LEVELS)
    target = _target(stream, environ, journal)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(target)
    root.setLevel(level)


def set_level(level: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Log from a severity on; without one, from what LOG_LEVEL says.

    Raises:
        UsageError: LOG_LEVEL makes no sense.
    """
    level = level or _choice(environ, "LOG_LEVEL", "INFO", LEVELS)
    logging.getLogger().setLevel(level.upper())


def set_up_shim(environ: Mapping[str, str] = os.environ) -> None:
    """Log what a host shows its user: warnings, and that the shim found its way back."""
    set_up(environ=environ, default="WARNING")
    logging.getLogger(SHIM_LOGGER).setLevel(logging.NOTSET if environ.get("LOG_LEVEL") else "INFO")


def escaped(text: str) -> str:
    """Return a text in which nothing acts on a terminal and nothing ends a line."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class LineFormatter(logging.Formatter):
    """`12:01:02 INFO  server started server=time pid=123`."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        level = f"{record.levelname:<5}"
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        return "\n".join([f"{at:%H:%M:%S} {level} {_phrase(record)}", *_trace(self, record)])


class JournalFormatter(logging.Formatter):
    """A priority that systemd reads off each line; the time is the journal's."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelname, 6)
        return "\n".join(f"<{priority}>{line}" for line in [_phrase(record), *_trace(self, record)])


class JournalHandler(logging.Handler):
    """Entries with a field for each fact. What the journal could not take is told once it can."""

    def __init__(self, journal: "Journal", instead: logging.Handler) -> None:
        super().__init__()
        self._journal = journal
        self._instead = instead

    def emit(self, record: logging.LogRecord) -> None:
        try:
            taken = self._journal.send(_entry(record))
            if taken and (lost := self._journal.take_dropped()):
                facts = {"lost": lost, "levelname": "WARNING", "msg": "entries not taken"}
                self._journal.send(_entry(logging.makeLogRecord({**facts, "name": __name__})))
        except OSError:
            self._instead.handle(record)
        except Exception:  # noqa: BLE001  # as every handler of logging does
            self.handleError(record)

    def close(self) -> None:
        self._journal.close()
        super().close()


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        entry = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if trace := _trace(self, record):
            entry["exception"] = "\n".join(trace)
        return json.dumps(entry, default=str)


def _target(stream: TextIO, environ: Mapping[str, str], journal: str) -> logging.Handler:
    target = logging.StreamHandler(stream)
    if _choice(environ, "LOG_FORMAT", "TEXT", ("TEXT", "JSON")) == "JSON":
        target.setFormatter(JsonFormatter())
    elif is_journal(stream, environ.get("JOURNAL_STREAM", "")):
        target.setFormatter(JournalFormatter())
        return _journal(journal, target)
    else:
        target.setFormatter(LineFormatter(colour=stream.isatty() and not environ.get("NO_COLOR")))
    return target


def _journal(path: str, instead: logging.Handler) -> JournalHandler:
    from mcpnatsd.journal import Journal  # noqa: PLC0415  # Windows has nothing of it

    return JournalHandler(Journal(path), instead)


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = environ.get(name) or default
    if value.upper() not in choices:
        raise UsageError(f"{name}={escaped(value)} is none of {', '.join(choices)}")
    return value.upper()


def is_journal(stream: TextIO, announced: str) -> bool:
    """Tell whether the stream is the one that systemd connected (systemd.exec, JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return announced == f"{status.st_dev}:{status.st_ino}"


def _phrase(record: logging.LogRecord) -> str:
    facts = (f" {name}={_value(value)}" for name, value in _facts(record).items())
    return escaped(record.getMessage()) + "".join(facts)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """Return what an entry tells beside its phrase; None is a fact that there is not."""
    facts = record.__dict__.items()
    return {name: value for name, value in facts if name not in _OWN and value is not None}


def _entry(record: logging.LogRecord) -> dict[str, object]:
    """Return a journal's entry: the line that others get, and each fact in a field too."""
    facts = {
        FIELDS.get(name, f"MCPNATSD_{name.upper()}"): value
        for name, value in _facts(record).items()
    }
    return {
        "MESSAGE": "\n".join([_phrase(record), *_trace(logging.Formatter(), record)]),
        "PRIORITY": _PRIORITIES.get(record.levelname, 6),
        "SYSLOG_IDENTIFIER": "mcpnatsd",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName,
        **facts,
    }


def _value(value: object) -> str:
    text = escaped(str(value))
    if not text or " " in text or '"' in text:
        return '"' + text.replace('"', '\\"') + '"'
    return text


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    lines = formatter.formatException(record.exc_info).splitlines()
    return [f"    {escaped(line)}" for line in lines]
