"""A legacy client's session, whichever way it goes: into a tunnel, or translated.

The tunnel is tried first, as it changes nothing. A server that takes no `initialize` is asked what
it is; a modern one is translated from there on.
"""

import logging
from collections.abc import Iterable
from typing import Final

from msgspec import Raw

from mcpnatsd.errors import EraMismatch, McpnatsdError, ProtocolError
from mcpnatsd.frontends.discovery import Discovered, Discovery
from mcpnatsd.frontends.edge_bus import EdgeBus
from mcpnatsd.frontends.legacy import TunnelledClient
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.translated import TranslatedClient
from mcpnatsd.protocol import jsonrpc, to_modern
from mcpnatsd.protocol.jsonrpc import Message, Request

log = logging.getLogger(__name__)

_OURS: Final = range(-31099, -31000)
"""Codes of our own errors, and of others that may come."""


class Session:
    """One client's session. Without `tunnels` it is translated, whatever the server is."""

    def __init__(
        self, bus: EdgeBus, server: str, output: Output, edge: str, *, tunnels: bool
    ) -> None:
        self._bus = bus
        self._server = server
        self._output = output
        self._edge = edge
        self._tunnelled = TunnelledClient(bus, server, output, self._refused) if tunnels else None
        self._discovery: Discovery | None = None
        self._translated: TranslatedClient | None = None
        self._initialize: Request | None = None
        self._refusal = b""
        """What the client is told when it is not translated."""

    @property
    def active(self) -> bool:
        """Whether the client has a session, or one is being opened."""
        return self._way is not None

    @property
    def shares(self) -> bool:
        """Whether the server's process is not for this session: then the session costs little."""
        return self._translated is not None and not self._translated.has_process

    @property
    def in_flight(self) -> int:
        """Requests of the client that are not answered."""
        return 0 if self._way is None else self._way.in_flight

    @property
    def full(self) -> bool:
        return self._way is not None and self._way.full

    @property
    def _way(self) -> TranslatedClient | Discovery | TunnelledClient | None:
        """Where the client's messages go; nowhere before `initialize`."""
        tunnelled = self._tunnelled
        active = tunnelled is not None and tunnelled.active
        return self._translated or self._discovery or (tunnelled if active else None)

    def receive(self, message: Message, line: bytes) -> None:
        """Take a message of the client; the first one is `initialize`.

        Raises:
            RemoteProtocolError: It is against the rules, or its id is in flight.
        """
        if self._translated is not None:
            self._translated.receive(message, line)
        elif self._discovery is not None:
            self._discovery.hold(message, line)
        else:
            self._receive_before(message, line)

    def _receive_before(self, message: Message, line: bytes) -> None:
        if isinstance(message, Request) and not self.active:
            self._initialize = message
        if self._tunnelled is not None:
            self._tunnelled.receive(message, line)
        else:
            self._discover(b"")

    def refuse_response(self, id: Raw, fault: McpnatsdError) -> None:  # noqa: A002
        """Fail whatever waits for an answer of the client that goes no further."""
        way = self._way
        if isinstance(way, TranslatedClient | TunnelledClient):
            way.refuse_response(id, fault)

    def gone(self) -> None:
        """End the session: the client is not there any more."""
        for way in (self._translated, self._discovery, self._tunnelled):
            if way is not None:
                way.gone()
        self._translated = self._discovery = self._tunnelled = None

    def tick(self, now: float) -> None:
        """Keep the clocks."""
        if self._tunnelled is not None:
            self._tunnelled.tick(now)
        if self._translated is not None:
            self._translated.tick(now)

    # Which way.

    def _refused(self, refusal: bytes, held: Iterable[bytes]) -> bool:
        """Learn that there is no tunnel; say whether translating is tried, with what waited.

        `refusal` is what the client is told otherwise.
        """
        code = jsonrpc.reported(refusal).jsonrpc_code
        if code in _OURS and code != EraMismatch.jsonrpc_code:
            return False
        try:
            self._discover(refusal)
        except ProtocolError:
            return False
        for line in held:
            self._hold_again(line)
        return True

    def _hold_again(self, line: bytes) -> None:
        if self._discovery is not None:
            self._discovery.hold(jsonrpc.decode(line), line)

    def _discover(self, refusal: bytes) -> None:
        if self._initialize is None:
            return
        discovery = Discovery(self._bus.requester, self._server, self._output, self._edge)
        discovery.open(self._initialize, self)
        self._discovery, self._refusal = discovery, refusal

    def discovered(self, found: Discovered) -> None:
        discovery, self._discovery = self._discovery, None
        if discovery is None or self._initialize is None:
            return
        result = to_modern.welcome(
            found.client, found.result, self._server, logging=found.has_process
        )
        self._translated = TranslatedClient(
            self._bus, self._server, self._output, self._edge, found
        )
        if self._tunnelled is not None:
            self._tunnelled.gone()
            self._tunnelled = None
        self._output.write(jsonrpc.result(self._initialize.id, result))
        facts = {"server": self._server, "revision": found.client.revision}
        log.info("this client is translated: the server is a modern one", extra=facts)
        for message, line in discovery.take_held():
            self._release(self._translated, message, line)

    def _release(self, client: TranslatedClient, message: Message, line: bytes) -> None:
        try:
            client.receive(message, line)
        except ProtocolError as fault:
            if isinstance(message, Request):
                self._output.write(jsonrpc.error_of(message.id, fault))

    def not_discovered(self, fault: McpnatsdError) -> None:
        """Tell the client what it would have been told without us."""
        discovery, self._discovery = self._discovery, None
        initialize, self._initialize = self._initialize, None
        if discovery is None or initialize is None:
            return
        if self._refusal:
            fault = jsonrpc.reported(self._refusal)
        self._output.write(self._refusal or jsonrpc.error_of(initialize.id, fault))
        for message, _ in discovery.take_held():
            if isinstance(message, Request):
                self._output.write(jsonrpc.error_of(message.id, fault))
