"""One running server process: lines in, lines out, one end.

It knows nothing of JSON-RPC, and never starts again: that is its owner's business.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from mcpnatsd.backends.memory import rss_bytes
from mcpnatsd.backends.pipes import Pipes
from mcpnatsd.backends.stderr import Stderr
from mcpnatsd.backends.stdin import Stdin
from mcpnatsd.backends.stdout import Stdout
from mcpnatsd.errors import ProcessDied
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

_KILL_TIMEOUT: Final = 5.0
"""Seconds from SIGKILL to the end. A process that takes longer is stuck in the kernel."""

_LAST_WORDS_CHARS: Final = 600
"""What an error quotes of stderr: the end of it, where the reason usually stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a server process is started with."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment, not an addition to ours."""
    cwd: str | None = None
    """None: the daemon's."""
    output_line_bytes: int
    """A longer line is skipped, and reported."""
    pending_bytes: int = 32 << 20
    """What may wait to be written to its stdin."""
    stop_timeout: float
    """Seconds from one means of stopping it to the next, rougher one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended. Neither status nor signal: it was lost, together with its reaper."""

    status: int | None
    signal: str | None
    stderr_tail: tuple[str, ...]
    oversize: bool
    """It wrote lines over the limit."""

    reason: str | None = None
    """How it ended, where it was no process of its own."""

    def sentence(self) -> str:
        """Say how it ended, as the end of a sentence that begins with the server's name."""
        how = "was lost with its reaper"
        if self.reason is not None:
            how = self.reason
        elif self.signal is not None:
            how = f"was ended by {self.signal}"
        elif self.status is not None:
            how = f"exited with status {self.status}"
        words = " | ".join(line.strip() for line in self.stderr_tail)[-_LAST_WORDS_CHARS:]
        return f'{how}; its last words: "{words}"' if words else how


class Process(Protocol):
    """A running server, as whoever speaks to it sees it."""

    @property
    def pid(self) -> int: ...
    @property
    def started_at(self) -> float: ...
    @property
    def noise_lines(self) -> int: ...
    @property
    def oversize_lines(self) -> int: ...
    @property
    def stderr_lines(self) -> int: ...
    @property
    def stderr_tail(self) -> tuple[str, ...]: ...
    @property
    def unwritten_bytes(self) -> int:
        """What it has not taken from us yet."""

    def rss_bytes(self) -> int | None:
        """Return the memory of it and its descendants. None: gone, or nobody can tell."""

    def write(self, line: bytes) -> None:
        r"""Send a line, given without its `\n`.

        Raises:
            Busy: It does not read, and as much waits for it as may.
            ProcessDied: It ended, or is being stopped.
        """

    def pause(self) -> None:
        """Have what it says wait."""

    def resume(self) -> None: ...

    async def stop(self) -> Exit:
        """End it gently, rougher where that does not help; wait for its end.

        Cancelling this stops the waiting only. A second call waits for the same end.
        """

    def kill(self) -> None:
        """End it at once."""


class SpawnedProcess:
    """A server process from its start to its end. Made by `Reaper.spawn`."""

    def __init__(
        self,
        spec: Spec,
        pipes: Pipes,
        *,
        on_line: Callable[[bytes], None],
        on_exit: Callable[[Exit], None],
        on_oversize: Callable[[Oversize], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = spec.name
        self.pid = 0
        self.started_at = self._loop.time()
        self._spec = spec
        self._on_exit = on_exit
        self._stdin = Stdin(spec.name, pipes.stdin, spec.pending_bytes, self._stop_unless_done)
        self._stderr = Stderr(spec.name, pipes.stderr)
        self._stdout = Stdout(
            spec.name,
            pipes.stdout,
            spec.output_line_bytes,
            on_line=on_line,
            on_oversize=on_oversize,
            on_end=self._stop_unless_done,
        )
        self._signal: Callable[[int], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._early: list[int | None] = []
        self._exit: asyncio.Future[Exit] = self._loop.create_future()

    @property
    def noise_lines(self) -> int:
        return self._stdout.noise_lines

    @property
    def oversize_lines(self) -> int:
        return self._stdout.oversize_lines

    @property
    def stderr_lines(self) -> int:
        return self._stderr.lines

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        return self._stderr.tail

    @property
    def unwritten_bytes(self) -> int:
        """What it has not taken from us yet; the pipe's own 64 KiB count as taken."""
        return self._stdin.unwritten_bytes

    def rss_bytes(self) -> int | None:
        """Return the memory of it and its descendants. None: gone, or nobody can tell."""
        return None if self._exit.done() else rss_bytes(self.pid)

    def write(self, line: bytes) -> None:
        r"""Send a line, given without its `\n`.

        Raises:
            Busy: It does not read, and `pending_bytes` wait for it already.
            ProcessDied: It ended, or is being stopped.
        """
        if self._exit.done():
            raise ProcessDied(f"{self.name} {self._exit.result().sentence()}")
        self._stdin.write(line)

    def pause(self) -> None:
        """Stop reading its stdout; it waits as soon as its pipe is full."""
        self._stdout.pause()

    def resume(self) -> None:
        self._stdout.resume()

    async def stop(self) -> Exit:
        """Close its stdin, then SIGTERM, then SIGKILL, `stop_timeout` apart; wait for its end.

        Cancelling this stops the waiting only. A second call waits for the same end.
        """
        self._stop_unless_done()
        return await asyncio.shield(self._exit)

    def terminate(self) -> None:
        """Ask it by SIGTERM to end, for a program that does not care for its stdin."""
        if self._exit.done() or self._signal is None:
            return
        self._stopping = True
        self._send(signal.SIGTERM)
        self._after(self._spec.stop_timeout, self.kill)

    def kill(self) -> None:
        """End it and all its descendants at once."""
        if self._exit.done() or self._signal is None:
            return
        self._stopping = True
        self._signal(signal.SIGKILL)
        self._after(_KILL_TIMEOUT, self._give_up)

    def begin(self, pid: int, send_signal: Callable[[int], None]) -> None:
        """Take note that it runs. No callback is called before this returned."""
        self.pid = pid
        self._signal = send_signal
        if self._early:
            self._loop.call_soon(self._settle, self._early[0])
        self._stdout.resume()
        self._stderr.start()

    def exited(self, code: int | None) -> None:
        """Take note of its end: an exit code, negative for a signal, None when it was lost."""
        if self._signal is None:
            self._early.append(code)
        else:
            self._settle(code)

    def discard(self) -> None:
        """Close everything of a process that never began."""
        self._close()

    def _stop_unless_done(self) -> None:
        """Begin to stop it. Also when it closed a pipe: such a server can answer nobody."""
        if self._stopping or self._exit.done():
            return
        self._stopping = True
        self._stdin.close()
        if self._signal is not None:
            self._after(self._spec.stop_timeout, self._terminate)

    def _terminate(self) -> None:
        facts = {"server": self.name, "pid": self.pid}
        log.info("server ignores the end of its stdin; SIGTERM sent", extra=facts)
        self._send(signal.SIGTERM)
        self._after(self._spec.stop_timeout, self.kill)

    def _give_up(self) -> None:
        log.error("server survives SIGKILL", extra={"server": self.name, "pid": self.pid})
        self._settle(None)

    def _send(self, sig: int) -> None:
        if self._signal is not None:
            self._signal(sig)

    def _after(self, delay: float, step: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, step)

    def _settle(self, code: int | None) -> None:
        if self._exit.done():
            return
        # Whatever it wrote is in the pipes by now. Their end may never come: a descendant that
        # escaped can hold them open.
        self._close()
        end = Exit(
            status=code if code is not None and code >= 0 else None,
            signal=_signal_name(-code) if code is not None and code < 0 else None,
            stderr_tail=self._stderr.tail,
            oversize=self._stdout.oversize_lines > 0,
        )
        self._exit.set_result(end)
        self._on_exit(end)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._stdin.abort()
        self._stdout.close()
        self._stderr.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one
