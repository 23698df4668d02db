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
from typing import Final, TextIO

from mcpnatsd.errors import UsageError

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SHIM_LOGGER: Final = "mcpnatsd.frontends.stdio"

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def set_up(
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    default: str = "INFO",
) -> None:
    """Log to a stream, stderr by default, as LOG_LEVEL, LOG_FORMAT and NO_COLOR say.

    Raises:
        UsageError: One of them makes no sense.
    """
    stream = stream or sys.stderr
    level = _choice(environ, "LOG_LEVEL", default, LEVELS)
    target = logging.StreamHandler(stream)
    target.setFormatter(_formatter(stream, environ))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(target)
    root.setLevel(level)


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


def _formatter(stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    if _choice(environ, "LOG_FORMAT", "TEXT", ("TEXT", "JSON")) == "JSON":
        return JsonFormatter()
    if is_journal(stream, environ.get("JOURNAL_STREAM", "")):
        return JournalFormatter()
    return LineFormatter(colour=stream.isatty() and not environ.get("NO_COLOR"))


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
    return {name: value for name, value in record.__dict__.items() if name not in _OWN}


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
