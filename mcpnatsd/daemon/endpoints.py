"""Where clients come in, by the kind of endpoint that the configuration names."""

from pathlib import Path
from typing import Protocol

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpEndpoint, UnixEndpoint
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.unix import UnixFrontend


class Frontend(Protocol):
    """What the daemon needs of an endpoint that is open."""

    @property
    def place(self) -> str:
        """Where clients find it."""

    @property
    def server(self) -> str:
        """Whom they find there."""

    @property
    def clients(self) -> int: ...

    @property
    def in_flight(self) -> int:
        """What holds a stop up: requests that are being answered, or clients that wait."""

    async def run(self) -> None: ...

    async def drain(self) -> None:
        """Let nobody in any more, and return when nobody waits for an answer."""


def frontend(endpoint: UnixEndpoint | HttpEndpoint, bus: ClientBus, folder: Path) -> Frontend:
    """Return what listens at an endpoint, once it is run. `folder` is kept between runs.

    Raises:
        ConfigError: What HTTP needs is not installed.
    """
    if isinstance(endpoint, UnixEndpoint):
        return UnixFrontend(endpoint, bus)
    try:
        # A daemon without HTTP need not pay for it.
        from mcpnatsd.frontends.gateway.listener import HttpFrontend  # noqa: PLC0415
    except ImportError as error:
        text = f'an http endpoint needs more packages: pip install "mcpnatsd[http]" ({error})'
        raise ConfigError(text) from None
    return HttpFrontend(endpoint, bus, folder)
