r"""Bytes in any chunks, turned into lines.

MCP's stdio framing is one message per line, and a line ends at `\n` alone: neither `\r` nor
U+2028 ends one. A line over the limit is skipped up to its end, so that the next one is in step.
"""

from typing import Final, NamedTuple

ENDS_BYTES: Final = 256
"""What is kept of both ends of a skipped line: an id stands at one of them."""


class Oversize(NamedTuple):
    """A line that was skipped."""

    size: int
    head: bytes
    tail: bytes


class LineSplitter:
    """What has arrived of a line that is not complete yet."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipped: Oversize | None = None
        self._oversize: list[Oversize] = []

    def receive(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and (self._parts or self._skipped is not None):
            lines[0:1] = self._complete(lines[0])
        if len(data) > self._limit:
            lines = [line for line in lines if self._fits(line)]
        if rest:
            self._keep(rest)
        return lines

    def take_oversize(self) -> list[Oversize]:
        """Return the lines that were skipped since the last call, each once, at its end."""
        taken, self._oversize = self._oversize, []
        return taken

    def close(self) -> bytes:
        """Return the line that nothing ended, and forget it."""
        rest = b"".join(self._parts)
        if self._skipped is not None:
            self._oversize.append(self._skipped)
        self._parts, self._size, self._skipped = [], 0, None
        return rest

    def _complete(self, end: bytes) -> list[bytes]:
        self._keep(end)
        skipped = self._skipped is not None
        line = self.close()
        return [] if skipped else [line]

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._skipped is not None:
            head = (self._skipped.head + part[:ENDS_BYTES])[:ENDS_BYTES]
            tail = (self._skipped.tail + part[-ENDS_BYTES:])[-ENDS_BYTES:]
            self._skipped = Oversize(self._size, head, tail)
            return
        self._parts.append(part)
        if self._size > self._limit:
            self._skipped = _skipped(b"".join(self._parts))
            self._parts = []

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._limit:
            return True
        self._oversize.append(_skipped(line))
        return False


def _skipped(line: bytes) -> Oversize:
    return Oversize(len(line), line[:ENDS_BYTES], line[-ENDS_BYTES:])
