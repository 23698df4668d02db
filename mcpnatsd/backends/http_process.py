"""A server that runs elsewhere, looking like a process of ours: lines in, lines out, one end.

It ends when nobody is there, or its session is over. As with a process, it never starts again:
that is its owner's business. Which era it speaks, its first line says.
"""

import asyncio
import logging
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.backends.http_client import CHECK_EVERY, HttpClient, Unreachable
from mcpnatsd.backends.http_exchange import Part
from mcpnatsd.backends.http_modern import ModernHttp
from mcpnatsd.backends.http_session import SessionHttp
from mcpnatsd.backends.launch import Listener
from mcpnatsd.backends.process import Exit
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import McpnatsdError, ProcessDied
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Message, Request
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

_PENDING_BYTES: Final = 32 << 20
"""What may be on its way to a server, at least: more than a client's window holds."""


_ENOUGH_FAILURES: Final = 2
"""In a row, of looking whether it is there: one alone may be the network's."""

_CHECK_AGAIN: Final = 1.0


class Speaker(Protocol):
    """How one era is spoken over HTTP."""

    @property
    def unwritten_bytes(self) -> int: ...

    def write(self, message: Message, line: bytes) -> None: ...

    async def close(self) -> None: ...


class RemoteProcess:
    """A stand-in for one process. Made by `RemoteLauncher.start`."""

    def __init__(self, config: ServerConfig, client: HttpClient, listener: Listener) -> None:
        self._loop = asyncio.get_running_loop()
        self.config = config
        self.client = client
        self.heard = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.pid = 0
        self.started_at = self.line_at = self._loop.time()
        self.noise_lines = self.oversize_lines = self.stderr_lines = 0
        self.stderr_tail: tuple[str, ...] = ()
        self._listener = listener
        self._speaker: Speaker | None = None
        self._parts: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._over = asyncio.Event()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._life: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start its parts. No callback is called before this returned."""
        begun = asyncio.Event()
        self._life = self._loop.create_task(self._live(begun))
        await begun.wait()

    @property
    def unwritten_bytes(self) -> int:
        """What it has not taken from us yet."""
        return 0 if self._speaker is None else self._speaker.unwritten_bytes

    def rss_bytes(self) -> int | None:
        """Return nothing: its memory is not ours to know."""
        return None

    def write(self, line: bytes) -> None:
        """Send a line.

        Raises:
            Busy: It does not answer, and as much as may be under way is.
            ProcessDied: It is gone, or is being stopped.
        """
        if self._exit.done():
            raise ProcessDied(f"server {self.config.name!r} {self._exit.result().sentence()}")
        if self._over.is_set():
            raise ProcessDied(f"server {self.config.name!r} was told to stop")
        message = jsonrpc.decode(line)
        if self._speaker is None:
            self._speaker = self._speaker_for(message)
        self._speaker.write(message, line)

    def pause(self) -> None:
        """Stop reading what it says; it waits as soon as its connections are full."""
        self.gate.clear()

    def resume(self) -> None:
        self.gate.set()

    async def stop(self) -> Exit:
        """End what is open there, and its session; wait for that.

        Cancelling this stops the waiting only. A second call waits for the same end.
        """
        self._over.set()
        return await asyncio.shield(self._exit)

    def kill(self) -> None:
        """Let go of it at once."""
        self._loop.call_soon(self._settle, "did not answer, and was let go")

    # What its parts need.

    def spawn(self, part: Part) -> asyncio.Task[None]:
        """Run a part until it is over, or all is."""
        task = self._group.create_task(self._guard(part))
        self._parts.add(task)
        task.add_done_callback(self._parts.discard)
        if self._over.is_set():
            task.cancel()
        return task

    def deliver(self, line: bytes) -> None:
        """Pass on what the server said."""
        if not self._exit.done():
            self.line_at = self._loop.time()
            self._listener.receive_output(line)

    def skip(self, id: Raw | None, skipped: Oversize) -> None:  # noqa: A002
        """Tell of a message that was too large, and of the request that it was for."""
        self.oversize_lines += 1
        if id is None:
            facts = {"server": self.config.name, "bytes": skipped.size}
            log.warning("server's message too large; skipped", extra=facts)
        elif not self._exit.done():
            head = b'{"jsonrpc":"2.0","id":%b,' % bytes(id)
            self._listener.receive_oversize(Oversize(skipped.size, head, b""))

    def drop(self, reason: str) -> None:
        """Count what is no message."""
        self.noise_lines += 1
        log.debug("message dropped", extra={"server": self.config.name, "reason": reason})

    def gone(self, fault: McpnatsdError) -> None:
        """End it all: the server is away, or its session is over."""
        self._settle(str(fault))

    # Its life.

    async def _live(self, begun: asyncio.Event) -> None:
        try:
            async with self._group:
                self.spawn(self._watch)
                begun.set()
                await self._over.wait()
                for part in self._parts:
                    part.cancel()
            if self._speaker is not None and not self._exit.done():
                async with asyncio.timeout(self.config.limits.stop_timeout):
                    await self._speaker.close()
        except TimeoutError:
            log.debug("session not ended in time", extra={"server": self.config.name})
        finally:
            self._settle("was let go")

    async def _watch(self) -> None:
        """Notice that nobody is there any more while nothing is asked."""
        failed = 0
        while True:
            await asyncio.sleep(_CHECK_AGAIN if failed else CHECK_EVERY)
            if self._loop.time() - self.line_at < CHECK_EVERY:
                continue
            try:
                await self.client.check()
            except Unreachable as fault:
                failed += 1
                if failed >= _ENOUGH_FAILURES:
                    self.gone(fault)
            else:
                failed = 0

    async def _guard(self, part: Part) -> None:
        try:
            await part()
        except Exception:
            log.exception("a part of a remote server failed", extra={"server": self.config.name})
            self.gone(ProcessDied("could not be spoken to: see the log"))

    def _settle(self, reason: str) -> None:
        if self._exit.done():
            return
        end = Exit(
            status=None,
            signal=None,
            stderr_tail=(),
            oversize=self.oversize_lines > 0,
            reason=reason,
        )
        self._exit.set_result(end)
        self._over.set()
        self._listener.exited(end)

    def _speaker_for(self, message: Message) -> Speaker:
        pending = max(_PENDING_BYTES, 4 * self.config.limits.line_bytes)
        legacy = isinstance(message, Request) and message.method == eras.INITIALIZE
        return SessionHttp(self, pending) if legacy else ModernHttp(self, pending)
