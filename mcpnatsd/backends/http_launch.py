"""Stands in for configured servers that listen at a URL."""

import asyncio
from typing import Final

from mcpnatsd.backends.http_client import HttpClient
from mcpnatsd.backends.http_process import RemoteProcess
from mcpnatsd.backends.launch import Listener
from mcpnatsd.config.model import ServerConfig

FRESH: Final = 0.5
"""Seconds for which the answer to an earlier look is good."""


class RemoteLauncher:
    """Makes stand-ins. Those of one server share its connections."""

    def __init__(self) -> None:
        self._clients: dict[str, HttpClient] = {}

    async def start(self, config: ServerConfig, listener: Listener) -> RemoteProcess:
        """Start a stand-in. Whether anybody is there, its first request shows."""
        process = RemoteProcess(config, self._client(config), listener)
        try:
            await process.begin()
        except asyncio.CancelledError:
            process.kill()
            raise
        return process

    async def look(self, config: ServerConfig) -> None:
        """Find out whether anybody listens there.

        Raises:
            ProcessDied: Nobody does.
        """
        await self._client(config).check(within=FRESH)

    def _client(self, config: ServerConfig) -> HttpClient:
        client = self._clients.get(config.name)
        if client is None:
            client = self._clients[config.name] = HttpClient(config)
        return client

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
