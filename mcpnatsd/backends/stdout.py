"""What a server writes to stdout: messages, one a line, among noise.

A line that cannot be a message is noise: real servers print banners. It is counted and logged,
and never an error.
"""

import logging
from collections.abc import Callable
from typing import IO, Final

from mcpnatsd.backends.line_log import LineLog
from mcpnatsd.backends.pipes import PipeReader
from mcpnatsd.protocol.lines import LineSplitter, Oversize

log = logging.getLogger(__name__)

_STARTS: Final = (b"{", b"[")
"""A message is an object, or an array of them (a batch of 2025-03-26)."""


class Stdout:
    """The reading end of one server's stdout."""

    def __init__(
        self,
        server: str,
        file: IO[bytes],
        limit: int,
        *,
        on_line: Callable[[bytes], None],
        on_oversize: Callable[[Oversize], None],
        on_end: Callable[[], None],
    ) -> None:
        self.noise_lines = 0
        self.oversize_lines = 0
        self._lines = LineSplitter(limit)
        self._log = LineLog(server, "line skipped", log, logging.DEBUG)
        self._on_line = on_line
        self._on_oversize = on_oversize
        self._reader = PipeReader(file, self.receive, on_end)

    def receive(self, data: bytes) -> None:
        for line in self._lines.receive(data):
            self._take(line)
        self._tell_oversize()

    def pause(self) -> None:
        self._reader.pause()

    def resume(self) -> None:
        self._reader.resume()

    def close(self) -> None:
        """Take what is in the pipe now, an unterminated line too, and no more."""
        self._reader.drain()
        self._reader.close()
        if rest := self._lines.close():
            self._take(rest)
        self._tell_oversize()
        self._log.close()

    def _tell_oversize(self) -> None:
        for skipped in self._lines.take_oversize():
            self.oversize_lines += 1
            self._on_oversize(skipped)

    def _take(self, line: bytes) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if line.startswith(_STARTS) or line.lstrip().startswith(_STARTS):
            self._on_line(line)
        elif line and not line.isspace():
            self.noise_lines += 1
            self._log.write([line])
