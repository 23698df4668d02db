"""Lines that a server wrote and nobody asked for, on their way into the log.

A server may write faster than a log can bear: a few lines a second pass, the rest is counted.
"""

import logging
import re
import time
from typing import Final

LINE_CHARS: Final = 500
"""Where a line is cut: enough for a message, not for a payload."""

_BURST: Final = 20
"""Lines at once: a stack trace in full."""
_PER_SECOND: Final = 10
_ANNOUNCE_EVERY: Final = 5.0
"""Seconds between two announcements of dropped lines."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


class Allowance:
    """How many lines may still pass: `burst` at once, then `per_second`."""

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._at = now
        self._dropped = 0

    def take(self, wanted: int, now: float) -> int:
        """Return how many of `wanted` lines may pass; the others count as dropped."""
        earned = (now - self._at) * self._per_second
        self._left, self._at = min(self._burst, self._left + earned), now
        granted = min(wanted, int(self._left))
        self._left -= granted
        self._dropped += wanted - granted
        return granted

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped


class LineLog:
    """Where one server's stray lines go."""

    def __init__(self, server: str, phrase: str, logger: logging.Logger, level: int) -> None:
        now = time.monotonic()
        self._extra = {"server": server}
        self._phrase = phrase
        self._logger = logger
        self._level = level
        self._allowance = Allowance(_BURST, _PER_SECOND, now)
        self._announced_at = now

    def write(self, lines: list[bytes]) -> None:
        """Log what the allowance grants, and from time to time how many lines it did not."""
        if not lines or not self._logger.isEnabledFor(self._level):
            return
        now = time.monotonic()
        for line in lines[: self._allowance.take(len(lines), now)]:
            extra = {**self._extra, "text": printable(line)}
            self._logger.log(self._level, self._phrase, extra=extra)
        if now - self._announced_at >= _ANNOUNCE_EVERY:
            self._announced_at = now
            self.close()

    def close(self) -> None:
        """Say how many lines were dropped, if that was not said yet."""
        if dropped := self._allowance.take_dropped():
            extra = {**self._extra, "dropped": dropped}
            self._logger.log(self._level, "lines dropped", extra=extra)


def printable(line: bytes) -> str:
    """Return a line as text that is safe to print: cut, without colours, control bytes escaped."""
    text = _COLOURS.sub("", line[: 4 * LINE_CHARS].decode("utf-8", "replace")).rstrip()
    cut = text if len(text) <= LINE_CHARS else f"{text[: LINE_CHARS - 1]}…"
    return cut if cut.isprintable() else "".join(map(_escaped, cut))


def _escaped(char: str) -> str:
    return char if char.isprintable() or char == "\t" else ascii(char)[1:-1]
