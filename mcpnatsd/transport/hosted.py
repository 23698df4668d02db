"""A server object in this process, as a bridge sees a server: lines in, lines out, one end."""

import asyncio
import logging
import os
from functools import partial
from typing import Final

from mcpnatsd.backends.launch import Listener
from mcpnatsd.backends.process import Exit
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import Busy, ProcessDied
from mcpnatsd.protocol.lines import LineSplitter
from mcpnatsd.transport.sdk import Body
from mcpnatsd.transport.streams import Pair

log = logging.getLogger(__name__)

_PENDING_BYTES: Final = 32 << 20
"""What may wait to be read by a server, at least: more than a client's window holds."""


class Hosted:
    """One connection to a server object: a pair of streams, and the task that serves it."""

    def __init__(
        self,
        body: Body | None,
        config: ServerConfig,
        listener: Listener,
        pair: Pair | None = None,
    ) -> None:
        """Begin to serve; without a body, whoever has the streams of `pair` does it."""
        loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.started_at = loop.time()
        self.noise_lines = self.oversize_lines = self.stderr_lines = 0
        self.stderr_tail: tuple[str, ...] = ()
        self._config = config
        self._listener = listener
        self._pending_bytes = max(_PENDING_BYTES, 4 * config.limits.line_bytes)
        self._paused = False
        self._stopping = False
        self._told = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._pair = pair or Pair(on_closed=self._closed)
        self._pair.write.attach(self._say, lambda: self._paused)
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._task = asyncio.create_task(self._serve(body), name=f"MCP server {config.name}")
        self._task.add_done_callback(self._settle)

    @property
    def unwritten_bytes(self) -> int:
        return self._pair.read.waiting_bytes

    def rss_bytes(self) -> int | None:
        """Return None: its memory is ours."""
        return None

    def write(self, line: bytes) -> None:
        """Have the server read a line.

        Raises:
            Busy: It does not read, and as much waits for it as may.
            ProcessDied: It ended, or is being stopped.
        """
        if self._exit.done() or self._stopping:
            raise ProcessDied(f"server {self._config.name!r} {self._sentence()}")
        if self._pair.read.waiting_bytes + len(line) > self._pending_bytes:
            raise Busy(f"server {self._config.name!r} does not read what it is sent")
        self._pair.read.put(line)  # of a server that closed it, the end follows, and fails it

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    async def stop(self) -> Exit:
        """End its input, then cancel it; wait for its end."""
        self._stopping = True
        self._told.set()
        self._pair.read.end()
        limit = self._config.limits.stop_timeout
        if not (await asyncio.wait([self._task], timeout=limit))[0]:
            log.info("server ignores the end of its input; cancelled", extra=self._facts)
            self.kill()
            if not (await asyncio.wait([self._task], timeout=limit))[0]:
                log.error("server ignores that it was cancelled", extra=self._facts)
                self._settle(self._task)
        return await asyncio.shield(self._exit)

    def kill(self) -> None:
        self._stopping = True
        self._task.cancel()

    async def _serve(self, body: Body | None) -> None:
        if body is None:
            await self._told.wait()
            return
        await body(self._pair.read, self._pair.write)

    def _say(self, line: bytes) -> None:
        limit = self._config.limits.output_line_bytes
        if len(line) <= limit:
            self._listener.receive_output(line)
            return
        self.oversize_lines += 1
        lines = LineSplitter(limit)
        lines.receive(line)
        lines.close()
        for skipped in lines.take_oversize():
            self._listener.receive_oversize(skipped)

    def _closed(self) -> None:
        """See that a server that closed a stream ends: it can answer nobody."""
        if self._timer is None and not self._exit.done():
            limit = self._config.limits.stop_timeout
            self._timer = asyncio.get_running_loop().call_later(limit, self.kill)

    def _settle(self, task: asyncio.Task[None]) -> None:
        if self._exit.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._pair.over()
        self._pair.read.clear()
        end = Exit(
            status=None,
            signal=None,
            stderr_tail=(),
            oversize=self.oversize_lines > 0,
            reason=self._reason(task),
        )
        self._exit.set_result(end)
        asyncio.get_running_loop().call_soon(partial(self._listener.exited, end))

    def _reason(self, task: asyncio.Task[None]) -> str:
        if not task.done() or task.cancelled():
            return "was cancelled"
        error = task.exception()
        if error is None:
            return "was told to stop" if self._stopping else "ended by itself"
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        log.error("server failed", exc_info=error, extra=self._facts)
        return f"raised {type(error).__name__}: {error}"

    def _sentence(self) -> str:
        return self._exit.result().sentence() if self._exit.done() else "was told to stop"

    @property
    def _facts(self) -> dict[str, object]:
        return {"server": self._config.name}
