"""What a server writes to stderr: read always, logged in part, its end remembered.

MCP leaves stderr to the server: a line there is no error, and nobody answers it. But a pipe that
nobody reads fills up and stops the server.
"""

import logging
from collections import deque
from typing import IO, Final

from mcpnatsd.backends.line_log import LINE_CHARS, LineLog, printable
from mcpnatsd.backends.pipes import PipeReader

_TAIL_LINES: Final = 20
_PARTIAL_BYTES: Final = 4 * LINE_CHARS
"""Of a line that has not ended: all that the log could show of it."""

log = logging.getLogger("mcpnatsd.server")


class Stderr:
    """The reading end of one server's stderr."""

    def __init__(self, server: str, file: IO[bytes]) -> None:
        self.lines = 0
        self._log = LineLog(server, "server says", log, logging.INFO)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._partial = b""
        self._reader = PipeReader(file, self.receive, lambda: None)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, each cut."""
        lines = [*self._tail, self._partial] if self._partial else self._tail
        return tuple(printable(line) for line in lines)[-_TAIL_LINES:]

    def receive(self, data: bytes) -> None:
        lines = data.split(b"\n")
        lines[0] = self._partial + lines[0]
        self._partial = lines.pop()[:_PARTIAL_BYTES]
        self._take([line for line in lines if line and not line.isspace()])

    def start(self) -> None:
        self._reader.resume()

    def close(self) -> None:
        """Take what is in the pipe now, and no more."""
        self._reader.drain()
        self._reader.close()
        if self._partial:
            self.receive(b"\n")
        self._log.close()

    def _take(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        self._tail.extend(line[:_PARTIAL_BYTES] for line in lines[-_TAIL_LINES:])
        self._log.write(lines)
