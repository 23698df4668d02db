"""One legacy session: a tunnel, and a process of its own behind it.

Lines pass byte for byte. The session reads along only to end well: whoever waits when the process
dies is told, and what nobody asked for goes no further.
"""

import asyncio
import logging
from collections.abc import Callable

from mcpnatsd.backends.call_log import say_session_answered
from mcpnatsd.backends.faults import (
    call_timed_out,
    instance_stopping,
    output_too_large,
    start_timed_out,
    unreadable,
)
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.bus.tunnel_server import ServedTunnel
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import (
    BackendError,
    McpnatsdError,
    ProcessDied,
    ProtocolError,
)
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.jsonrpc import Message, Response
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.protocol.session_ledger import Asked, Ledger
from mcpnatsd.protocol.statistics import Statistics, error_in
from mcpnatsd.protocol.tool_rules import ToolRules

log = logging.getLogger(__name__)

HOLD_BYTES = 4 * 1024 * 1024
"""Unwritten bytes towards a process at which its client is made to wait."""


SIGN_OF_LIFE = 5.0
"""Seconds in which a silent process must answer a ping, after a call of it timed out."""

_PING_ID = "mcpnatsd-ping"


class LegacySession:
    """A process for one client, from its `initialize` until either is gone."""

    def __init__(  # noqa: PLR0913
        self,
        config: ServerConfig,
        launcher: Launcher,
        tunnel: ServedTunnel,
        *,
        rules: ToolRules,
        statistics: Statistics,
        on_verdict: Callable[[Verdict], None],
        on_tools: Callable[[Response, bytes], bytes],
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.process: Process | None = None
        self.ledger = Ledger()
        self._config = config
        self._launcher = launcher
        self._tunnel = tunnel
        self._rules = rules
        self._statistics = statistics
        self._on_verdict = on_verdict
        self._on_tools = on_tools
        self._early: list[bytes] = []
        self._over = asyncio.Event()
        self._initialized = False
        self._pid: int | None = None
        self._kill_at: float | None = None
        self.fault: str | None = None
        """Why it could not start, or not go on; None when its client left."""

        self._started_at = self._line_at = self._now()

    async def run(self) -> None:
        """Live from start to end; the process is gone when this returns."""
        try:
            self.process = await self._launcher.start(self._config, self)
            self._pid = self.process.pid or None
            facts = {"server": self._config.name, "pid": self._pid, "era": "legacy"}
            log.info("session started", extra=facts)
            early, self._early = self._early, []
            for line in early:
                self._write(line)
            await self._watch()
        except BackendError as fault:
            self._end(fault)
        except asyncio.CancelledError:
            self._end(instance_stopping(self._config))
            raise
        finally:
            await self._stop()

    async def _watch(self) -> None:
        while not self._over.is_set():
            try:
                async with asyncio.timeout(0.5):
                    await self._over.wait()
            except TimeoutError:
                self._tick(self._now())

    async def _stop(self) -> None:
        process, self.process = self.process, None
        self._tunnel.close(None)
        if process is not None:
            await process.stop()

    # From the client.

    def receive_line(self, message: Message, name: str | None, line: bytes) -> None:
        """Take a message of the client, checked against its subject already."""
        # A call without an id is a notification, and a server may run it none the less.
        called = not isinstance(message, Response) and message.method == eras.CALL_TOOL
        if called and name is not None:
            try:
                self._rules.check(name)
            except McpnatsdError as fault:
                self._tunnel.refuse(message, fault)
                return
        self.ledger.receive_from_client(message, name, self._now())
        if self.process is None:
            self._early.append(line)
        else:
            self._write(line)

    def leave(self, fault: McpnatsdError) -> None:
        """End it from our side: the client goes on with another instance."""
        self._tunnel.close(fault)
        self._over.set()

    def client_gone(self, reason: str) -> None:
        if not self._over.is_set():
            log.info("session ended", extra={**self._facts, "reason": reason})
        self._over.set()

    def room(self) -> None:
        if self.process is not None:
            self.process.resume()

    # From the process.

    def receive_output(self, line: bytes) -> None:
        self._line_at = self._now()
        self._kill_at = None
        try:
            message = jsonrpc.decode(line)
        except ProtocolError as fault:
            self._drop(str(fault))
            if told := unreadable(self._config, line, fault):
                self.receive_output(told)
            return
        if isinstance(message, Response):
            asked = self.ledger.receive_from_server(message)
            if asked is None:
                self._drop("an answer nobody waits for")
                return
            if jsonrpc.key_of(message.id) != jsonrpc.key_of(asked.id):
                line = message.with_id(asked.id)
            line = self._answered(asked, message, line)
        self._tunnel.send(line)
        if self._tunnel.full and self.process is not None:
            self.process.pause()

    def receive_oversize(self, skipped: Oversize) -> None:
        """Fail what a message answered that was too large to be read; or all, if unknown."""
        fault = output_too_large(self._config, skipped.size)
        self._fail(self.ledger.lost(jsonrpc.id_at_ends(skipped.head, skipped.tail)), fault)

    def exited(self, exit: Exit) -> None:  # noqa: A002
        self.process = None
        if not self._over.is_set():
            self._end(ProcessDied(f"server {self._config.name!r} {exit.sentence()}"))

    def _answered(self, asked: Asked, response: Response, line: bytes) -> bytes:
        error = error_in(asked.method, response, line)
        self._count(asked, error)
        if asked.method == eras.INITIALIZE:
            self._initialized = True
            self._on_verdict(eras.verdict_of_initialize(response))
        elif asked.method == eras.LIST_TOOLS:
            return self._on_tools(response, line)
        return line

    def _count(self, asked: Asked, error: str | None) -> None:
        seconds, called = self._now() - asked.at, (asked.method, asked.name)
        self._statistics.record(*called, seconds, error)
        say_session_answered(self._config.name, called, seconds, error, self._tunnel.user)

    # Ends.

    def _end(self, fault: McpnatsdError) -> None:
        """Answer everyone who waits, then close the tunnel with the reason."""
        if not self._over.is_set():
            log.warning("session ended", extra={**self._facts, "reason": str(fault)})
        self.fault = str(fault)
        self._fail(self.ledger.server_gone(), fault)
        self._tunnel.close(fault)
        self._over.set()

    @property
    def _facts(self) -> dict[str, object]:
        lasted = f"{self._now() - self._started_at:.0f} s"
        return {"server": self._config.name, "pid": self._pid, "lasted": lasted}

    def _fail(self, waiting: list[Asked], fault: McpnatsdError) -> None:
        for asked in waiting:
            self._count(asked, str(fault))
            self._tunnel.send(jsonrpc.error_of(asked.id, fault))

    def _tick(self, now: float) -> None:
        process = self.process
        if process is None:
            return
        self._tunnel.hold(yes=process.unwritten_bytes > HOLD_BYTES)
        if not self._initialized and now - self._started_at >= self._config.limits.start_timeout:
            self._end(start_timed_out(self._config, process.stderr_tail))
            return
        self._kill_if_silent(process, now)
        limit = self._config.limits.call_timeout
        late = self.ledger.overdue(now - limit)
        if late:
            self._give_up(late)

    def _give_up(self, late: list[Asked]) -> None:
        self._fail(late, call_timed_out(self._config))
        for asked in late:
            params = {"requestId": jsonrpc.key_of(asked.id), "reason": "call_timeout"}
            self._write(jsonrpc.notification(eras.CANCELLED, params))
        if any(self._line_at < asked.at for asked in late):
            # It has not said a word in all that time: is it alive? 2025-11-25, Basic, Ping.
            ping = {"jsonrpc": "2.0", "id": _PING_ID, "method": eras.PING}
            self._write(jsonrpc.encode(ping))
            self._kill_at = self._now() + SIGN_OF_LIFE

    def _kill_if_silent(self, process: Process, now: float) -> None:
        """End a process that does not even answer a ping: the next request gets a new one."""
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            log.warning("server does not answer; killed", extra={"server": self._config.name})
            process.kill()

    def _write(self, line: bytes) -> None:
        if self.process is None:
            return
        try:
            self.process.write(line)
            self._tunnel.hold(yes=self.process.unwritten_bytes > HOLD_BYTES)
        except BackendError as fault:
            self._end(fault)

    def _drop(self, reason: str) -> None:
        log.debug("message dropped", extra={"server": self._config.name, "reason": reason})
