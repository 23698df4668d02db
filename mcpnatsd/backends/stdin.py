"""What a server is told: lines on their way into its stdin.

A server that does not read must cost nobody else anything: its lines wait here up to a bound, and
past it a write fails.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import IO

from mcpnatsd.errors import Busy, ProcessDied
from mcpnatsd.loop import BATCH


class Stdin:
    """The writing end of one server's stdin. Lines of one loop pass go out in one write."""

    def __init__(
        self, server: str, file: IO[bytes], bound: int, on_end: Callable[[], None]
    ) -> None:
        self.unwritten_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._file = file
        self._bound = bound
        self._on_end = on_end
        self._lines: list[bytes] = []
        self._chunks: deque[memoryview] = deque()
        self._closing = False

    def write(self, line: bytes) -> None:
        """Send a line.

        Raises:
            Busy: The lines before it still wait, and are as much as may wait.
            ProcessDied: Nobody will ever read it.
        """
        if self._closing:
            raise ProcessDied(f"{self._server} was told to stop, or closed its stdin")
        waiting = self.unwritten_bytes
        if waiting and waiting + len(line) > self._bound:
            raise Busy(f"{self._server} does not read its stdin: {waiting} bytes wait for it")
        if not self._lines:
            self._loop.call_soon(self._flush)
        self._lines.append(line)
        self.unwritten_bytes += len(line) + 1
        if len(self._lines) >= BATCH and not self._chunks:
            self._flush()

    def close(self) -> None:
        """End the stream after what was written, which is how a server is asked to stop."""
        self._closing = True
        self._flush()

    def abort(self) -> None:
        """End the stream now, and forget what was not written."""
        self._closing = True
        self._lines.clear()
        self._chunks.clear()
        self.unwritten_bytes = 0
        self._close_file()

    def _flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            lines.append(b"")
            self._chunks.append(memoryview(b"\n".join(lines)))
        self._push()

    def _push(self) -> None:
        """Write what the pipe takes now; the rest follows as soon as it takes more."""
        if self._file.closed:
            return
        try:
            while self._chunks:
                self._write_first()
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._file.fileno(), self._push)
            return
        except OSError:  # EPIPE: it closed its stdin
            self.abort()
            self._loop.call_soon(self._on_end)
            return
        self._loop.remove_writer(self._file.fileno())
        if self._closing:
            self._close_file()

    def _write_first(self) -> None:
        chunk = self._chunks[0]
        written = os.write(self._file.fileno(), chunk)
        self.unwritten_bytes -= written
        if written < len(chunk):
            self._chunks[0] = chunk[written:]
        else:
            self._chunks.popleft()

    def _close_file(self) -> None:
        if not self._file.closed:
            self._loop.remove_writer(self._file.fileno())
            self._file.close()
