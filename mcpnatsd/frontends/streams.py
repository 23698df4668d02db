"""The program's own stdin and stdout as streams that never block the loop.

Pipes, sockets and terminals are read by the loop itself; a regular file, which no loop can wait
for, by a thread. Nothing here knows what a line is.
"""

import asyncio
import os
import stat
import sys
import threading
from collections.abc import Callable
from typing import IO, Final

from mcpnatsd.frontends.output import Writable
from mcpnatsd.loop import DirectWriter

_CHUNK: Final = 256 * 1024


class _Reading(asyncio.Protocol):
    def __init__(self, on_data: Callable[[bytes], None], on_eof: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_eof = on_eof

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._on_eof()


class _Writing(asyncio.BaseProtocol):
    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._on_broken = on_broken

    def connection_lost(self, _error: Exception | None) -> None:
        self._on_broken()


class Input:
    """What is read, until it is paused or at its end."""

    def __init__(self, transport: asyncio.ReadTransport | None) -> None:
        self._transport = transport
        self._free = threading.Event()
        self._free.set()
        self._paused = False

    def pause(self, *, yes: bool) -> None:
        """Stop reading, or go on. Doing either twice is no fault."""
        if yes == self._paused:
            return
        self._paused = yes
        if self._transport is None:
            (self._free.clear if yes else self._free.set)()
        elif yes:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def wait_free(self) -> None:
        self._free.wait()


async def open_stdin(on_data: Callable[[bytes], None], on_eof: Callable[[], None]) -> Input:
    """Read stdin: `on_data` gets what comes, `on_eof` its end, once."""
    loop = asyncio.get_running_loop()
    if _selectable(sys.stdin):
        transport, _ = await loop.connect_read_pipe(
            lambda: _Reading(on_data, on_eof), os.fdopen(os.dup(sys.stdin.fileno()), "rb", 0)
        )
        return Input(transport)
    opened = Input(None)
    reader = threading.Thread(target=_read, args=(loop, opened, on_data, on_eof), daemon=True)
    reader.start()
    return opened


async def open_stdout(on_broken: Callable[[], None]) -> Writable:
    """Write to stdout; `on_broken` is called when nobody reads it any more."""
    if not _selectable(sys.stdout):
        return _FileOutput(on_broken)
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb", 0)
    transport, _ = await loop.connect_write_pipe(lambda: _Writing(on_broken), pipe)
    return DirectWriter(transport, pipe.fileno())


class _FileOutput:
    """A regular file or a terminal: a write there does not wait for a reader."""

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self._on_broken = on_broken

    def write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(sys.stdout.fileno(), view) :]
        except OSError:
            self._on_broken()

    def get_write_buffer_size(self) -> int:
        return 0


def _selectable(stream: IO[str]) -> bool:
    """Say whether a loop can wait for it. A terminal could, but would turn non-blocking for all."""
    if sys.platform == "win32":
        return False
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read(
    loop: asyncio.AbstractEventLoop,
    opened: Input,
    on_data: Callable[[bytes], None],
    on_eof: Callable[[], None],
) -> None:
    try:
        while data := os.read(sys.stdin.fileno(), _CHUNK):
            opened.wait_free()
            loop.call_soon_threadsafe(on_data, data)
        loop.call_soon_threadsafe(on_eof)
    except (OSError, RuntimeError):
        return  # the loop is gone, and with it whoever would want to know
