"""One legacy process in use for a modern client: a handshake of ours, then its requests.

What is whose, `protocol.legacy_use` decides; here is the process from start to end, and its
clocks.
"""

import asyncio
import logging
from functools import partial
from typing import Final, Protocol

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.faults import (
    call_timed_out,
    instance_stopping,
    output_too_large,
    start_timed_out,
    unreadable,
)
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.config.model import Isolation, ServerConfig
from mcpnatsd.errors import BackendError, McpnatsdError, ProcessDied, ProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Message, Response
from mcpnatsd.protocol.legacy_deliveries import (
    Answer,
    Delivery,
    Mine,
    Note,
    Park,
    Stray,
    Told,
    ToServer,
)
from mcpnatsd.protocol.legacy_use import LegacyUse
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.protocol.parked import Ticket
from mcpnatsd.protocol.statistics import error_in
from mcpnatsd.protocol.to_legacy import Declared

log = logging.getLogger(__name__)

SIGN_OF_LIFE: Final = 5.0
"""Seconds in which a silent process must answer a ping, after a call of it timed out."""

_OUR_ID: Final = 0
"""Of `initialize`; the ids after it grow from 1."""


class Desk(Protocol):
    """Whoever has the session: one modern client."""

    def learn(self, response: Response) -> None:
        """Learn what `initialize` was answered."""

    def ready(self, session: "TranslatedSession") -> None:
        """Learn that the handshake is done, before any request goes out."""

    def freed(self, session: "TranslatedSession") -> None:
        """Learn that a request is over, so that the next may have its turn."""

    def gone(self, session: "TranslatedSession", fault: McpnatsdError) -> None: ...

    def park(self, session: "TranslatedSession", park: Park[Caller]) -> None: ...

    def mine(self, session: "TranslatedSession", mine: Mine) -> None: ...

    def told(self, told: Told) -> None: ...

    def listed(self, response: Response, line: bytes) -> bytes:
        """Return what may be seen of an answer to `tools/list`."""

    def is_idle(self, session: "TranslatedSession", since: float) -> bool:
        """Say whether the session has had no use since then, and keeps nothing."""


class TranslatedSession:
    """A process for requests of one modern client."""

    def __init__(  # noqa: PLR0913
        self,
        config: ServerConfig,
        launcher: Launcher,
        declared: Declared,
        desk: Desk,
        *,
        askers: Askers,
        id: str,  # noqa: A002
        version: str,
        logs: bool,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.id = id
        self.process: Process | None = None
        self.use: LegacyUse[Caller] | None = None
        """None until the handshake is done."""

        self._config = config
        self._launcher = launcher
        self._declared = declared
        self._desk = desk
        self._askers = askers
        self._version = version
        self._logs = logs
        self._early: list[Caller] = []
        self._shaken = asyncio.Event()
        self._over = asyncio.Event()
        self._kill_at: float | None = None
        self.cancelled = False
        """Whether this instance is stopping: nothing is started in its place."""

        self.used_at = self._line_at = self._now()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    @property
    def idle(self) -> bool:
        return not self._early and (self.use is None or self.use.idle)

    @property
    def busy(self) -> int:
        return len(self._early) + (0 if self.use is None else self.use.busy)

    @property
    def parked(self) -> int:
        return 0 if self.use is None else self.use.parked

    @property
    def fenced(self) -> bool:
        """Whether a request that is known to ask waits for nothing but a cancel to be read."""
        return self.use is not None and self.use.fenced

    def takes(self, asked: Asked) -> bool:
        """Say whether a request that is known to ask can come now."""
        name = (asked.request.method, asked.name or "")
        if self.use is not None:
            return self.use.takes(name)
        early = ((one.asked.request.method, one.asked.name or "") for one in self._early)
        return not any(each in self._askers for each in early)

    async def run(self) -> None:
        """Live from start to end; the process is gone when this returns."""
        try:
            async with asyncio.timeout(self._config.limits.start_timeout):
                self.process = await self._launcher.start(self._config, self)
                self._write(self._initialize())
                await self._shaken.wait()
            await self._watch()
        except TimeoutError:
            tail = self.process.stderr_tail if self.process else ()
            self.end(start_timed_out(self._config, tail))
        except BackendError as fault:
            self.end(fault)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.end(instance_stopping(self._config))
            process, self.process = self.process, None
            if process is not None:
                await process.stop()

    # From callers.

    def receive(self, caller: Caller) -> None:
        """Take a request, for now or for when the handshake is done."""
        self.used_at = self._now()
        if self.use is None:
            self._early.append(caller)
            caller.on_cancel = partial(self._leave_early, caller)
        else:
            self._open(self.use, caller)

    def resume(self, caller: Caller, ticket: Ticket) -> None:
        """Take the retry of a parked call."""
        if self.use is None:
            return
        self.used_at = self._now()
        ours, round_ = ticket.call, ticket.round
        try:
            out = self.use.resume(caller, caller.asked, self._now(), ours=ours, round=round_)
        except McpnatsdError as fault:
            caller.fail(fault)
            return
        caller.on_cancel = partial(self.cancel, ours)
        self._deliver(out)

    def request(self, method: str, **params: object) -> int | None:
        """Send a request of our own; return its number, None while there is nobody to ask."""
        if self.use is None or self.over:
            return None
        ours, line = self.use.own(method, **params)
        self._write(line)
        return ours

    def cancel(self, ours: int, reason: str) -> None:
        """Give a request up, running or parked."""
        if self.use is not None:
            self._deliver(self.use.cancel(ours, self._now(), reason))
            self.used_at = self._now()
            self._desk.freed(self)

    def end(self, fault: McpnatsdError) -> None:
        """End it; whoever waits is told why."""
        if self.over:
            return
        self._over.set()
        self._shaken.set()
        early, self._early = self._early, []
        for caller in [*early, *(self.use.server_gone() if self.use is not None else ())]:
            caller.fail(fault)
        self._desk.gone(self, fault)

    # What the process says.

    def receive_output(self, line: bytes) -> None:
        self._line_at = self._now()
        self._kill_at = None
        if self.over:
            return  # what it still says before it ends is for nobody
        try:
            message = jsonrpc.decode(line)
            if self.use is None:
                self._receive_handshake(message)
            else:
                self._deliver(self.use.receive(message, self._line_at))
        except ProtocolError as fault:
            self._stray(str(fault))
            if told := unreadable(self._config, line, fault):
                self.receive_output(told)

    def receive_oversize(self, skipped: Oversize) -> None:
        """Fail what a message answered that was too large to be read; or all, if unknown."""
        if self.use is None:
            return
        fault = output_too_large(self._config, skipped.size)
        for caller in self.use.lost(jsonrpc.id_at_ends(skipped.head, skipped.tail), fault):
            caller.fail(fault)
        self._desk.freed(self)

    def exited(self, exit: Exit) -> None:  # noqa: A002
        self.process = None
        self.end(ProcessDied(f"server {self._config.name!r} {exit.sentence()}"))

    # One life.

    def _initialize(self) -> bytes:
        params = self._declared.initialize(self._version)
        body = {"jsonrpc": "2.0", "id": _OUR_ID, "method": eras.INITIALIZE, "params": params}
        return jsonrpc.encode(body)

    def _receive_handshake(self, message: Message) -> None:
        if not isinstance(message, Response) or jsonrpc.key_of(message.id) != _OUR_ID:
            return
        self._desk.learn(message)
        if message.is_error:
            self.end(jsonrpc.reported(jsonrpc.encode(message.members)))
            return
        result = jsonrpc.object_of(message.members, "result")
        capabilities = jsonrpc.object_of(result, "capabilities")
        self.use = LegacyUse(
            capabilities,
            self._declared,
            self._askers,
            logs=self._logs,
            alone=self._config.isolation is Isolation.SESSION,
        )
        self._write(jsonrpc.notification(eras.INITIALIZED, {}))
        facts = {"server": self._config.name, "pid": self.process and self.process.pid}
        log.info("session for a modern client started", extra=facts)
        self._shaken.set()
        self._desk.ready(self)
        early, self._early = self._early, []
        for caller in early:
            self._open(self.use, caller)
        self._desk.freed(self)

    async def _watch(self) -> None:
        while not self.over:
            try:
                async with asyncio.timeout(0.5):
                    await self._over.wait()
            except TimeoutError:
                self._tick(self._now())

    def _tick(self, now: float) -> None:
        use, process, limits = self.use, self.process, self._config.limits
        if use is None or process is None:
            return
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            log.warning("server does not answer; killed", extra={"server": self._config.name})
            process.kill()
            return
        self._deliver(use.expire(now))
        self._desk.freed(self)
        for ours, caller in use.overdue(now, limits.call_timeout):
            self._give_up(use, ours, caller, now)
        idle_for = limits.idle_timeout
        if idle_for and self.idle and not self.over and self._desk.is_idle(self, now - idle_for):
            log.info("session is idle; ended", extra={"server": self._config.name})
            self.end(instance_stopping(self._config))

    def _give_up(self, use: LegacyUse[Caller], ours: int, caller: Caller, now: float) -> None:
        self.cancel(ours, "call_timeout")
        caller.fail(call_timed_out(self._config))
        if self._line_at < caller.opened_at and self._kill_at is None:
            # It has not said a word in all that time: is it alive? 2025-11-25, Basic, Ping.
            _, line = use.own(eras.PING)
            self._write(line)
            self._kill_at = now + SIGN_OF_LIFE

    # Deliveries.

    def _open(self, use: LegacyUse[Caller], caller: Caller) -> None:
        try:
            ours, out = use.open(caller, caller.asked, self._now())
        except McpnatsdError as fault:
            caller.fail(fault)
            return
        caller.on_cancel = partial(self.cancel, ours)
        self._deliver(out)

    def _leave_early(self, caller: Caller, _reason: str) -> None:
        if caller in self._early:
            self._early.remove(caller)

    def _deliver(self, out: "list[Delivery[Caller]]") -> None:
        for delivery in out:
            match delivery:
                case ToServer(line=line):
                    self._write(line)
                case Answer():
                    self._answer(delivery)
                case Note(caller=caller, line=line):
                    caller.note(line)
                case _:
                    self._report(delivery)

    def _report(self, delivery: Park[Caller] | Mine | Told | Stray) -> None:
        """Tell the client's desk what is not for the process, nor for one caller."""
        match delivery:
            case Park():
                self._desk.park(self, delivery)
            case Mine():
                self._desk.mine(self, delivery)
                self._desk.freed(self)
            case Told():
                self._desk.told(delivery)
            case Stray(reason=reason):
                self._stray(reason)

    def _answer(self, answer: Answer[Caller]) -> None:
        caller, response = answer.caller, answer.response
        line = response.with_id(answer.id)
        caller.error = error_in(answer.method, response, line)
        if answer.method == eras.LIST_TOOLS:
            line = self._desk.listed(response, line)
        caller.finish(line)
        self.used_at = self._line_at
        self._desk.freed(self)

    def _write(self, line: bytes) -> None:
        if self.process is None:
            return
        try:
            self.process.write(line)
        except BackendError as fault:
            self.end(fault)

    def _stray(self, reason: str) -> None:
        log.debug("message dropped", extra={"server": self._config.name, "reason": reason})
