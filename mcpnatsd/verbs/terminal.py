"""What a verb says: to people in tables, to programs in JSON.

Text that a server sent is escaped on a terminal, where it could move the cursor or rewrite what
stands above. A program that reads a pipe gets it as it is.
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Self

from mcpnatsd.log import escaped

FIRST_PATIENCE = 2.0
"""Seconds of waiting that need no explanation."""

_UNITS = ("B", "kB", "MB", "GB")


def say(text: str) -> None:
    """Print a text with its line end. What a server said went through `clean` before."""
    sys.stdout.write(_encodable(text, sys.stdout.encoding) + "\n")
    sys.stdout.flush()


def say_json(value: object) -> None:
    """Print a value for programs."""
    say(dumped(value))


def dumped(value: object) -> str:
    """Return a value as JSON that people can read too."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def complain(text: str) -> None:
    """Print a line for people where it does not disturb what is piped."""
    sys.stderr.write(_encodable(text, sys.stderr.encoding) + "\n")
    sys.stderr.flush()


def clean(text: str) -> str:
    """Return a text of several lines that is safe on a terminal."""
    return "\n".join(
        "\t".join(escaped(cell) for cell in line.split("\t")) for line in text.split("\n")
    )


def clean_for(text: str, *, terminal: bool) -> str:
    """Return a server's text for a terminal, or as it came for a pipe."""
    return clean(text) if terminal else text


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns under their titles; every cell is one line."""
    cells = [list(titles), *([escaped(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def size(number: float) -> str:
    """Return bytes as people read them: `12 kB`."""
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:  # noqa: PLR2004  # the SI's
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"  # noqa: PLR2004
        number /= 1000
    raise AssertionError


def span(seconds: float) -> str:
    """Return a time as people read it: `3 h 12 min`."""
    whole = int(seconds)
    for long, short, unit in ((86400, 3600, "d h"), (3600, 60, "h min"), (60, 1, "min s")):
        if whole >= long:
            first, second = unit.split()
            return f"{whole // long} {first} {whole % long // short} {second}"
    return f"{whole} s"


class Waiting:
    """Says on stderr what is waited for, once it takes long: on a terminal with the seconds."""

    def __init__(self, text: str, patience: float = FIRST_PATIENCE) -> None:
        self._text = text
        self._patience = patience
        self._seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._drawn = False

    def __enter__(self) -> Self:
        self._wait(self._patience)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Say no more, and leave no trace on a terminal. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._drawn:
            self._drawn = False
            _draw("\r\x1b[K")

    def _wait(self, seconds: float) -> None:
        self._seconds += seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._speak)

    def _speak(self) -> None:
        if sys.stderr.isatty():
            _draw(f"\r{self._text} … {self._seconds:.0f} s ")
            self._drawn = True
            self._wait(1.0)
        else:
            complain(f"{self._text} …")


def _draw(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding)
