"""The sessions of legacy HTTP clients: whose each is, how many there may be, when one ends."""

import asyncio
import logging
import secrets
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpLimits
from mcpnatsd.errors import HttpRefused
from mcpnatsd.frontends.gateway.http_request import HttpRequest
from mcpnatsd.frontends.gateway.session import HttpSession
from mcpnatsd.protocol import eras, http_rules
from mcpnatsd.protocol.event_stream import EventStore
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.http_rules import EVENTS, JSON
from mcpnatsd.protocol.jsonrpc import Message, Request

log = logging.getLogger(__name__)

KEEP_BYTES: Final = 64 * 1024 * 1024
KEEP_EVENTS: Final = 65536
"""Of all sessions of a listener: what clients that lost a connection may still ask for."""

RETRY_AFTER: Final = "30"
_HEADER: Final = SESSION.lower()


class Sessions:
    """All sessions of one listener."""

    def __init__(self, bus: ClientBus, limits: HttpLimits) -> None:
        self._bus = bus
        self._limits = limits
        self._sessions: dict[str, HttpSession] = {}
        self._store = EventStore(KEEP_BYTES, KEEP_EVENTS)
        self._now = asyncio.get_running_loop().time

    def __len__(self) -> int:
        return len(self._sessions)

    async def receive(
        self, http: HttpRequest, server: str, principal: str, message: Message, line: bytes
    ) -> None:
        """Answer one POST.

        Raises:
            McpnatsdError: It is against the rules.
        """
        http_rules.check_accept(http.headers, JSON, EVENTS)
        if _HEADER in http.headers:
            await self._found(http, server, principal).receive(http, message, line)
            return
        if not isinstance(message, Request) or message.method != eras.INITIALIZE:
            raise HttpRefused(400, f"send initialize first, then {SESSION} with each request")
        session = self._open(server, principal)
        known = False
        try:
            known = await session.receive(http, message, line)
        finally:
            if not known:
                self._end(session, "the handshake failed")

    async def listen(self, http: HttpRequest, server: str, principal: str) -> None:
        """Answer a GET.

        Raises:
            HttpRefused: There is no such session, or no such stream.
        """
        http_rules.check_accept(http.headers, EVENTS)
        await self._found(http, server, principal).listen(http)

    async def end(self, http: HttpRequest, server: str, principal: str) -> None:
        """Answer a DELETE.

        Raises:
            HttpRefused: There is no such session.
        """
        self._end(self._found(http, server, principal), "its client ended it")
        await http.respond(200)

    def tick(self, now: float) -> None:
        """Keep the clocks."""
        for session in list(self._sessions.values()):
            session.edge.tick(now)
            if session.idle_since(now) >= self._limits.session_timeout:
                self._end(session, "nobody used it")

    def close(self) -> None:
        for session in list(self._sessions.values()):
            self._end(session, "the listener closes")

    def _open(self, server: str, principal: str) -> HttpSession:
        if len(self._sessions) >= self._limits.sessions:
            text = f"{self._limits.sessions} sessions are open; `limits: sessions` is the bound"
            raise HttpRefused(503, text, {"retry-after": RETRY_AFTER})
        session = HttpSession(secrets.token_hex(16), server, principal, self._bus)
        session.begin(self._store)
        self._sessions[session.id] = session
        return session

    def _found(self, http: HttpRequest, server: str, principal: str) -> HttpSession:
        """Return the session that a request names.

        Raises:
            HttpRefused: There is none, or it is somebody else's: that looks the same.
        """
        id = http.headers.get(_HEADER)  # noqa: A001
        if id is None:
            raise HttpRefused(400, f"send {SESSION}")
        session = self._sessions.get(id)
        if session is None or (session.server, session.principal) != (server, principal):
            raise HttpRefused(404, "there is no such session (any more): initialize anew")
        return session

    def _end(self, session: HttpSession, reason: str) -> None:
        if self._sessions.pop(session.id, None) is not None:
            session.close()
            log.debug("HTTP session over", extra={"server": session.server, "reason": reason})
