"""The three pipes between the daemon and one server process.

They are read and written by `add_reader` and `add_writer`, not by asyncio's pipe transports: those
need awaits where a cancellation leaves half an open pipe (which aborts uvloop), and differ between
the loops in when they begin to read and how often they may be closed.
"""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Final

_STDOUT_BYTES: Final = 1 << 20
"""Room for the answers of a server while we are busy: the most Linux allows without privileges."""


_READ_BYTES: Final = 256 << 10
"""At once: long lines in few pieces, and other pipes' turn soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """Our ends, as files that do not block; their ends, for the reaper link to close."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    theirs: tuple[int, int, int]


class PipeReader:
    """The reading end of a pipe, paused at first."""

    def __init__(
        self, file: IO[bytes], on_data: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = file
        self._on_data = on_data
        self._on_end = on_end

    def resume(self) -> None:
        if not self._file.closed:
            self._loop.add_reader(self._file.fileno(), self._read)

    def pause(self) -> None:
        if not self._file.closed:
            self._loop.remove_reader(self._file.fileno())

    def drain(self) -> None:
        """Take what is in the pipe now, whether or not its other end is closed."""
        if self._file.closed:
            return
        [size] = struct.unpack("i", fcntl.ioctl(self._file, termios.FIONREAD, bytes(4)))
        if size:
            self._on_data(os.read(self._file.fileno(), size))

    def close(self) -> None:
        self.pause()
        self._file.close()

    def _read(self) -> None:
        try:
            data = os.read(self._file.fileno(), _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._on_data(data)
        else:
            self.close()
            self._on_end()


def open_pipes() -> Pipes:
    """Open the pipes.

    Raises:
        OSError: There are too many files open.
    """
    with ExitStack() as undo:
        ends = []
        for _ in range(3):
            ends.append(os.pipe())
            undo.callback(os.close, ends[-1][0])
            undo.callback(os.close, ends[-1][1])
        (stdin_out, stdin_in), (stdout_out, stdout_in), (stderr_out, stderr_in) = ends
        _widen(stdout_in)
        for ours in (stdin_in, stdout_out, stderr_out):
            os.set_blocking(ours, False)
        undo.pop_all()
    return Pipes(
        stdin=os.fdopen(stdin_in, "wb", buffering=0),
        stdout=os.fdopen(stdout_out, "rb", buffering=0),
        stderr=os.fdopen(stderr_out, "rb", buffering=0),
        theirs=(stdin_out, stdout_in, stderr_in),
    )


def _widen(pipe: int) -> None:
    # A user may hold 64 MiB in pipes (pipe-user-pages-soft); past that the usual 64 KiB must do.
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _STDOUT_BYTES)
