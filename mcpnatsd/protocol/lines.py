r"""Bytes in any chunks, turned into lines.

MCP's stdio framing is one message per line, and a line ends at `\n` alone: neither `\r` nor
U+2028 ends one. A line over the limit is skipped up to its end, so that the next one is in step.
"""


class LineSplitter:
    """What has arrived of a line that is not complete yet."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._oversize: list[int] = []

    def receive(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and (self._parts or self._skipping):
            lines[0:1] = self._complete(lines[0])
        if len(data) > self._limit:
            lines = [line for line in lines if self._fits(line)]
        if rest:
            self._keep(rest)
        return lines

    def take_oversize(self) -> list[int]:
        """Return how large each line was that went over the limit since the last call.

        A line is noticed as soon as it is too large, long before its end perhaps, and counts once.
        """
        taken, self._oversize = self._oversize, []
        return taken

    def close(self) -> bytes:
        """Return the line that nothing ended, and forget it."""
        rest = b"".join(self._parts)
        self._parts, self._size, self._skipping = [], 0, False
        return rest

    def _complete(self, end: bytes) -> list[bytes]:
        if not self._skipping:
            self._keep(end)
        skipped = self._skipping
        line = self.close()
        return [] if skipped else [line]

    def _keep(self, part: bytes) -> None:
        if self._skipping:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            self._oversize.append(self._size)
            self._parts, self._skipping = [], True

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._limit:
            return True
        self._oversize.append(len(line))
        return False
