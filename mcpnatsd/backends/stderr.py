"""What a server writes to stderr: read always, logged in part, its end remembered.

MCP leaves stderr to the server: a line there is no error, and nobody answers it. But a pipe that
nobody reads fills up and stops the server.
"""

import asyncio
import fcntl
import logging
import os
import struct
import termios
from collections import deque
from typing import IO, Final

from mcpnatsd.backends.line_log import LINE_CHARS, LineLog, printable

_TAIL_LINES: Final = 20
_PARTIAL_BYTES: Final = 4 * LINE_CHARS
"""Of a line that has not ended: all that the log could show of it."""

log = logging.getLogger("mcpnatsd.server")


class Stderr(asyncio.Protocol):
    """The reading end of one server's stderr."""

    def __init__(self, server: str, file: IO[bytes]) -> None:
        self.lines = 0
        self._file = file
        self._log = LineLog(server, log, logging.INFO)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._partial = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, each cut."""
        lines = [*self._tail, self._partial] if self._partial else self._tail
        return tuple(printable(line) for line in lines)[-_TAIL_LINES:]

    def data_received(self, data: bytes) -> None:
        lines = data.split(b"\n")
        lines[0] = self._partial + lines[0]
        self._partial = lines.pop()[:_PARTIAL_BYTES]
        self._take([line for line in lines if line and not line.isspace()])

    def drain(self) -> None:
        """Take what is in the pipe now, whether or not its other end is closed."""
        self.data_received(read_available(self._file))
        if self._partial:
            self.data_received(b"\n")
        self._log.close()

    def _take(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        self._tail.extend(line[:_PARTIAL_BYTES] for line in lines[-_TAIL_LINES:])
        self._log.write(lines)


def read_available(file: IO[bytes]) -> bytes:
    """Return what a pipe holds at this moment, without waiting for more."""
    if file.closed:
        return b""
    [size] = struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, bytes(4)))
    return os.read(file.fileno(), size) if size else b""
