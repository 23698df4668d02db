"""One modern process that many callers share, kept alive as long as it is wanted.

`protocol.lifecycle` decides when to start it, `protocol.multiplexer` whose answer is whose; this
module waits, starts and stops.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from mcpnatsd.backends.caller import Caller, OwnRequest
from mcpnatsd.backends.faults import (
    call_timed_out,
    instance_stopping,
    output_too_large,
    start_timed_out,
    unreadable,
)
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.presence import LOOKED_FOR
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import BackendError, Busy, McpnatsdError, ProcessDied, ProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.eras import Verdict, verdict_of_discover
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.lifecycle import Backoff, Lifecycle, State
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.protocol.multiplexer import Answer, Ended, Hint, Multiplexer, Note, Stray
from mcpnatsd.protocol.statistics import error_in

log = logging.getLogger(__name__)

MOST_WAITING: Final = 1024
"""Requests that wait for a start, or for their turn. More are refused as busy."""

SIGN_OF_LIFE: Final = 5.0
"""Seconds in which a silent process must answer, after a call of it timed out."""


class Shared:
    """One process for callers of the modern era."""

    def __init__(  # noqa: PLR0913
        self,
        config: ServerConfig,
        launcher: Launcher,
        *,
        version: str,
        many_clients: bool,
        on_verdict: Callable[[Verdict], bool],
        on_ready: Callable[["Shared"], None],
        on_tools: Callable[[Response, bytes], bytes],
        on_hint: Callable[[str], None],
        on_failed: Callable[[int, McpnatsdError], None],
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.process: Process | None = None
        self.restarts = 0
        self.lifecycle = Lifecycle(LOOKED_FOR if config.url is not None else Backoff())
        self._config = config
        self._launcher = launcher
        self._meta = {eras.META: eras.our_meta(version)}
        self._mux: Multiplexer[Caller] = Multiplexer(shared=many_clients)
        self._on_verdict = on_verdict
        self._on_ready = on_ready
        self._on_tools = on_tools
        self._on_hint = on_hint
        self._on_failed = on_failed
        self._waiting: deque[Caller] = deque()
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()
        self._used_at = self._line_at = self._now()
        self._suspect = False
        self._left = False
        self.last_fault: McpnatsdError | None = None
        self._told = ""

    @property
    def in_flight(self) -> int:
        return self._mux.in_flight

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not self._waiting and self._mux.in_flight == 0

    def take_waiting(self) -> list[Caller]:
        """Hand over who waits, as this process will never answer them."""
        waiting, self._waiting = list(self._waiting), deque()
        return waiting

    def want(self) -> None:
        """Have the process started, if it is not."""
        self._wanted.set()

    def receive(self, caller: Caller) -> None:
        """Take a request: send it on, or let it wait for the process or for its turn."""
        self._used_at = self._now()
        if self.lifecycle.state is State.READY and self._has_room and not self._waiting:
            self._send(caller)
        elif len(self._waiting) >= MOST_WAITING:
            caller.fail(Busy(f"server {self._config.name!r} has {MOST_WAITING} requests waiting"))
        else:
            caller.on_cancel = partial(self._leave_queue, caller)
            self._waiting.append(caller)
            self._wanted.set()

    def leave(self) -> None:
        """Learn that the one client of this process is gone: it ends as soon as it is idle."""
        self._left = True

    def request(self, method: str, **params: object) -> OwnRequest:
        """Send a request of our own, past the queue."""
        own = OwnRequest(method, {**params, **self._meta})
        if self.process is None:
            own.fail(ProcessDied(f"server {self._config.name!r} is not running"))
        else:
            self._send(own)
        return own

    def notify(self, line: bytes) -> None:
        """Pass a notification on, if anybody is there to read it."""
        if self.process is not None and self.lifecycle.state is State.READY:
            self.process.write(line)

    async def run_once(self) -> None:
        """Run until nobody wants the process any more, for a client that has it to itself."""
        try:
            while self._wanted.is_set():
                await self._wait_until_due()
                await self._live()
        finally:
            await self._stop(instance_stopping(self._config))

    async def run(self) -> None:
        """Start the process whenever it is wanted, until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                await self._wait_until_due()
                await self._live()
                if self._is_missed:
                    self._wanted.set()
        finally:
            await self._stop(instance_stopping(self._config))

    @property
    def _is_missed(self) -> bool:
        """Whether it is away and not ours to start: then only looking shows when it is back."""
        return self._config.url is not None and self.lifecycle.state is State.BACKOFF

    # What the process says.

    def receive_output(self, line: bytes) -> None:
        self._line_at = self._now()
        try:
            delivery = self._mux.receive(line)
        except ProtocolError as fault:
            self._stray(str(fault))
            if told := unreadable(self._config, line, fault):
                self.receive_output(told)
            return
        match delivery:
            case Answer():
                self._receive_answer(delivery)
            case Note(caller=caller, line=note):
                caller.note(note)
            case Ended(caller=caller, line=note):
                caller.end(note)
            case Hint(method=method):
                self._on_hint(method)
            case Stray(reason=reason):
                self._stray(reason)

    def _receive_answer(self, answer: Answer[Caller]) -> None:
        caller, line, method = answer.caller, answer.line, answer.caller.asked.request.method
        caller.error = error_in(method, answer.response, line)
        if method == eras.LIST_TOOLS:
            line = self._on_tools(answer.response, line)
        caller.finish(line)
        if not isinstance(caller, OwnRequest):
            self.lifecycle.served()
        self._pump()

    def receive_oversize(self, skipped: Oversize) -> None:
        """Fail whom a message was meant for that was too large to be read; or all, if unknown."""
        fault = output_too_large(self._config, skipped.size)
        log.warning("server's message too large", extra={"server": self._config.name})
        ours = jsonrpc.id_at_ends(skipped.head, skipped.tail)
        caller = self._mux.give_up(ours) if isinstance(ours, int) else None
        for one in [caller] if caller is not None else self._mux.server_gone():
            one.fail(fault)
        self._pump()

    def exited(self, exit: Exit) -> None:  # noqa: A002
        self.process = None
        if self.lifecycle.state not in (State.STARTING, State.READY):
            self._ended.set()  # we ended it
            return
        was = self.lifecycle.state
        if was is State.READY or self._config.url is None:
            facts = {"server": self._config.name, "how": exit.sentence()}
            again = "its next request starts it" if self._config.url is None else "looked for"
            log.warning("server died; %s again", again, extra=facts)
            self.restarts += 1
        self.lifecycle.exited(self._now())
        fault = ProcessDied(f"server {self._config.name!r} {exit.sentence()}")
        if was is State.STARTING:
            self._fail_all(fault)
        else:
            self._fail_sent(fault)  # what waits was never sent: the next process gets it
        self._ended.set()

    # One life.

    async def _wait_until_due(self) -> None:
        if self.lifecycle.start_at is not None:
            await asyncio.sleep(max(0.0, self.lifecycle.start_at - self._now()))

    async def _live(self) -> None:
        self._ended.clear()
        self._wanted.clear()
        self.lifecycle.start()
        try:
            async with asyncio.timeout(self._config.limits.start_timeout):
                self.process = await self._launcher.start(self._config, self)
                usable = await self._introduce()
        except (BackendError, ProtocolError, TimeoutError) as error:
            await self._not_started(error)
            return
        if usable:
            self._ready()
            await self._watch()
        await self._stop(None)

    async def _introduce(self) -> bool:
        """Probe with `server/discover`; the bridge says whether the answer makes it ours."""
        response = await self.request(eras.DISCOVER).answer(self._config.limits.start_timeout)
        return self._on_verdict(verdict_of_discover(response))

    async def _not_started(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            tail = self.process.stderr_tail if self.process else ()
            error = start_timed_out(self._config, tail)
        fault = error if isinstance(error, McpnatsdError) else ProcessDied(str(error))
        if self.lifecycle.state is State.STARTING:
            self.lifecycle.exited(self._now())
        if self.process is not None:
            process, self.process = self.process, None
            await process.stop()
        self._fail_all(fault)
        # One that is away is looked for every few seconds: that is told once.
        known = self._config.url is not None and str(fault) == self._told
        self._told = str(fault)
        log.log(
            logging.DEBUG if known else logging.WARNING,
            "server cannot be started",
            extra={
                "server": self._config.name,
                "error": str(fault),
                "failures": self.lifecycle.failures,
            },
        )
        self._on_failed(self.lifecycle.failures, fault)

    def _ready(self) -> None:
        self.lifecycle.answered()
        self.last_fault, self._told = None, ""
        log.info(
            "server started",
            extra={
                "server": self._config.name,
                "pid": (self.process and self.process.pid) or None,
                "era": "modern",
            },
        )
        self._on_ready(self)
        self._pump()

    async def _watch(self) -> None:
        """Stay until it exits, or nobody has used it for `idle_timeout`."""
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(0.5):
                    await self._ended.wait()
            except TimeoutError:
                self._tick(self._now())
            if self._suspect:
                await self._check_life()
            if self._is_idle_for_long():
                log.info("server is idle; stopped", extra={"server": self._config.name})
                return

    def _is_idle_for_long(self) -> bool:
        limit = 0 if self._config.url is not None else self._config.limits.idle_timeout
        long = bool(limit) and self._now() - self._used_at >= limit
        return self.idle and (long or self._left)

    async def _stop(self, fault: McpnatsdError | None) -> None:
        """End the process as MCP says, and everyone who still waits for it."""
        if self.lifecycle.state in (State.STARTING, State.READY):
            self.lifecycle.stop()
        if fault is not None:
            self._fail_all(fault)
        process, self.process = self.process, None
        if process is not None:
            await process.stop()
        if self.lifecycle.state is State.STOPPING:
            self.lifecycle.exited(self._now())
        if self._waiting:
            self._wanted.set()
        else:
            self._wanted.clear()  # whoever wanted it had it

    # Sending.

    @property
    def _has_room(self) -> bool:
        return self._mux.busy < self._config.limits.concurrency

    def _pump(self) -> None:
        while self._waiting and self._has_room and self.lifecycle.state is State.READY:
            self._send(self._waiting.popleft())

    def _send(self, caller: Caller) -> None:
        process = self.process
        if process is None:
            caller.fail(ProcessDied(f"server {self._config.name!r} is not running"))
            return
        try:
            ours, line = self._mux.open(caller, caller.asked.request, caller.asked.params)
        except ProtocolError as fault:
            caller.fail(fault)
            return
        caller.on_cancel = partial(self._cancel, ours)
        try:
            process.write(line)
        except BackendError as fault:
            self._mux.cancel(ours)
            caller.fail(fault)

    def _cancel(self, ours: int, reason: str) -> None:
        line = self._mux.cancel(ours, reason)
        if line is not None and self.process is not None:
            try:
                self.process.write(line)
            except BackendError as fault:
                log.debug("cancel not sent", extra={"error": str(fault)})
        self._pump()

    def _leave_queue(self, caller: Caller, _reason: str) -> None:
        if caller in self._waiting:
            self._waiting.remove(caller)

    def _fail_all(self, fault: McpnatsdError) -> None:
        waiting = self.take_waiting()
        self._fail_sent(fault)
        for caller in waiting:
            caller.fail(fault)

    def _fail_sent(self, fault: McpnatsdError) -> None:
        self.last_fault = fault
        for caller in self._mux.server_gone():
            caller.fail(fault)
        self._used_at = self._now()

    def _stray(self, reason: str) -> None:
        log.debug("message dropped", extra={"server": self._config.name, "reason": reason})

    # Clocks.

    def _tick(self, now: float) -> None:
        limit = self._config.limits.call_timeout
        for ours, caller in self._mux.calls():
            if now - caller.opened_at < limit:
                break
            self._suspect = self._suspect or self._line_at < caller.opened_at
            self._cancel(ours, "call_timeout")
            caller.fail(call_timed_out(self._config))

    async def _check_life(self) -> None:
        """End a process that says nothing at all any more: the next request gets a new one."""
        self._suspect = False
        try:
            await self.request(eras.DISCOVER).answer(SIGN_OF_LIFE)
        except TimeoutError:
            log.warning("server does not answer; killed", extra={"server": self._config.name})
            if self.process is not None:
                self.process.kill()
        except (BackendError, ProtocolError) as error:
            log.debug("no sign of life", extra={"error": str(error)})
