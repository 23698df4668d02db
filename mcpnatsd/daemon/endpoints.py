"""Where clients come in, by the kind of endpoint that the configuration names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpEndpoint, UnixEndpoint
from mcpnatsd.errors import ConfigError
from mcpnatsd.frontends.unix import UnixFrontend


class Closed(NamedTuple):
    """An endpoint that should be open and is not."""

    place: str
    server: str
    fault: str
    """Why, the last time that it was tried."""


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


def closed(endpoint: UnixEndpoint | HttpEndpoint, fault: str) -> Closed:
    """Return what there is to say of an endpoint that failed."""
    if isinstance(endpoint, UnixEndpoint):
        return Closed(endpoint.path, endpoint.server, fault)
    scheme = "http" if endpoint.tls is None else "https"
    return Closed(f"{scheme}://{endpoint.address}/mcp/", ", ".join(endpoint.servers), fault)


def frontend(
    endpoint: UnixEndpoint | HttpEndpoint,
    bus: ClientBus,
    folder: Path,
    on_open: Callable[[], None],
    before: Frontend | None = None,
) -> Frontend:
    """Return what listens at an endpoint, once it is run; `before` listens there now.

    `folder` is kept between runs.

    Raises:
        ConfigError: What HTTP needs is not installed.
    """
    if isinstance(endpoint, UnixEndpoint):
        return UnixFrontend(endpoint, bus, on_open)
    try:
        # A daemon without HTTP need not pay for it.
        from mcpnatsd.frontends.gateway.listener import HttpFrontend  # noqa: PLC0415
    except ImportError as error:
        text = f'an http endpoint needs more packages: pip install "mcpnatsd[http]" ({error})'
        raise ConfigError(text) from None
    socket = before.hand_over() if isinstance(before, HttpFrontend) else None
    return HttpFrontend(endpoint, bus, folder, on_open=on_open, listening=socket)
