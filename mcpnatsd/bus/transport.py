"""The socket under a NATS connection."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from urllib.parse import ParseResult

from mcpnatsd.bus.engine import transport as engine_transport
from mcpnatsd.errors import ConfigError
from mcpnatsd.loop import DirectWriter

DEFAULT_PORT = 4222
CLOSE_TIMEOUT = 1.0
LIMIT = 1 << 20  # of the line reader, which only sees INFO and the first PONG
HIGH_WATER = 4 << 20  # unsent bytes from which on a connection counts as congested
LOW_WATER = 1 << 20  # and below which it no longer does


class Reader(asyncio.StreamReader):
    """A stream reader that, once diverted, passes on what arrives instead of keeping it."""

    _on_data: Callable[[bytes], None] | None = None
    _on_end: Callable[[str], None] | None = None

    def divert(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._on_data, self._on_end = on_data, on_end
        early = bytes(self._buffer)  # type: ignore[attr-defined]  # came with the first PONG
        if early:
            on_data(early)
        if self.exception() is not None or self._eof:  # type: ignore[attr-defined]
            on_end("the connection was closed")

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # typeshed is wider
        if self._on_data is None:
            super().feed_data(data)
        else:
            self._on_data(data)

    def feed_eof(self) -> None:
        super().feed_eof()
        if self._on_end is not None:
            self._on_end("nats-server closed the connection")

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        if self._on_end is not None:
            self._on_end(str(exc) or type(exc).__name__)


class TcpTransport(engine_transport.TcpTransport):
    """nats-py's TCP transport, with a reader that can be diverted."""

    _reader: Reader
    _socket: asyncio.WriteTransport
    _direct: DirectWriter | None = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        """Open the socket."""
        loop = asyncio.get_running_loop()
        reader = Reader(limit=buffer_size, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(connect_timeout):
            socket, _ = await loop.create_connection(
                lambda: protocol, uri.hostname or "", uri.port or DEFAULT_PORT
            )
        self._adopt(socket, protocol, reader)
        # The socket must outlive its upgrade to TLS, which takes the place of the writer.
        self._bare_io_reader, self._bare_io_writer = self._io_reader, self._io_writer

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: float,
    ) -> None:
        """Upgrade the open socket to TLS; `uri` is the name the certificate must have."""
        loop = asyncio.get_running_loop()
        reader = Reader(limit=buffer_size, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        name = uri if isinstance(uri, str) else uri.hostname
        try:
            async with asyncio.timeout(connect_timeout):
                socket = await loop.start_tls(
                    self._socket, protocol, ssl_context, server_hostname=name
                )
        except BaseException:
            # asyncio never tells the stream's protocol that a failed upgrade closed the socket.
            self.abort()
            self._io_writer = None
            raise
        assert socket is not None  # noqa: S101  # None is what a closing loop returns
        self._adopt(socket, protocol, reader)

    def divert(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        self._socket.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._reader.divert(on_data, on_end)

    def abort(self) -> None:
        if self:
            self._socket.abort()

    async def wait_closed(self) -> None:
        """Return when the socket is closed, or will not say so."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await super().wait_closed()  # type: ignore[no-untyped-call]

    @property
    def unsent_bytes(self) -> int:
        return self._socket.get_write_buffer_size()

    def write(self, payload: bytes) -> None:
        """Write. In the clear it leaves at once."""
        (self._direct or self._socket).write(payload)

    def _adopt(
        self, socket: asyncio.WriteTransport, protocol: asyncio.StreamReaderProtocol, reader: Reader
    ) -> None:
        loop = asyncio.get_running_loop()
        self._socket, self._reader, self._io_reader = socket, reader, reader
        self._io_writer = asyncio.StreamWriter(socket, protocol, reader, loop)
        tls = socket.get_extra_info("ssl_object") is not None
        descriptor = socket.get_extra_info("socket").fileno()
        self._direct = None if tls else DirectWriter(socket, descriptor)


class WebsocketTransport(engine_transport.WebSocketTransport):
    """nats-py's websocket transport, read and written by two tasks of its own."""

    def __init__(self) -> None:
        _load_websocket()
        super().__init__()
        self._unsent = 0
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._closing: asyncio.Task[None] | None = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        """Open the websocket."""
        del buffer_size  # a frame comes whole
        await self._dial(uri, connect_timeout)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: float,
    ) -> None:
        """Open the websocket over TLS. nats-py asks again after INFO: then it is open."""
        del buffer_size
        if self._ws is None and not isinstance(uri, str):
            await self._dial(uri, connect_timeout, ssl=ssl_context)

    async def _dial(
        self, uri: ParseResult, connect_timeout: float, **options: ssl.SSLContext
    ) -> None:
        # nats-py hands aiohttp a timeout in a form that aiohttp has deprecated.
        async with asyncio.timeout(connect_timeout):
            self._ws = await self._client.ws_connect(uri.geturl(), max_msg_size=0, **options)

    def divert(self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._read_on(on_data, on_end)),
            loop.create_task(self._write_on()),
        )

    def abort(self) -> None:
        """Close at once: a frozen peer would never answer the closing handshake."""
        if self._closing is not None:
            return
        for task in self._tasks:
            task.cancel()
        self._writable.set()
        self._closing = asyncio.get_running_loop().create_task(self._client.close())

    def close(self) -> None:
        self.abort()

    async def wait_closed(self) -> None:
        self.abort()
        await asyncio.wait([*self._tasks, *filter(None, [self._closing])], timeout=CLOSE_TIMEOUT)

    @property
    def unsent_bytes(self) -> int:
        return self._unsent

    def write(self, payload: bytes) -> None:
        super().write(payload)  # type: ignore[no-untyped-call]
        self._unsent += len(payload)
        self._wake.set()
        if self._unsent > HIGH_WATER:
            self._writable.clear()

    async def drain(self) -> None:
        if self._tasks:
            await self._writable.wait()
        else:
            await self._send_all()

    async def _read_on(
        self, on_data: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        try:
            while data := await self.readline():  # type: ignore[no-untyped-call]
                on_data(data)
        except OSError as error:
            on_end(str(error))
        else:
            on_end("nats-server closed the connection")

    async def _write_on(self) -> None:
        while await self._wake.wait():
            self._wake.clear()
            await self._send_all()

    async def _send_all(self) -> None:
        try:
            await super().drain()  # type: ignore[no-untyped-call]
        except OSError:
            return  # the reading side says so
        self._unsent = 0
        self._writable.set()


Socket = TcpTransport | WebsocketTransport
"""Both can `divert` what arrives, `abort`, and tell what is unsent."""


async def open_transport(
    uri: ParseResult, connect_timeout: float, tls: Callable[[], ssl.SSLContext]
) -> Socket:
    """Open the socket that a URL asks for.

    Raises:
        OSError: Nobody is there.
        ConfigError: It is a websocket URL, and the `websocket` extra is not installed.
    """
    if uri.scheme not in ("ws", "wss"):
        tcp = TcpTransport()  # type: ignore[no-untyped-call]
        await tcp.connect(uri, LIMIT, connect_timeout)
        return tcp
    websocket = WebsocketTransport()
    try:
        if uri.scheme == "wss":
            await websocket.connect_tls(uri, tls(), LIMIT, connect_timeout)
        else:
            await websocket.connect(uri, LIMIT, connect_timeout)
    except BaseException:
        websocket.abort()
        raise
    return websocket


def _load_websocket() -> ModuleType:
    """Import aiohttp now, which nats-py would do for every connection.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        modules = {name: import_module(name) for name in ("aiohttp", "multidict")}
    except ImportError:
        raise ConfigError(
            "a ws:// or wss:// URL of NATS needs the websocket extra: "
            'pip install "mcpnatsd[websocket]"'
        ) from None
    vars(engine_transport).update(modules)
    return modules["aiohttp"]
