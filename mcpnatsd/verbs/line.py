"""A verb's session with a legacy server: one tunnel, and who waits for what in it.

A request of the server's own is refused, but for `ping`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.tunnel_client import Tunnel
from mcpnatsd.errors import McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc, outgoing, subjects
from mcpnatsd.protocol.jsonrpc import Notification, Request, Response
from mcpnatsd.verbs.answers import OnProgress, Result, request_line, settle, tell_progress
from mcpnatsd.verbs.session import version

TICK: Final = 0.5
"""Seconds between two looks of a tunnel at its clocks."""


@asynccontextmanager
async def open_line(bus: ClientBus, server: str) -> AsyncIterator["Line"]:
    line = Line(bus, server)
    clocks = asyncio.create_task(line.run(), name="tunnel")
    unwatch = bus.connection.watch_denied(line.tunnel.denied)
    try:
        yield line
    finally:
        unwatch()
        clocks.cancel()
        await asyncio.wait([clocks])
        line.tunnel.close()


class Line:
    """The client's end of the session."""

    def __init__(self, bus: ClientBus, server: str) -> None:
        self.tunnel = Tunnel(bus.connection, bus.inbox, bus.prefix, server, self)
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._progress: dict[int, OnProgress] = {}
        self._last = 0
        self._fault: McpnatsdError | None = None

    async def run(self) -> None:
        """Keep the tunnel's clocks until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK)
            self.tunnel.tick(loop.time())

    async def initialize(self) -> Result:
        """Open the session, and return what the server says of itself."""
        self._last += 1
        result = self._expect(self._last)
        params = eras.our_initialize(version())
        self.tunnel.open(request_line(self._last, eras.INITIALIZE, params))
        welcome = await result
        self._notify(eras.INITIALIZED, {})
        return welcome

    async def request(
        self, method: str, params: Mapping[str, object], on_progress: OnProgress | None
    ) -> Result:
        if self._fault is not None:
            raise self._fault
        self._last += 1
        ours = self._last
        whole = dict(params)
        if on_progress is not None:
            self._progress[ours] = on_progress
            whole[eras.META] = {eras.PROGRESS_TOKEN: ours}
        line = request_line(ours, method, whole)
        message = jsonrpc.split(line)
        name = outgoing.name_of(method, jsonrpc.params_of(message))
        result = self._expect(ours)
        self.tunnel.send(line, subjects.tail(method, name))
        try:
            return await result
        except asyncio.CancelledError:
            self._notify(eras.CANCELLED, {"requestId": ours, "reason": "the caller gave up"})
            raise
        finally:
            self._waiting.pop(ours, None)
            self._progress.pop(ours, None)

    def receive_line(self, line: bytes) -> None:
        try:
            message = jsonrpc.decode(line)
        except RemoteProtocolError:
            return
        match message:
            case Response():
                key = jsonrpc.key_of(message.id)
                future = self._waiting.get(key) if isinstance(key, int) else None
                if future is not None:
                    settle(future, line)
            case Notification():
                self._receive_progress(message, line)
            case Request():
                self._answer(message)

    def refused(self, line: bytes, fault: McpnatsdError) -> None:
        message = jsonrpc.decode(line)
        key = jsonrpc.key_of(message.id) if isinstance(message, Request) else None
        future = self._waiting.get(key) if isinstance(key, int) else None
        if future is not None and not future.done():
            future.set_exception(fault)

    def closed(self, fault: McpnatsdError, _untaken: list[tuple[bytes, str]]) -> None:
        self._fault = fault
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(fault)

    def room(self) -> None:
        """Have nothing to resume: what a verb sends fits any window."""

    def _expect(self, ours: int) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[ours] = future
        return future

    def _notify(self, method: str, params: Mapping[str, object]) -> None:
        self.tunnel.send(jsonrpc.notification(method, params), subjects.tail(method))

    def _receive_progress(self, message: Notification, line: bytes) -> None:
        if message.method == eras.PROGRESS:
            token = jsonrpc.key_of(jsonrpc.params_of(message.members).get(eras.PROGRESS_TOKEN))
            tell_progress(line, self._progress.get(token) if isinstance(token, int) else None)

    def _answer(self, request: Request) -> None:
        if request.method == eras.PING:
            line = jsonrpc.result(request.id, {})
        else:
            text = f"this client does not offer {request.method}"
            line = jsonrpc.error(request.id, jsonrpc.METHOD_NOT_FOUND, text)
        self.tunnel.send(line, subjects.RESPONSE)
