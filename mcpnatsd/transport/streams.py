"""The two streams that the SDK reads and writes, with nothing between them and the lines.

They look like anyio's memory streams. Those would cost a task on our side of each, and a switch of
tasks per message.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import anyio

from mcpnatsd.loop import BATCH
from mcpnatsd.transport import sdk
from mcpnatsd.transport.sdk import SessionMessage

_ROOM_EVERY: Final = 0.01
"""Seconds between two looks whether a message may go out: nothing tells when a tunnel is free."""


class _Stream:
    """What both have: an end, told once."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self.closed = False
        self._on_closed = on_closed

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


class ReadStream(_Stream):
    """Lines towards the SDK. They wait as bytes, and become messages when they are taken."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        super().__init__(on_closed)
        self.waiting_bytes = 0
        self._lines: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._ended = False
        self._in_a_row = 0

    def put(self, line: bytes) -> None:
        """Add a line. What comes after the end is dropped."""
        if not self.closed and not self._ended:
            self._lines.append(line)
            self.waiting_bytes += len(line)
            self._more.set()

    def end(self) -> None:
        """Let the SDK know, behind the lines that wait, that there are no more."""
        self._ended = True
        self._more.set()

    def clear(self) -> None:
        """Forget what waits."""
        self._lines.clear()
        self.waiting_bytes = 0

    def close(self) -> None:
        self.clear()
        self._more.set()
        super().close()

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message, or why a line is none.

        Raises:
            EndOfStream: There are no more.
            ClosedResourceError: This stream was closed.
        """
        while not self._lines:
            self._in_a_row = 0
            if self.closed:
                raise anyio.ClosedResourceError
            if self._ended:
                raise anyio.EndOfStream
            self._more.clear()
            await self._more.wait()
        self._in_a_row += 1
        if self._in_a_row % BATCH == 0:
            await asyncio.sleep(0)  # a full stream must not hold up everybody else
            if not self._lines:
                return await self.receive()
        line = self._lines.popleft()
        self.waiting_bytes -= len(line)
        return sdk.decode(line)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None


class WriteStream(_Stream):
    """Messages of the SDK, passed on as lines where they were sent."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        super().__init__(on_closed)
        self.broken = False
        """Nobody is there any more who would read."""

        self._in_a_row = 0
        self._on_line: Callable[[bytes], None] = _nobody
        self._is_full: Callable[[], bool] = lambda: True

    def attach(self, on_line: Callable[[bytes], None], is_full: Callable[[], bool]) -> None:
        """Say who takes the lines, and when they must wait. Until then they wait."""
        self._on_line, self._is_full = on_line, is_full

    async def send(self, item: SessionMessage) -> None:
        """Pass a message on; wait while what went before is still on its way.

        Raises:
            ClosedResourceError: This stream was closed.
            BrokenResourceError: The other side is gone.
        """
        while not self.closed and not self.broken and self._is_full():  # noqa: ASYNC110
            await asyncio.sleep(_ROOM_EVERY)
        self._in_a_row += 1
        if self._in_a_row % BATCH == 0:
            await asyncio.sleep(0)  # whoever writes without end can be cancelled here
        if self.closed:
            raise anyio.ClosedResourceError
        if self.broken:
            raise anyio.BrokenResourceError
        self._on_line(sdk.encode(item))


class Pair:
    """The two streams of one connection."""

    def __init__(self, on_closed: Callable[[], None]) -> None:
        """Have `on_closed` called when the SDK closes either."""
        self.read = ReadStream(on_closed)
        self.write = WriteStream(on_closed)

    def over(self) -> None:
        """Let the SDK know that nobody is at the other side any more."""
        self.write.broken = True
        self.read.end()


def _nobody(_line: bytes) -> None:
    """Take a line before anybody is there: the stream says that it is full until then."""
