"""A unix socket where many clients at once reach one server of the bus.

Each connection is one client, framed exactly as on stdio: one message a line.
"""

import asyncio
import logging
import os
import select
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.clock import guarded
from mcpnatsd.config.model import UnixEndpoint
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.line_client import LineClient
from mcpnatsd.frontends.output import Output

log = logging.getLogger(__name__)

AFTER_EOF: Final = 30.0
"""Seconds for which a client that closed its writing side still gets answers."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted. A client that finds no place there may not notice:
a connect that does not wait is told to try again, and takes that for being under way."""

TICK: Final = 0.25
DRAIN_TICK: Final = 0.02


class UnixFrontend:
    """The listener of one endpoint."""

    def __init__(
        self, endpoint: UnixEndpoint, bus: ClientBus, on_open: Callable[[], None] = lambda: None
    ) -> None:
        self.endpoint = endpoint
        self._bus = bus
        self._on_open = on_open
        self._clients: set[_SocketClient] = set()
        self._server: asyncio.Server | None = None
        self._inode = 0

    @property
    def place(self) -> str:
        return self.endpoint.path

    @property
    def server(self) -> str:
        return self.endpoint.server

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def in_flight(self) -> int:
        """Clients that wait for an answer."""
        return sum(client.busy for client in self._clients)

    async def drain(self) -> None:
        """Let nobody in any more, and return when nobody waits for an answer."""
        if self._server is not None:
            self._server.close()
            self._remove(Path(self.endpoint.path))
        while self.in_flight:  # noqa: ASYNC110  (nobody says when: there are many reasons)
            await asyncio.sleep(DRAIN_TICK)

    async def run(self) -> None:
        """Listen until cancelled; the socket's file is gone afterwards.

        Raises:
            ConfigError: The path cannot be listened on.
        """
        path = Path(self.endpoint.path)
        server = self._server = await self._listen(path)
        self._inode = _inode(path)
        log.info("endpoint open", extra={"unix": str(path), "server": self.endpoint.server})
        self._on_open()
        try:
            await self._tick_for_ever()
        finally:
            server.close()
            for client in list(self._clients):
                client.close()
            self._remove(path)

    def _remove(self, path: Path) -> None:
        """Remove our socket; a successor may listen at the same path."""
        if _inode(path) == self._inode:
            path.unlink(missing_ok=True)

    async def _listen(self, path: Path) -> asyncio.Server:
        try:
            _remove_stale(path)
            old = os.umask(0o777 & ~self.endpoint.mode)
            try:
                return await asyncio.get_running_loop().create_unix_server(
                    lambda: _SocketClient(self._bus, self.endpoint.server, self._clients),
                    str(path),
                    backlog=BACKLOG,
                )
            finally:
                os.umask(old)
        except OSError as error:
            raise ConfigError(f"endpoint {path} cannot be opened: {error.strerror}") from None

    async def _tick_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK)
            for client in list(self._clients):
                guarded(client.tick, loop.time())


class _SocketClient(asyncio.Protocol):
    """One connection."""

    def __init__(self, bus: ClientBus, server: str, clients: "set[_SocketClient]") -> None:
        self._bus = bus
        self._server = server
        self._clients = clients
        self._transport: asyncio.Transport | None = None
        self._client: LineClient | None = None
        self._eof_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether its client waits for an answer, or has not taken it yet."""
        if self._client is None or self._transport is None or self._transport.is_closing():
            return False
        return self._client.edge.busy or self._transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        edge = Edge(self._bus, self._server, Output(self._transport))  # type: ignore[arg-type]
        self._client = LineClient(edge, self._pause)
        self._clients.add(self)

    def data_received(self, data: bytes) -> None:
        if self._client is not None:
            self._client.receive(data)

    def eof_received(self) -> bool:
        self._eof_at = asyncio.get_running_loop().time()
        if self._client is not None:
            self._client.receive_eof()
        return True  # answers may still go out

    def connection_lost(self, _error: Exception | None) -> None:
        self._clients.discard(self)
        if self._client is not None:
            self._client.edge.gone()

    def tick(self, now: float) -> None:
        if self._client is None:
            return
        self._client.tick(now)
        if self._eof_at is None:
            return
        if not self._client.edge.busy or now - self._eof_at >= AFTER_EOF or self._is_gone():
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _is_gone(self) -> bool:
        """Tell a client that is gone from one that closed its writing side and still reads."""
        if sys.platform != "linux" or self._transport is None or self._transport.is_closing():
            return False  # elsewhere POLLHUP may mean either
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def _pause(self, yes: bool) -> None:  # noqa: FBT001
        if self._transport is None or self._transport.is_closing():
            return
        if yes:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _inode(path: Path) -> int:
    """Return what tells one socket of a path from the next; 0 when there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _remove_stale(path: Path) -> None:
    """Remove the socket that a daemon which was killed left behind; nothing else."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
