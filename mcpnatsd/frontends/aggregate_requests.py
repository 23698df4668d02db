"""A client's requests to several servers at once: each ends once, and may take work of its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from mcpnatsd.bus.call import Call, Owner, Phase
from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.errors import Busy, McpnatsdError, ProtocolError
from mcpnatsd.protocol import aggregate, jsonrpc
from mcpnatsd.protocol import aggregate_results as results
from mcpnatsd.protocol.outgoing import Outgoing

log = logging.getLogger(__name__)

MOST_TASKS: Final = 256
"""Requests of one session that are gathered, looked for or listened to at a time."""


class Asked(Call):
    """One request to all servers, and the owner of the exchange that answers it."""

    __slots__ = ("_open", "edge", "part", "task")

    def __init__(
        self, opened: "OpenRequests", bus: ClientBus, asked: Outgoing, owner: Owner
    ) -> None:
        super().__init__(bus.requester, "", asked, owner, asyncio.get_running_loop().time())
        self._open = opened
        self.edge = owner.edge
        self.part: Call | None = None
        """The exchange with the server that answers, once it is known which that is."""

        self.task: asyncio.Task[None] | None = None

    def receive_note(self, _call: Call, line: bytes) -> None:
        self.note(line)

    def note(self, line: bytes) -> None:
        if self.phase is not Phase.ENDED and results.is_note(line):
            self.owner.receive_note(self, line)

    def receive_final(self, _call: Call, line: bytes) -> None:
        self._open.answer(self, line)

    def receive_end(self, call: Call) -> None:
        if self._open.end(self):
            self.told_end = call.told_end
            self.owner.receive_end(self)

    def failed(self, call: Call, fault: McpnatsdError) -> None:
        self._open.on_failed(call.server, fault)
        self._open.fail(self, fault)


Step = Callable[[Asked], Awaitable[None]]


class OpenRequests:
    """What one session has open; what takes longer runs in a task group, once that is there."""

    def __init__(self, bus: ClientBus, on_failed: Callable[[str, McpnatsdError], None]) -> None:
        self.on_failed = on_failed
        """Learns of servers that could not be reached."""

        self.group: asyncio.TaskGroup | None = None
        self._bus = bus
        self._asked: set[Asked] = set()
        self._waiting: list[tuple[Asked, Step]] = []

    def enter(self, outgoing: Outgoing, owner: Owner) -> Asked:
        """Take a request of the client."""
        asked = Asked(self, self._bus, outgoing, owner)
        if self._bus.connection.connected:
            asked.phase = Phase.SENT
        self._asked.add(asked)
        return asked

    def sent(self) -> None:
        """Learn that NATS is there: what was held is on its way."""
        for asked in self._asked:
            if asked.phase is Phase.HELD:
                asked.phase = Phase.SENT

    def end(self, asked: Asked) -> bool:
        """Note that a request is over; say whether it was not before."""
        if asked.phase is Phase.ENDED:
            return False
        asked.phase = Phase.ENDED
        self._asked.discard(asked)
        if asked.task is not None and asked.task is not asyncio.current_task():
            asked.task.cancel()
        return True

    def answer(self, asked: Asked, line: bytes) -> None:
        """Pass on what a server answered; it cannot answer what another was asked."""
        try:
            answered = results.answered(line, asked.outgoing.id)
        except ProtocolError as fault:
            self.fail(asked, McpnatsdError(f"a server's answer is no JSON-RPC response: {fault}"))
        else:
            self.finish(asked, answered)

    def finish(self, asked: Asked, line: bytes) -> None:
        if self.end(asked):
            asked.owner.receive_final(asked, line)

    def fail(self, asked: Asked, fault: McpnatsdError) -> None:
        if self.end(asked):
            asked.owner.failed(asked, fault)

    def refuse(self, asked: Asked, code: int, text: str) -> None:
        self.finish(asked, jsonrpc.error(asked.outgoing.id, code, text))

    def forward(self, asked: Asked, server: str, name: str | None = None) -> None:
        """Send a request to one server, under the server's own name of what it names."""
        outgoing = aggregate.for_server(asked.outgoing, name)
        asked.part = self._bus.requester.open(server, outgoing, asked)

    def begin(self, asked: Asked, step: Step) -> None:
        """Start what a request needs, or keep it until there is a group.

        Raises:
            Busy: Too much is under way.
        """
        tasks = (one.task for one in self._asked)
        under_way = sum(task is not None and not task.done() for task in tasks)
        if under_way + len(self._waiting) >= MOST_TASKS:
            raise Busy(f"{MOST_TASKS} requests to several servers are under way: wait for some")
        if self.group is None:
            self._waiting.append((asked, step))
        elif asked.phase is not Phase.ENDED:
            asked.task = self.group.create_task(self._guarded(asked, step))

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin what waits for a group."""
        self.group = group
        waiting, self._waiting = self._waiting, []
        for asked, step in waiting:
            self.begin(asked, step)

    async def _guarded(self, asked: Asked, step: Step) -> None:
        """Whatever goes wrong with one request, the session goes on."""
        try:
            await step(asked)
        except McpnatsdError as fault:
            self.fail(asked, fault)
        except Exception as error:
            log.exception("a request failed", extra={"method": asked.outgoing.method})
            self.fail(asked, McpnatsdError(f"a fault of mcpnatsd: {error!r}"))
