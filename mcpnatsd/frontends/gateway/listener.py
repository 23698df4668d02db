"""The HTTP listener of one endpoint: its socket, the HTTP server behind it, its clocks."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import uvicorn

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpEndpoint
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.gateway.gate import Gate
from mcpnatsd.frontends.gateway.gateway import Gateway
from mcpnatsd.frontends.gateway.signed_tokens import SignedTokens

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

KEEP_ALIVE_FOR: Final = 75
"""Seconds for which a connection between two requests is kept."""

NOT_READ_FOR_MS: Final = 120_000
"""Milliseconds until a client that takes nothing of what it was sent is cut off."""

TICK: Final = 0.25
END_WITHIN: Final = 1.0
"""Seconds for requests to notice that their clients are cut off."""

MORE_CONNECTIONS: Final = 1024
"""Beyond the requests that may be open: connections between two requests."""


class HttpFrontend:
    """The listener of one endpoint."""

    def __init__(self, endpoint: HttpEndpoint, bus: ClientBus) -> None:
        self.endpoint = endpoint
        self._bus = bus
        self._gateway: Gateway | None = None
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

    async def run(self) -> None:
        """Listen until cancelled.

        Raises:
            ConfigError: The address cannot be listened on, or a file cannot be read.
        """
        jwt = self.endpoint.jwt
        gate = Gate(self.endpoint, None if jwt is None else SignedTokens(jwt))
        self._gateway = Gateway(self.endpoint, self._bus, gate)
        listening = _bound(self.endpoint.address)
        port = listening.getsockname()[1]  # the file may say 0: any free one
        self._address = f"{self.endpoint.address.rpartition(':')[0]}:{port}"
        server = _Server(self._config(self._gateway))
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve(sockets=[listening]))
                log.info("endpoint open", extra={"http": self.place})
                await self._tick_for_ever(self._gateway, serving)
        finally:
            self._gateway.close()
            await server.close()
            listening.close()

    def _config(self, gateway: Gateway) -> uvicorn.Config:
        tls = self.endpoint.tls
        config = uvicorn.Config(
            gateway,
            http="httptools",
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_FOR,
            backlog=BACKLOG,
            limit_concurrency=self.endpoint.limits.requests + MORE_CONNECTIONS,
            ws_max_size=self.endpoint.limits.body_bytes,
            ssl_certfile=tls.cert if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"TLS of endpoint {self.endpoint.address}: {error}") from None
        return config

    async def _tick_for_ever(self, gateway: Gateway, serving: "asyncio.Task[None]") -> None:
        loop = asyncio.get_running_loop()
        while not serving.done():
            await asyncio.sleep(TICK)
            gateway.tick(loop.time())


class _Server(uvicorn.Server):
    """The signals are the daemon's, and nobody is waited for."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def close(self) -> None:
        """Stop listening, and end what is open."""
        for one in getattr(self, "servers", ()):
            one.close()
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        tasks = list(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_WITHIN)
            for task in late:
                task.cancel()


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
