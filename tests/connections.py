"""Connections to NATS for tests, closed at the end of their block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.aio.client import Client

from mcpnatsd.bus.connection import Connection, open_connection
from mcpnatsd.config.model import NatsConfig


@asynccontextmanager
async def opened(
    *urls: str,
    wait: bool = True,
    ping_interval: float = 5.0,
    **settings: Any,
) -> AsyncIterator[Connection]:
    """Open ours. `settings` are those of `NatsConfig`."""
    config = NatsConfig(urls=urls, **settings)
    connection = await open_connection(config, name="test", wait=wait, ping_interval=ping_interval)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def plain(url: str, **options: Any) -> AsyncIterator[Client]:
    """Open nats-py as it comes, which need not survive the block."""
    client = Client()
    await client.connect(url, **{"error_cb": _ignore, "reconnect_time_wait": 0.05, **options})
    try:
        yield client
    finally:
        with suppress(AttributeError, OSError):  # asyncio's, of a socket that is closed already
            client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        with suppress(OSError):
            async with asyncio.timeout(5):
                await client.close()


class Inbox:
    """Takes what a subscription gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[bytes | None] = []
        self.subjects: list[bytes] = []
        self.replies: list[bytes] = []

    def __call__(self, subject: bytes, reply: bytes, body: bytes, headers: bytes | None) -> None:
        self.subjects.append(subject)
        self.replies.append(reply)
        self.bodies.append(body)
        self.headers.append(headers)


async def _ignore(_: Exception) -> None:
    """nats-py reports what these tests provoke."""
