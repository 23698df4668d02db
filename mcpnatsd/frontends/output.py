"""What a client has not taken yet: lines gathered, written once per pass of the loop."""

import asyncio
from typing import Final, Protocol

from mcpnatsd.loop import BATCH

MOST_WAITING_BYTES: Final = 32 * 1024 * 1024
"""Beyond it a client is too slow: whatever sends it more is given up."""


class Writable(Protocol):
    """Where lines go. An asyncio write transport is one."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int: ...


class Output:
    """Lines towards one client."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._lines: list[bytes] = []
        self._gathered = 0
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self.closed = False

    @property
    def waiting_bytes(self) -> int:
        return self._gathered + self._target.get_write_buffer_size()

    @property
    def too_slow(self) -> bool:
        return self.waiting_bytes > MOST_WAITING_BYTES

    def write(self, line: bytes) -> None:
        r"""Write a line, given without its `\n`."""
        if self.closed:
            return
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)
        self._lines.append(line)
        self._lines.append(b"\n")
        self._gathered += len(line) + 1
        if len(self._lines) >= 2 * BATCH:
            self._hand_over()

    def flush(self) -> None:
        self._scheduled = False
        self._hand_over()

    def _hand_over(self) -> None:
        lines, self._lines, self._gathered = self._lines, [], 0
        if lines and not self.closed:
            self._target.write(b"".join(lines))
