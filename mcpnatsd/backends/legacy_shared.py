"""One legacy process that many sessions share, because an operator said so.

The rules of who gets what are `protocol.legacy_shared`'s; here is the process: started with the
first session, ended when it has been idle, and when it dies every session with it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from mcpnatsd.backends.faults import (
    call_timed_out,
    instance_stopping,
    output_too_large,
    start_timed_out,
    unreadable,
)
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import BackendError, Busy, McpnatsdError, ProcessDied, ProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.jsonrpc import Message, Request, Response
from mcpnatsd.protocol.legacy_shared import Delivery, SharedSession, ToServer
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.protocol.session_ledger import Asked, Ledger
from mcpnatsd.protocol.statistics import Statistics, error_in
from mcpnatsd.protocol.tool_rules import ToolRules

log = logging.getLogger(__name__)

_OUR_ID: Final = 0

HOLD_BYTES: Final = 4 * 1024 * 1024
"""Unwritten bytes towards the process at which its clients are made to wait."""

_SPARE_BYTES: Final = 16 * 1024 * 1024
_LINE_COST: Final = 512
"""What a line that waits costs beside its bytes."""


class Tunnel(Protocol):
    """Where a client is reached: a tunnel on the bus, or a seat of a translator."""

    @property
    def full(self) -> bool: ...
    def send(self, line: bytes, /) -> None: ...
    def refuse(self, message: Message, fault: McpnatsdError, /) -> None: ...
    def close(self, fault: McpnatsdError | None, /) -> None: ...
    def hold(self, *, yes: bool) -> None: ...


class Member:
    """One client's session on the shared process."""

    def __init__(self, shared: "SharedLegacy", tunnel: Tunnel, *, counted: bool) -> None:
        self.tunnel = tunnel
        self.counted = counted
        """Whether its calls are counted here, and its lists of tools read."""

        self.ledger = Ledger()
        self.over_bytes = 0
        """Sent since its window was full: how far it is behind."""

        self._shared = shared

    def receive_line(self, message: Message, name: str | None, _line: bytes) -> None:
        self._shared.receive_from_client(self, message, name)

    def client_gone(self, _reason: str) -> None:
        self._shared.leave(self)

    def room(self) -> None:
        self.over_bytes = 0

    def fail(self, fault: McpnatsdError) -> None:
        for asked in self.ledger.server_gone():
            self.tunnel.send(jsonrpc.error_of(asked.id, fault))
        self.tunnel.close(fault)


class SharedLegacy:
    """The process, and who is on it."""

    def __init__(  # noqa: PLR0913
        self,
        config: ServerConfig,
        launcher: Launcher,
        *,
        version: str,
        rules: ToolRules,
        statistics: Statistics,
        on_verdict: Callable[[Verdict], None],
        on_tools: Callable[[Response, bytes], bytes],
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.process: Process | None = None
        self.members: set[Member] = set()
        self._config = config
        self._launcher = launcher
        self._version = version
        self._rules = rules
        self._statistics = statistics
        self._on_verdict = on_verdict
        self._on_tools = on_tools
        self._session: SharedSession[Member] | None = None
        self._early: list[tuple[Member, Message]] = []
        self._shaken = asyncio.Event()
        self._over = asyncio.Event()
        self._empty_since = self._line_at = self._now()

    @property
    def over(self) -> bool:
        """Whether it takes nobody in any more: the next client needs another process."""
        return self._over.is_set()

    def open(self, tunnel: Tunnel, *, counted: bool = True) -> Member:
        """Let a client in."""
        member = Member(self, tunnel, counted=counted)
        self.members.add(member)
        return member

    async def run(self) -> None:
        """Live from the first session until idle, or until the process dies."""
        try:
            async with asyncio.timeout(self._config.limits.start_timeout):
                self.process = await self._launcher.start(self._config, self)
                self._write(self._initialize())
                await self._until_ready()
            await self._watch()
        except TimeoutError:
            tail = self.process.stderr_tail if self.process else ()
            self._end(start_timed_out(self._config, tail))
        except BackendError as fault:
            self._end(fault)
        finally:
            self._end(instance_stopping(self._config))
            process, self.process = self.process, None
            if process is not None:
                await process.stop()

    def receive_from_client(self, member: Member, message: Message, name: str | None) -> None:
        """Take a client's message, checked against its subject already."""
        # A call without an id is a notification, and a server may run it none the less.
        called = not isinstance(message, Response) and message.method == eras.CALL_TOOL
        if called and name is not None:
            try:
                self._rules.check(name)
            except McpnatsdError as fault:
                member.tunnel.refuse(message, fault)
                return
        member.ledger.receive_from_client(message, name, self._now())
        if self._session is None:
            self._early.append((member, message))
        else:
            self._pass_on(self._session, member, message)

    def leave(self, member: Member) -> None:
        self.members.discard(member)
        self._empty_since = self._now()
        self._early = [one for one in self._early if one[0] is not member]
        if self._session is not None:
            self._deliver(self._session.client_gone(member))

    # What the process says.

    def receive_output(self, line: bytes) -> None:
        self._line_at = self._now()
        try:
            message = jsonrpc.decode(line)
            if self._session is None:
                self._receive_handshake(message)
            else:
                members = list(self.members)
                self._deliver(self._session.receive_from_server(message, line, members))
        except ProtocolError as fault:
            log.debug("line dropped", extra={"server": self._config.name, "error": str(fault)})
            if told := unreadable(self._config, line, fault):
                self.receive_output(told)

    def receive_oversize(self, skipped: Oversize) -> None:
        fault = output_too_large(self._config, skipped.size)
        ours = jsonrpc.id_at_ends(skipped.head, skipped.tail)
        found = self._session.lost(ours) if self._session is not None else None
        for member in self.members if found is None else [found[0]]:
            waiting = member.ledger.lost(found and found[1])
            for asked in waiting:
                member.tunnel.send(jsonrpc.error_of(asked.id, fault))

    def exited(self, exit: Exit) -> None:  # noqa: A002
        self.process = None
        self._end(ProcessDied(f"server {self._config.name!r} {exit.sentence()}"))

    # One life.

    def _initialize(self) -> bytes:
        params = eras.our_initialize(self._version)
        body = {"jsonrpc": "2.0", "id": _OUR_ID, "method": eras.INITIALIZE, "params": params}
        return jsonrpc.encode(body)

    def _receive_handshake(self, message: Message) -> None:
        if not isinstance(message, Response) or jsonrpc.key_of(message.id) != _OUR_ID:
            return
        self._on_verdict(eras.verdict_of_initialize(message))
        if message.is_error:
            self._end(jsonrpc.reported(jsonrpc.encode(message.members)))
            return
        self._session = SharedSession(message)
        self._write(jsonrpc.notification(eras.INITIALIZED, {}))
        early, self._early = self._early, []
        for member, waiting in early:
            self._pass_on(self._session, member, waiting)
        self._shaken.set()

    def _pass_on(self, session: SharedSession[Member], member: Member, message: Message) -> None:
        try:
            deliveries = session.receive_from_client(member, message)
        except ProtocolError as fault:
            if isinstance(message, Request):
                self._answer(member, jsonrpc.error_of(message.id, fault))
            return
        self._deliver(deliveries)

    async def _until_ready(self) -> None:
        """Wait for the handshake, or for its failure."""
        await self._shaken.wait()
        if self._session is not None:
            log.info(
                "shared legacy server started",
                extra={
                    "server": self._config.name,
                    "pid": (self.process and self.process.pid) or None,
                },
            )

    async def _watch(self) -> None:
        idle = self._config.limits.idle_timeout
        while not self._over.is_set():
            try:
                async with asyncio.timeout(0.5):
                    await self._over.wait()
            except TimeoutError:
                self._tick(self._now())
                empty = not self.members and self._now() - self._empty_since >= idle
                if idle and empty:
                    return

    def _tick(self, now: float) -> None:
        process = self.process
        if process is None or self._session is None:
            return
        limit = self._config.limits.call_timeout
        silent = False
        for member in self.members:
            behind = process.unwritten_bytes > HOLD_BYTES or member.over_bytes > 0
            member.tunnel.hold(yes=behind)
            for asked in member.ledger.overdue(now - limit):
                silent = silent or self._line_at < asked.at
                self._give_up(self._session, member, asked)
        if silent:
            # It has not said a word in all that time: the next request gets a new one.
            log.warning("server does not answer; killed", extra={"server": self._config.name})
            process.kill()

    def _give_up(self, session: SharedSession[Member], member: Member, asked: Asked) -> None:
        fault = call_timed_out(self._config)
        self._count(member, asked, str(fault))
        member.tunnel.send(jsonrpc.error_of(asked.id, fault))
        key = jsonrpc.key_of(asked.id)
        if key is not None:
            self._deliver(session.give_up(member, key))

    def _end(self, fault: McpnatsdError) -> None:
        members, self.members = self.members, set()
        for member in members:
            member.fail(fault)
        self._over.set()
        self._shaken.set()

    def _deliver(self, deliveries: "list[Delivery[Member]]") -> None:
        for one in deliveries:
            if isinstance(one, ToServer):
                self._write(one.line)
            elif one.settles is not None:
                self._answer(one.client, one.line)
            else:
                self._send(one.client, one.line)

    def _answer(self, member: Member, line: bytes) -> None:
        response = jsonrpc.decode(line)
        if not isinstance(response, Response):
            return
        asked = member.ledger.receive_from_server(response)
        if asked is None:
            return
        self._count(member, asked, error_in(asked.method, response, line))
        if asked.method == eras.LIST_TOOLS and member.counted:
            line = self._on_tools(response, line)
        self._send(member, line)

    def _count(self, member: Member, asked: Asked, error: str | None) -> None:
        if member.counted:
            self._statistics.record(asked.method, asked.name, self._now() - asked.at, error)

    def _send(self, member: Member, line: bytes) -> None:
        """Send a line to a client. One that does not keep up is let go: the others go on."""
        member.tunnel.send(line)
        if not member.tunnel.full:
            return
        member.over_bytes += len(line) + _LINE_COST
        if member.over_bytes > max(_SPARE_BYTES, 2 * self._config.limits.output_line_bytes):
            log.warning("client does not keep up; let go", extra={"server": self._config.name})
            self.leave(member)
            member.fail(Busy("this client does not read what the server sends it"))

    def _write(self, line: bytes) -> None:
        if self.process is None:
            return
        try:
            self.process.write(line)
        except BackendError as fault:
            self._end(fault)
