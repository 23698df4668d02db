"""The gateway of one listener: which path is what, and what every request passes first."""

import logging
from collections.abc import Callable, Coroutine
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpEndpoint, JwtConfig
from mcpnatsd.errors import Busy, HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway import page
from mcpnatsd.frontends.gateway.gate import METADATA, Gate
from mcpnatsd.frontends.gateway.http_body import Gone
from mcpnatsd.frontends.gateway.http_request import (
    HttpHead,
    HttpRequest,
    Later,
    Receive,
    Scope,
    Send,
)
from mcpnatsd.frontends.gateway.line_clients import SUBPROTOCOL, LineClients
from mcpnatsd.frontends.gateway.modern import ModernGateway
from mcpnatsd.frontends.gateway.principals import Principal, Principals
from mcpnatsd.frontends.gateway.sessions import Sessions
from mcpnatsd.protocol import eras, http_rules, jsonrpc
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.jsonrpc import Message, Request, Response

log = logging.getLogger(__name__)

MOST_HELD_BYTES: Final = 512 * 1024 * 1024
"""Of all messages that a listener reads, or whose answers it waits for."""

_LONGEST_PATH: Final = 80
"""No place of ours has a longer one."""

_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_MAY_SEND: Final = (
    "Content-Type, Accept, Authorization, Last-Event-ID, MCP-Protocol-Version, Mcp-Method, "
    "Mcp-Name, Mcp-Session-Id"
)


class Gateway:
    """One listener's requests."""

    def __init__(
        self,
        endpoint: HttpEndpoint,
        bus: ClientBus,
        gate: Gate,
        key: bytes,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`spawn` runs what must be waited for, until the listener ends."""
        self._endpoint = endpoint
        self._bus = bus
        self._gate = gate
        self._principals = Principals(bus, key)
        self._spawn = spawn
        self._open: set[HttpRequest] = set()
        self._sockets = 0
        self._held = 0
        self._place = lru_cache(maxsize=1024)(self._find_place)
        self._modern = ModernGateway()
        self.sessions = Sessions(endpoint.limits)
        self._lines = LineClients(endpoint.limits, self._body)

    @property
    def open(self) -> int:
        """Requests that are being answered, and streams."""
        return len(self._open) + self._sockets

    @property
    def clients(self) -> int:
        """Sessions, whether or not anything of them is open, and requests of their own."""
        return max(self.open, len(self.sessions) + len(self._lines))

    def tick(self, now: float) -> None:
        self.sessions.tick(now)
        self._lines.tick(now)

    def drain(self) -> None:
        """End what would never end by itself; call it until nothing is open."""
        for http in list(self._open):
            if http.on_drain is not None:
                http.on_drain()
        self.sessions.drain()
        self._lines.drain()

    def close(self) -> None:
        self.sessions.close()
        self._lines.close()

    # Requests.

    def receive(self, http: HttpRequest) -> None:
        """See to a request: at once if nothing must be waited for, in a task otherwise."""
        self._open.add(http)
        with _Refusing(http):
            later = self._admit(http)
            if later is not None:
                self._spawn(_finish(http, later))

    def left(self, http: HttpRequest) -> None:
        """Learn that a request has its answer, or lost its client."""
        if http in self._open:
            self._open.discard(http)
            self._held -= http.held_bytes

    def _admit(self, http: HttpRequest) -> Later:
        http.read_headers()
        self._gate.check_place(http)
        if http.method == "OPTIONS":
            _answer_preflight(http)
            return None
        self._check_room()
        if http.path.startswith(METADATA) and self._endpoint.jwt is not None:
            http.respond(200, jsonrpc.encode(_metadata(self._endpoint.jwt)))
            return None
        name = self._gate.principal_at_once(http)
        if name is None:
            return self._admit_later(http)
        return self._route(http, self._principals.named(name))

    async def _admit_later(self, http: HttpRequest) -> None:
        name = await self._gate.principal(http)
        if http.over:
            raise Gone
        await _rest(self._route(http, self._principals.named(name)))

    def _route(self, http: HttpRequest, principal: Principal) -> Later:
        kind, server = self._place(http.path) if len(http.path) <= _LONGEST_PATH else ("", "")
        match kind, http.method:
            case "mcp", "POST":
                return self._receive_message(http, server, principal)
            case "mcp", _:
                return self._receive_mcp(http, server, principal)
            case "sse", "GET":
                return self._lines.listen(http, server, principal)
            case "sse", "POST":
                return self._lines.receive(http, server, principal)
            case _:
                return self._receive_elsewhere(http)

    async def _receive_elsewhere(self, http: HttpRequest) -> None:
        if http.path != "/" or http.method != "GET":
            raise HttpRefused(404, "nothing is here; a server of the bus is at /mcp/NAME")
        names = await page.names_on(self._bus)
        offered = [one for one in names if http_rules.serves(one, self._endpoint.servers)]
        await page.show_listing(http, self._bus, offered)

    def _check_room(self) -> None:
        if self.open > self._endpoint.limits.requests:
            raise Busy("too many requests are open at this listener; `limits: requests` says more")

    def _find_place(self, path: str) -> tuple[str, str]:
        """Return the kind of place and the server that a path names."""
        steps = path.split("/")
        if len(steps) != 3 or not http_rules.serves(steps[2], self._endpoint.servers):  # noqa: PLR2004
            return "", ""
        return steps[1], steps[2]

    async def _receive_mcp(self, http: HttpRequest, server: str, principal: Principal) -> None:
        of_session = http_rules.names_legacy(http.headers) and SESSION.lower() in http.headers
        match http.method:
            case "GET" if of_session:
                self.sessions.listen(http, server, principal)
            case "DELETE" if of_session:
                self.sessions.end(http, server, principal)
            case "GET" if page.is_browser(http):
                await page.show_server(http, principal, server, self._url(http))
            case _:
                raise HttpRefused(405, "POST messages here", {"allow": _METHODS})

    def _url(self, http: HttpRequest) -> str:
        scheme = "http" if self._endpoint.tls is None else "https"
        return f"{scheme}://{http.headers.get('host', self._endpoint.address)}{http.path}"

    # Messages.

    def _receive_message(self, http: HttpRequest, server: str, principal: Principal) -> Later:
        http_rules.check_content_type(http.headers)
        if not http.arriving.whole:
            return self._receive_later(http, server, principal)
        body = http.body_at_once(self._endpoint.limits.body_bytes)
        self._hold(http, len(body))
        return self._receive_body(http, server, principal, body)

    async def _receive_later(self, http: HttpRequest, server: str, principal: Principal) -> None:
        await _rest(self._receive_body(http, server, principal, await self._body(http)))

    async def _body(self, http: HttpRequest) -> bytes:
        """Return a message that is arriving, and count it: as long as it may be, then as it is.

        Raises:
            Busy: Too much is under way here.
            McpnatsdError: It is too long, or comes too late.
        """
        most = self._endpoint.limits.body_bytes
        self._hold(http, min(http.declared_bytes or most, most))
        body = await http.body(most)
        self._hold(http, len(body))
        return body

    def _hold(self, http: HttpRequest, size: int) -> None:
        """Count the message of a request, until that is over."""
        if http.over:
            raise Gone
        held = self._held - http.held_bytes + size
        if held > max(MOST_HELD_BYTES, self._held):
            raise Busy(f"{MOST_HELD_BYTES >> 20} MiB of messages are under way here")
        self._held, http.held_bytes = held, size

    def _receive_body(
        self, http: HttpRequest, server: str, principal: Principal, body: bytes
    ) -> Later:
        line = jsonrpc.single_line(body)
        try:
            message = jsonrpc.decode(line)
        except McpnatsdError:
            http.id = jsonrpc.id_in(line)
            raise
        if isinstance(message, Request):
            http.id = message.id
        elif isinstance(message, Response):
            http.id = jsonrpc.id_in(line)
        if http_rules.names_legacy(http.headers) and not _is_modern(http, message):
            return self.sessions.receive(http, server, principal, message, line)
        return self._modern.receive(http, server, principal, message, line)

    # WebSockets.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, or refuse its handshake, as ASGI wants it."""
        http = HttpHead("GET", scope["path"], b"", scope["headers"])
        self._sockets += 1
        try:
            http.read_headers()
            self._gate.check_place(http)
            self._check_room()
            principal = self._principals.named(await self._gate.principal(http))
            kind, server = self._find_place(http.path)
            if kind != "ws" or SUBPROTOCOL not in scope.get("subprotocols", ()):
                raise HttpRefused(404, f"WebSockets are at /ws/NAME, subprotocol {SUBPROTOCOL}")
            await self._lines.converse((receive, send), server, principal)
        except McpnatsdError as fault:
            log.info("WebSocket refused", extra={"path": http.path[:200], "error": str(fault)})
            await send({"type": "websocket.close", "code": 1008, "reason": str(fault)[:120]})
        finally:
            self._sockets -= 1


class _Refusing:
    """Answers a request with what goes wrong in its `with` block."""

    __slots__ = ("_http",)

    def __init__(self, http: HttpRequest) -> None:
        self._http = http

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> bool:
        if isinstance(fault, McpnatsdError):
            self._refuse(fault)
        elif isinstance(fault, Exception) and not isinstance(fault, Gone):
            log.error("an HTTP request failed", exc_info=fault)
            self._refuse(McpnatsdError("a fault of the gateway; its log says more"))
        return kind is None or issubclass(kind, Exception)

    def _refuse(self, fault: McpnatsdError) -> None:
        if self._http.streaming and not self._http.over:
            self._http.cut()  # too late for another answer
        else:
            self._http.refuse(fault)


async def _finish(http: HttpRequest, later: Coroutine[Any, Any, None]) -> None:
    with _Refusing(http):
        await later


async def _rest(later: Later) -> None:
    if later is not None:
        await later


def _is_modern(http: HttpRequest, message: Message) -> bool:
    """Tell a modern request whose header is missing, so that it is told just that."""
    if SESSION.lower() in http.headers or not isinstance(message, Request):
        return False
    meta = jsonrpc.object_of(jsonrpc.params_of(message.members), eras.META)
    return eras.requested_revision(meta) is not None


def _answer_preflight(http: HttpRequest) -> None:
    # A page may send the headers that it asks for, as `Mcp-Param-*` has any name.
    may_send = http.headers.get("access-control-request-headers") or _MAY_SEND
    http.extra += [
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-allow-headers", may_send.encode("latin-1")),
        (b"access-control-max-age", b"600"),
    ]
    http.respond(204)


def _metadata(config: JwtConfig) -> dict[str, object]:
    """Return where a client gets its token (RFC 9728)."""
    return {
        "resource": config.audience,
        "authorization_servers": [config.issuer],
        "bearer_methods_supported": ["header"],
    }
