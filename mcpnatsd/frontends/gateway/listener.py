"""The HTTP listener of one endpoint: its socket, its connections, its clocks."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.files import located
from mcpnatsd.config.model import HttpEndpoint, HttpTls
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.gateway.gate import Gate
from mcpnatsd.frontends.gateway.gateway import Gateway
from mcpnatsd.frontends.gateway.http_connection import House, HttpConnection
from mcpnatsd.frontends.gateway.keys import key_of
from mcpnatsd.frontends.gateway.signed_tokens import SignedTokens

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

NOT_READ_FOR_MS: Final = 120_000
"""Milliseconds until a client that takes nothing of what it was sent is cut off."""

TICK: Final = 0.25
TICKS: Final = 2
"""Of connections, to one of sessions, which may be thousands."""

HANDSHAKE_WITHIN: Final = 10.0
"""Seconds for the handshake of TLS. A connection that has none yet is counted nowhere."""

MOST_FRAMES: Final = 16384
"""Of one message to a WebSocket."""

MOST_PONG_BYTES: Final = 1 << 16
"""That wait for the client of a WebSocket to read them."""

DRAIN_TICK: Final = 0.02
END_WITHIN: Final = 1.0
"""Seconds for WebSockets to notice that their clients are cut off."""

MORE_CONNECTIONS: Final = 1024
"""Beyond the requests that may be open: connections between two requests."""


class HttpFrontend:
    """The listener of one endpoint."""

    def __init__(
        self,
        endpoint: HttpEndpoint,
        bus: ClientBus,
        folder: Path | None = None,
        *,
        on_open: Callable[[], None] = lambda: None,
        listening: socket.socket | None = None,
    ) -> None:
        """Serve an endpoint.

        `folder` is where a key is kept between runs; without one it is new each time. `listening`
        is the socket that whoever served it before hands over.
        """
        self.endpoint = endpoint
        self._bus = bus
        self._folder = folder
        self._on_open = on_open
        self._listening = listening
        self._gateway: Gateway | None = None
        self._serving: _Serving | None = None
        self._address = endpoint.address

    @property
    def place(self) -> str:
        scheme = "http" if self.endpoint.tls is None else "https"
        return f"{scheme}://{self._address}/mcp/"

    @property
    def server(self) -> str:
        return ", ".join(self.endpoint.servers)

    @property
    def clients(self) -> int:
        """Requests and streams that are open, and sessions between two requests."""
        gateway = self._gateway
        return 0 if gateway is None else gateway.clients

    @property
    def in_flight(self) -> int:
        """Requests that are being answered, and streams."""
        gateway = self._gateway
        return 0 if gateway is None else gateway.open

    async def drain(self) -> None:
        """Take no more connections, finish what is open, end the streams that would never end."""
        serving = self._serving
        if serving is None:
            return
        serving.drain()
        while serving.open:
            await asyncio.sleep(DRAIN_TICK)
            serving.drain()

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            ConfigError: The address cannot be listened on, or a file cannot be read.
        """
        jwt, group = self.endpoint.jwt, asyncio.TaskGroup()
        gate = Gate(self.endpoint, None if jwt is None else SignedTokens(jwt, group.create_task))
        key = key_of(self.endpoint, self._folder)
        try:
            async with group:
                gateway = Gateway(self.endpoint, self._bus, gate, key, group.create_task)
                await self._serve(gateway, await self._listen(gateway))
        finally:
            if self._listening is not None:
                self._listening.close()
            self._listening = None

    async def _serve(self, gateway: Gateway, serving: "_Serving") -> None:
        self._gateway, self._serving = gateway, serving
        log.info("endpoint open", extra={"http": self.place})
        self._on_open()
        try:
            await serving.tick_for_ever()
        finally:
            self._serving = None
            await serving.close()

    def hand_over(self) -> socket.socket | None:
        """Return a second handle of the listening socket: no connection is refused in between."""
        return None if self._listening is None else self._listening.dup()

    async def _listen(self, gateway: Gateway) -> "_Serving":
        limits, files = self.endpoint.limits, self.endpoint.tls
        sockets = _Sockets(gateway, limits.body_bytes)
        house = House(gateway, limits.requests + MORE_CONNECTIONS, sockets.take)
        tls = None if files is None else _context(self.endpoint.address, files)
        self._listening = self._listening or _bound(self.endpoint.address)
        port = self._listening.getsockname()[1]  # the file may say 0: any free one
        self._address = f"{self.endpoint.address.rpartition(':')[0]}:{port}"
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(house),
            sock=self._listening,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE_WITHIN,
        )
        return _Serving(gateway, house, sockets, server)


class _Serving:
    """All that listens, while it does."""

    def __init__(
        self, gateway: Gateway, house: House, sockets: "_Sockets", server: asyncio.Server
    ) -> None:
        self._gateway = gateway
        self._house = house
        self._sockets = sockets
        self._server = server

    @property
    def open(self) -> bool:
        """Whether anybody waits for an answer, or is still to hear that there are no more."""
        return bool(self._gateway.open or self._house.connections)

    async def tick_for_ever(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            self._gateway.tick(now())
            for _ in range(TICKS):
                self._house.date = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
                self._house.tick(now())
                await asyncio.sleep(TICK)

    def drain(self) -> None:
        """Have an end come; call it until nothing is open."""
        self._server.close()
        self._house.drain()
        self._gateway.drain()

    async def close(self) -> None:
        """End what is open."""
        self._server.close()
        self._gateway.close()
        self._house.cut()
        await self._sockets.close()


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket whose client cannot have us keep more and more."""

    frames_before = 0
    """Of the message that is arriving."""

    unread_bytes = 0
    """Pongs since the client last took what we had written."""

    def handle_ping(self) -> None:
        """Answer, unless the client has long not read what it asks for."""
        pongs = b"".join(self.conn.data_to_send())
        self.unread_bytes = 0 if self.writable.is_set() else self.unread_bytes + len(pongs)
        # RFC 6455, 5.5.3: it "MAY elect to send a Pong frame for only the most recently processed".
        if self.unread_bytes <= MOST_PONG_BYTES:
            self.transport.write(pongs)

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message. The bound of a message's bytes does not see empty ones."""
        self.frames_before = 0 if event.fin else self.frames_before + 1
        if self.frames_before < MOST_FRAMES:
            super().handle_cont(event)
        elif not self.close_sent:
            text = f"a message may come in {MOST_FRAMES} frames at most"
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, text)
            self.handle_parser_exception()


class _Sockets:
    """WebSockets, which are uvicorn's: connections that were handed over to it."""

    def __init__(self, gateway: Gateway, most_bytes: int) -> None:
        self._config = uvicorn.Config(
            gateway,
            ws=_Socket,
            ws_per_message_deflate=False,  # it costs each client 300 KiB here
            lifespan="off",
            log_config=None,
            log_level="error",
            proxy_headers=False,
            ws_max_size=most_bytes,
        )
        self._config.load()
        self._state = ServerState()

    def take(self, transport: asyncio.Transport, head: bytes) -> None:
        """Take over a connection on whose other end is a client that sent this."""
        speaks = self._config.ws_protocol_class
        assert speaks is not None  # noqa: S101  (the configuration says which)
        protocol = speaks(  # type: ignore[call-arg]  # as uvicorn makes them
            config=self._config, server_state=self._state, app_state={}
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(head)

    async def close(self) -> None:
        """End what is open."""
        for connection in list(self._state.connections):
            connection.transport.abort()
        tasks = list(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_WITHIN)
            for task in late:
                task.cancel()


def _context(address: str, tls: HttpTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(located(tls.cert), located(tls.key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS of endpoint {address}: {error}") from None
    return context


def _bound_silence(listening: socket.socket) -> None:
    """Have the kernel end connections of clients that vanished, or read nothing. Linux can."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, NOT_READ_FOR_MS)


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], found[1])
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bound_silence(listening)
            listening.bind(found[4])
        except OSError:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        raise ConfigError(f"endpoint {address} cannot be listened on: {error}") from None
    listening.setblocking(False)  # noqa: FBT003  (its only argument)
    return listening
