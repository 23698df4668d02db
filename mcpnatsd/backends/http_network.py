"""Connections for the HTTP client, by asyncio's own streams.

httpcore2 would open them by anyio. That leaves a coroutine behind when a request is cancelled
while it connects, and costs more.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import httpcore2

_BUFFER_BYTES: Final = 256 << 10
"""What is read ahead; beyond twice of it, the server has to wait."""


class Network(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's name
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> "Stream":
        """Connect.

        Raises:
            ConnectError: Nobody listens there.
            ConnectTimeout: It took too long.
        """
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(host, port, limit=_BUFFER_BYTES)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("it did not answer in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(str(error)) from error
        _set(writer.get_extra_info("socket"), socket_options or ())
        return Stream(reader, writer)


class Stream(httpcore2.AsyncNetworkStream):
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        """Return what there is, at least a byte; nothing at the end.

        Raises:
            ReadError: The connection broke.
            ReadTimeout: It took too long.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max(max_bytes, _BUFFER_BYTES))
        except TimeoutError as error:
            raise httpcore2.ReadTimeout("it did not answer in time") from error
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Send.

        Raises:
            WriteError: The connection broke.
            WriteTimeout: It took too long.
        """
        if not buffer:
            return
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore2.WriteTimeout("it did not read in time") from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close it at once: nobody reads what would still come.

        `wait_closed` is left out: once its waiter was cancelled, it cancels all that follow.
        """
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> "Stream":
        """Go on encrypted.

        Raises:
            ConnectError: The other side is not trusted, or speaks no TLS.
            ConnectTimeout: It took too long.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("it did not answer in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> object:
        if info == "is_readable":  # of an idle connection: is it over?
            return self._reader.at_eof() or self._reader.exception() is not None
        return self._writer.get_extra_info(info)


def _set(sock: socket.socket, options: Iterable[httpcore2.SOCKET_OPTION]) -> None:
    for option in options:
        with suppress(OSError):
            sock.setsockopt(*option)
