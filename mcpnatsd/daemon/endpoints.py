"""Where clients come in, by the kind of endpoint that the configuration names."""

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

    async def run(self) -> None: ...


def frontend(endpoint: UnixEndpoint | HttpEndpoint, bus: ClientBus) -> Frontend:
    """Return what listens at an endpoint, once it is run.

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
    return HttpFrontend(endpoint, bus)
