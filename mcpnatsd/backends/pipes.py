"""The three pipes between the daemon and one server process."""

import fcntl
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Final

_STDOUT_BYTES: Final = 1 << 20
"""Room for the answers of a server while we are busy: the most Linux allows without privileges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """Our ends, as files that the transports close; their ends, for the reaper link to close."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    theirs: tuple[int, int, int]

    def close_ours(self) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            with suppress(OSError):  # a transport that was never finished may have closed it
                file.close()


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
