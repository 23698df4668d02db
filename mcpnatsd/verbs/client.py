"""A small MCP client for the verbs, of whichever era the server is.

It asks `server/discover`; a server that does not know that is opened with `initialize`, in a
tunnel. It offers no capabilities: a request of the server's own is refused, but for `ping`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import msgspec

from mcpnatsd.bus.call import Call
from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.tunnel_client import Tunnel
from mcpnatsd.errors import InstanceLost, McpnatsdError, RemoteProtocolError, Reported
from mcpnatsd.protocol import eras, jsonrpc, outgoing, subjects
from mcpnatsd.protocol.eras import Era
from mcpnatsd.protocol.jsonrpc import Notification, Request, Response
from mcpnatsd.verbs.session import version

Result = dict[str, Any]
OnProgress = Callable[[Result], None]

MOST_PAGES: Final = 1000
"""Of one list. A server that hands out cursors for ever is stopped here."""

TICK: Final = 0.5
ERA_ERROR: Final = -31006
_OURS: Final = range(-31099, -31000)
"""Codes of mcpnatsd's own (WIRE.md, "Errors of ours"): they say nothing of the server's era."""


class _Channel(Protocol):
    """How requests get to the server."""

    async def request(
        self, method: str, params: Mapping[str, object], on_progress: OnProgress | None
    ) -> Result: ...


class Client:
    """A server that was asked who it is."""

    def __init__(self, channel: _Channel, era: Era, welcome: Result) -> None:
        self.era = era
        self.capabilities = _object(welcome.get("capabilities"))
        self.instructions = str(welcome.get("instructions") or "")
        if era is Era.MODERN:
            self.server_info = _object(_object(welcome.get("_meta")).get(eras.SERVER_INFO))
            self.revisions = [str(one) for one in _list(welcome.get("supportedVersions"))]
        else:
            self.server_info = _object(welcome.get("serverInfo"))
            self.revisions = [str(welcome.get("protocolVersion", ""))]
        self._channel = channel

    async def request(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Result:
        """Return the result of a request. Cancelling the wait cancels the request.

        Raises:
            Reported: The server answered with an error.
            BusError: It could not be reached.
        """
        return await self._channel.request(method, params or {}, on_progress)

    async def listed(self, method: str, member: str) -> list[Result]:
        """Return all pages of a list.

        Raises:
            RemoteProtocolError: They do not end.
            Reported, BusError: As `request`.
        """
        found: list[Result] = []
        params: dict[str, object] = {}
        for _ in range(MOST_PAGES):
            page = await self.request(method, params)
            found += [one for one in _list(page.get(member)) if isinstance(one, dict)]
            if not page.get("nextCursor"):
                return found
            params = {"cursor": page["nextCursor"]}
        raise RemoteProtocolError(f"{method} does not end: {MOST_PAGES} pages and a next one")


@asynccontextmanager
async def open_client(bus: ClientBus, server: str) -> AsyncIterator[Client]:
    """Find out which era a server is of, and open it; starting it may take a minute.

    Raises:
        NoResponders: Nobody serves it.
        McpnatsdError: It cannot be started, or is not understood.
    """
    channel = _Exchanges(bus, server)
    welcome = await channel.discover()
    if welcome is not None:
        yield Client(channel, Era.MODERN, welcome)
        return
    async with _open_tunnel(bus, server) as line:
        legacy = await _initialized(line, channel)
        if isinstance(legacy, Client):
            yield legacy
        else:
            yield Client(line, Era.LEGACY, legacy)


async def _initialized(line: "_Line", channel: "_Exchanges") -> Result | Client:
    """Open a legacy session; where only now the server turns out to be modern, go back to that.

    While its first process starts, a server's `server/discover` is answered without knowing.
    """
    try:
        return await line.initialize()
    except Reported as fault:
        if fault.jsonrpc_code not in (ERA_ERROR, eras.UNSUPPORTED_VERSION):
            raise
        welcome = await channel.discover()
        if welcome is None:
            raise
        return Client(channel, Era.MODERN, welcome)


class _Exchanges:
    """Requests of the modern era: each stands for itself."""

    def __init__(self, bus: ClientBus, server: str) -> None:
        self._bus = bus
        self._server = server
        self._edge = secrets.token_hex(16)
        self._last = 0

    async def discover(self) -> Result | None:
        """Return what a modern server says of itself; None for a server that is not modern."""
        try:
            welcome = await self.request(eras.DISCOVER, {}, None)
        except Reported as fault:
            if fault.jsonrpc_code in eras.MODERN_ERRORS or (
                fault.jsonrpc_code in _OURS and fault.jsonrpc_code != ERA_ERROR
            ):
                raise
            return None
        revisions = _list(welcome.get("supportedVersions"))
        return welcome if set(map(str, revisions)) & set(eras.MODERN_REVISIONS) else None

    async def request(
        self, method: str, params: Mapping[str, object], on_progress: OnProgress | None
    ) -> Result:
        self._last += 1
        meta = eras.our_meta(version())
        if on_progress is not None:
            meta[eras.PROGRESS_TOKEN] = self._last
        line = _request(self._last, method, {**params, eras.META: meta})
        message = jsonrpc.decode(line)
        assert isinstance(message, Request)  # noqa: S101  # we made it
        members = jsonrpc.params_of(message.members)
        wanted = outgoing.read(message, line, members, jsonrpc.object_of(members, eras.META))
        exchange = _Exchange(self._edge, on_progress)
        call = self._bus.requester.open(self._server, wanted, exchange)
        try:
            return await exchange.result
        finally:
            self._bus.requester.cancel(call, "the caller gave up")


class _Exchange:
    """The owner of one call: a future that its end resolves."""

    def __init__(self, edge: str, on_progress: OnProgress | None) -> None:
        self.edge = edge
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._on_progress = on_progress

    def receive_note(self, _call: Call, line: bytes) -> None:
        _tell_progress(line, self._on_progress)

    def receive_final(self, _call: Call, line: bytes) -> None:
        _settle(self.result, line)

    def receive_end(self, _call: Call) -> None:
        self.failed(_call, InstanceLost("the server ended the call without an answer"))

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        if not self.result.done():
            self.result.set_exception(fault)


@asynccontextmanager
async def _open_tunnel(bus: ClientBus, server: str) -> AsyncIterator["_Line"]:
    line = _Line(bus, server)
    clocks = asyncio.create_task(line.run(), name="tunnel")
    unwatch = bus.connection.watch_denied(line.tunnel.denied)
    try:
        yield line
    finally:
        unwatch()
        clocks.cancel()
        await asyncio.wait([clocks])
        line.tunnel.close()


class _Line:
    """A session of the legacy era, and who waits for what in it."""

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
        self.tunnel.open(_request(self._last, eras.INITIALIZE, params))
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
        line = _request(ours, method, whole)
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
                    _settle(future, line)
            case Notification():
                self._receive_progress(message, line)
            case Request():
                self._answer(message)

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
            _tell_progress(line, self._progress.get(token) if isinstance(token, int) else None)

    def _answer(self, request: Request) -> None:
        if request.method == eras.PING:
            line = jsonrpc.result(request.id, {})
        else:
            text = f"this client does not offer {request.method}"
            line = jsonrpc.error(request.id, jsonrpc.METHOD_NOT_FOUND, text)
        self.tunnel.send(line, subjects.RESPONSE)


def _request(ours: int, method: str, params: Mapping[str, object]) -> bytes:
    return jsonrpc.encode({"jsonrpc": "2.0", "id": ours, "method": method, "params": params})


def _settle(future: asyncio.Future[Result], line: bytes) -> None:
    """Resolve a future with what a response holds."""
    if future.done():
        return
    try:
        result = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        future.set_exception(RemoteProtocolError("the server's answer is not JSON"))
        return
    if "error" in result:
        future.set_exception(jsonrpc.reported(line))
    elif isinstance(result.get("result"), dict):
        future.set_result(result["result"])
    else:
        future.set_exception(RemoteProtocolError("the server's answer holds no result"))


def _tell_progress(line: bytes, on_progress: OnProgress | None) -> None:
    if on_progress is None:
        return
    try:
        note = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if note.get("method") == eras.PROGRESS and isinstance(note.get("params"), dict):
        on_progress(note["params"])


def _object(value: object) -> Result:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
