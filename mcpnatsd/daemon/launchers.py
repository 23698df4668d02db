"""Where servers come from: a process that we start, or a URL where one listens already."""

from typing import Protocol

from mcpnatsd.backends.launch import Launcher, ProcessLauncher
from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import ConfigError


class Remote(Launcher, Protocol):
    """A launcher that holds connections."""

    async def close(self) -> None: ...


class Launchers:
    """A launcher for servers of either kind."""

    def __init__(self, reaper: Reaper) -> None:
        self._processes = ProcessLauncher(reaper)

    def of(self, config: ServerConfig) -> Launcher:
        """Return where a server comes from. One for a URL is that server's own.

        Raises:
            ConfigError: What HTTP needs is not installed.
        """
        return self._processes if config.url is None else _remote()

    async def close(self, launcher: Launcher) -> None:
        """Close the connections of one server."""
        if launcher is not self._processes:
            remote: Remote = launcher  # type: ignore[assignment]  # as `of` made it
            await remote.close()


def _remote() -> Remote:
    try:
        # A daemon without HTTP need not pay for it.
        from mcpnatsd.backends.http_launch import RemoteLauncher  # noqa: PLC0415
    except ImportError as error:
        text = f'a server with a url needs more packages: pip install "mcpnatsd[http]" ({error})'
        raise ConfigError(text) from None
    return RemoteLauncher()
