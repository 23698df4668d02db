"""What a server is told: lines on their way into its stdin.

A server that does not read must cost nobody else anything: its lines wait here up to a bound, and
past it a write fails.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from mcpnatsd.errors import Busy, ProcessDied


class Stdin(asyncio.BaseProtocol):
    """The writing end of one server's stdin. Lines of one loop pass go out in one write."""

    def __init__(self, server: str, bound: int, on_end: Callable[[], None]) -> None:
        self._server = server
        self._bound = bound
        self._on_end = on_end
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._on_end()

    @property
    def unwritten_bytes(self) -> int:
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._lines_bytes + waiting

    def write(self, line: bytes) -> None:
        """Send a line.

        Raises:
            Busy: The lines before it still wait, and are as much as may wait.
            ProcessDied: Nobody will ever read it.
        """
        if self._transport is None or self._transport.is_closing():
            raise ProcessDied(f"{self._server} was told to stop, or closed its stdin")
        waiting = self.unwritten_bytes
        if waiting and waiting + len(line) > self._bound:
            raise Busy(f"{self._server} does not read its stdin: {waiting} bytes wait for it")
        if not self._lines:
            self._loop.call_soon(self._flush)
        self._lines.append(line)
        self._lines_bytes += len(line) + 1

    def close(self) -> None:
        """End the stream after what was written, which is how a server is asked to stop."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Forget what was not written."""
        transport = self._transport
        # Aborted after it closed with nothing left, asyncio's ends twice, and fails.
        if transport and not (transport.is_closing() and not transport.get_write_buffer_size()):
            transport.abort()

    def _flush(self) -> None:
        lines, self._lines, self._lines_bytes = self._lines, [], 0
        if lines and self._transport is not None:
            self._transport.write(b"\n".join(lines) + b"\n")
