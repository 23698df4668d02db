"""Where servers come from: a process that we start, or a URL where one listens already."""

from collections.abc import Iterable
from typing import Protocol

from mcpnatsd.backends.launch import Launcher, Listener, ProcessLauncher
from mcpnatsd.backends.process import Process
from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import ConfigError


class Remote(Launcher, Protocol):
    """A launcher that holds connections."""

    async def close(self) -> None: ...


class Launchers:
    """A launcher for servers of either kind."""

    def __init__(self, reaper: Reaper, servers: Iterable[ServerConfig]) -> None:
        """Make what these servers need.

        Raises:
            ConfigError: What HTTP needs is not installed.
        """
        self._processes = ProcessLauncher(reaper)
        remote = any(config.url is not None for config in servers)
        self._remote: Remote | None = _remote() if remote else None

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        """Start a server, or what stands in for it.

        Raises:
            ProcessDied: The command cannot be run.
        """
        if config.url is None or self._remote is None:
            return await self._processes.start(config, listener)
        return await self._remote.start(config, listener)

    async def aclose(self) -> None:
        """Close the connections to servers that are not ours."""
        if self._remote is not None:
            await self._remote.close()


def _remote() -> Remote:
    try:
        # A daemon without HTTP need not pay for it.
        from mcpnatsd.backends.http_launch import RemoteLauncher  # noqa: PLC0415
    except ImportError as error:
        text = f'a server with a url needs more packages: pip install "mcpnatsd[http]" ({error})'
        raise ConfigError(text) from None
    return RemoteLauncher()
