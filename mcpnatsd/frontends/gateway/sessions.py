"""The sessions of legacy HTTP clients: whose each is, how many there may be, when one ends."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import Final

from mcpnatsd.config.model import HttpLimits
from mcpnatsd.errors import HttpRefused
from mcpnatsd.frontends.gateway.http_request import HttpRequest, Later
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.gateway.session import HttpSession
from mcpnatsd.protocol import eras, http_rules
from mcpnatsd.protocol.event_stream import EventStore
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.http_rules import EVENTS, JSON
from mcpnatsd.protocol.jsonrpc import Message, Request

log = logging.getLogger(__name__)

KEEP_BYTES: Final = 64 * 1024 * 1024
"""Of all sessions of a listener: what clients that lost a connection may still ask for."""

KEEP_EVENTS: Final = 1024
"""Of one session: the same."""

RETRY_AFTER: Final = "30"

SHARING: Final = 8
"""Times as many sessions share processes as have one each: they cost memory only."""

FOLLOWED_WITHIN: Final = 60.0
"""Seconds in which a client comes back after the handshake, as it must say `initialized` at once.
One that does not only looked whether somebody is here: it must not keep a process for long."""

SAID_EVERY: Final = 60.0
"""Seconds between two lines of the log that say sessions ended to make room."""

_HEADER: Final = SESSION.lower()


class Sessions:
    """All sessions of one listener."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._sessions: dict[str, HttpSession] = {}
        self._sharing: OrderedDict[str, HttpSession] = OrderedDict()
        """Those of them that cost no process, the longest unused one first."""

        self._shared: set[str] = set()
        """Servers whose last handshake brought such a session."""

        self._displaced = 0
        self._said_at = float("-inf")
        self._store = EventStore(KEEP_BYTES, KEEP_EVENTS)
        self._now = asyncio.get_running_loop().time

    def __len__(self) -> int:
        return len(self._sessions)

    def receive(
        self, http: HttpRequest, server: str, principal: Principal, message: Message, line: bytes
    ) -> Later:
        """Answer one POST.

        Raises:
            McpnatsdError: It is against the rules.
        """
        http_rules.check_accept(http.headers, JSON, EVENTS)
        if _HEADER in http.headers:
            self._found(http, server, principal).receive(http, message, line)
            return None
        if not isinstance(message, Request) or message.method != eras.INITIALIZE:
            raise HttpRefused(400, f"send initialize first, then {SESSION} with each request")
        return self._shake_hands(self._open(server, principal), http, message, line)

    async def _shake_hands(
        self, session: HttpSession, http: HttpRequest, message: Request, line: bytes
    ) -> None:
        known = False
        try:
            known = await session.open(http, message, line)
        finally:
            if known:
                self._sort(session)
            else:
                self._end(session, "the handshake failed")

    def listen(self, http: HttpRequest, server: str, principal: Principal) -> None:
        """Answer a GET.

        Raises:
            HttpRefused: There is no such session, or no such stream.
        """
        http_rules.check_accept(http.headers, EVENTS)
        self._found(http, server, principal).listen(http)

    def end(self, http: HttpRequest, server: str, principal: Principal) -> None:
        """Answer a DELETE.

        Raises:
            HttpRefused: There is no such session.
        """
        self._end(self._found(http, server, principal), "its client ended it")
        http.respond(200)

    def tick(self, now: float) -> None:
        """Keep the clocks."""
        for session in list(self._sessions.values()):
            session.edge.tick(now)
            idle = session.idle_since(now)
            if idle >= self._limits.session_timeout:
                self._end(session, "nobody used it")
            elif idle >= FOLLOWED_WITHIN and not session.followed:
                self._end(session, "its client never came back after the handshake")
        self._tell_displaced(now)

    def drain(self) -> None:
        """End the sessions without a request, and the streams that belong to none."""
        for session in list(self._sessions.values()):
            session.stop_listening()
            if not session.in_use:
                self._end(session, "the gateway is stopping")

    def close(self) -> None:
        for session in list(self._sessions.values()):
            self._end(session, "the listener closes")

    def _open(self, server: str, principal: Principal) -> HttpSession:
        # Those that are being opened are bounded as well: each has a request open.
        alone = len(self._sessions) - len(self._sharing)
        if alone >= self._limits.sessions and server not in self._shared:
            text = f"{self._limits.sessions} sessions are open; `limits: sessions` is the bound"
            raise HttpRefused(503, text, {"retry-after": RETRY_AFTER})
        session = HttpSession(secrets.token_hex(16), server, principal)
        session.begin(self._store)
        self._sessions[session.id] = session
        return session

    def _sort(self, session: HttpSession) -> None:
        """Learn from a handshake what the session costs; those that cost little make room."""
        if session.id not in self._sessions:
            return  # it ended meanwhile
        if not session.edge.shares:
            self._shared.discard(session.server)
            return
        self._shared.add(session.server)
        self._sharing[session.id] = session
        if len(self._sharing) > self._limits.sessions * SHARING:
            self._displace()

    def _displace(self) -> None:
        """End the one that was not used for longest. Those in use are bounded by `requests`."""
        for session in list(self._sharing.values()):
            if not session.in_use:
                self._displaced += 1
                self._end(session, "another one needed its room")
                return
            self._sharing.move_to_end(session.id)

    def _tell_displaced(self, now: float) -> None:
        if self._displaced and now - self._said_at >= SAID_EVERY:
            facts = {"sessions": self._displaced, "bound": self._limits.sessions * SHARING}
            log.info("unused sessions ended to make room; see `limits: sessions`", extra=facts)
            self._displaced, self._said_at = 0, now

    def _found(self, http: HttpRequest, server: str, principal: Principal) -> HttpSession:
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
        if id in self._sharing:
            self._sharing.move_to_end(id)
        return session

    def _end(self, session: HttpSession, reason: str) -> None:
        if self._sessions.pop(session.id, None) is not None:
            self._sharing.pop(session.id, None)
            session.close()
            log.debug("HTTP session over", extra={"server": session.server, "reason": reason})
