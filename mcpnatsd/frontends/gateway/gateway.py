"""The gateway as an ASGI program: which path is what, and what every request passes first."""

import logging
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.model import HttpEndpoint, JwtConfig
from mcpnatsd.errors import Busy, HttpRefused, McpnatsdError
from mcpnatsd.frontends.gateway import page
from mcpnatsd.frontends.gateway.gate import Gate
from mcpnatsd.frontends.gateway.http_request import Gone, HttpRequest, Receive, Scope, Send
from mcpnatsd.frontends.gateway.line_clients import SUBPROTOCOL, LineClients
from mcpnatsd.frontends.gateway.modern import ModernGateway
from mcpnatsd.frontends.gateway.sessions import Sessions
from mcpnatsd.protocol import eras, http_rules, jsonrpc
from mcpnatsd.protocol.http_headers import SESSION
from mcpnatsd.protocol.jsonrpc import Message, Request

log = logging.getLogger(__name__)

MOST_HELD_BYTES: Final = 512 * 1024 * 1024
"""Of all messages that a listener reads, or whose answers it waits for."""

METADATA: Final = "/.well-known/oauth-protected-resource"
_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_MAY_SEND: Final = (
    "Content-Type, Accept, Authorization, Last-Event-ID, MCP-Protocol-Version, Mcp-Method, "
    "Mcp-Name, Mcp-Session-Id"
)


class Gateway:
    """One listener's requests."""

    def __init__(self, endpoint: HttpEndpoint, bus: ClientBus, gate: Gate) -> None:
        self._endpoint = endpoint
        self._bus = bus
        self._gate = gate
        self._open = 0
        self._held = 0
        self._modern = ModernGateway(bus)
        self.sessions = Sessions(bus, endpoint.limits)
        self._lines = LineClients(bus, endpoint.limits)

    @property
    def open(self) -> int:
        """Requests that are being answered, and streams."""
        return self._open

    @property
    def clients(self) -> int:
        """Sessions, whether or not anything of them is open, and requests of their own."""
        return max(self._open, len(self.sessions) + len(self._lines))

    def tick(self, now: float) -> None:
        self.sessions.tick(now)
        self._lines.tick(now)

    def close(self) -> None:
        self.sessions.close()
        self._lines.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI wants it."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        http = HttpRequest(scope, receive, send)
        self._open += 1
        try:
            http.read_headers(scope)
            await self._receive(http)
        except Gone:
            pass
        except McpnatsdError as fault:
            await self._refuse(http, fault)
        except Exception:
            log.exception("an HTTP request failed")
            await self._refuse(http, McpnatsdError("a fault of the gateway; its log says more"))
        finally:
            self._open -= 1

    async def _refuse(self, http: HttpRequest, fault: McpnatsdError) -> None:
        if not http.streaming:
            await http.refuse(fault)

    async def _receive(self, http: HttpRequest) -> None:
        self._gate.check_place(http)
        if http.method == "OPTIONS":
            await self._answer_preflight(http)
            return
        self._check_room()
        if http.path.startswith(METADATA) and self._endpoint.jwt is not None:
            await http.respond(200, jsonrpc.encode(_metadata(self._endpoint.jwt)))
            return
        principal = await self._gate.principal(http)
        kind, server = self._place(http.path)
        match kind, http.method:
            case "mcp", _:
                await self._receive_mcp(http, server, principal)
            case "sse", "GET":
                await self._lines.listen(http, server, principal)
            case "sse", "POST":
                await self._lines.receive(http, server, principal)
            case _:
                await self._receive_elsewhere(http)

    async def _receive_elsewhere(self, http: HttpRequest) -> None:
        if http.path != "/" or http.method != "GET":
            raise HttpRefused(404, "nothing is here; a server of the bus is at /mcp/NAME")
        names = await page.names_on(self._bus)
        offered = [one for one in names if http_rules.serves(one, self._endpoint.servers)]
        await page.show_listing(http, self._bus, offered)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket, or refuse its handshake."""
        http = HttpRequest(scope, receive, send)
        self._open += 1
        try:
            http.read_headers(scope)
            self._gate.check_place(http)
            self._check_room()
            principal = await self._gate.principal(http)
            kind, server = self._place(http.path)
            if kind != "ws" or SUBPROTOCOL not in scope.get("subprotocols", ()):
                raise HttpRefused(404, f"WebSockets are at /ws/NAME, subprotocol {SUBPROTOCOL}")
            await self._lines.converse((receive, send), server, principal)
        except McpnatsdError as fault:
            log.info("WebSocket refused", extra={"path": http.path[:200], "error": str(fault)})
            await send({"type": "websocket.close", "code": 1008, "reason": str(fault)[:120]})
        finally:
            self._open -= 1

    def _check_room(self) -> None:
        if self._open > self._endpoint.limits.requests:
            raise Busy("too many requests are open at this listener; `limits: requests` says more")

    def _place(self, path: str) -> tuple[str, str]:
        """Return the kind of place and the server that a path names."""
        steps = path.split("/")
        if len(steps) != 3 or not http_rules.serves(steps[2], self._endpoint.servers):  # noqa: PLR2004
            return "", ""
        return steps[1], steps[2]

    async def _receive_mcp(self, http: HttpRequest, server: str, principal: str) -> None:
        legacy = http_rules.names_legacy(http.headers)
        match http.method:
            case "POST":
                await self._receive_message(http, server, principal)
            case "GET" if legacy and SESSION.lower() in http.headers:
                await self.sessions.listen(http, server, principal)
            case "DELETE" if legacy and SESSION.lower() in http.headers:
                await self.sessions.end(http, server, principal)
            case "GET" if page.is_browser(http):
                edge = self._gate.edge(principal)
                await page.show_server(http, self._bus, server, edge, self._url(http))
            case _:
                raise HttpRefused(405, "POST messages here", {"allow": _METHODS})

    async def _receive_message(self, http: HttpRequest, server: str, principal: str) -> None:
        http_rules.check_content_type(http.headers)
        most = self._endpoint.limits.body_bytes
        held = min(http.declared_bytes or most, most)
        if self._held + held > MOST_HELD_BYTES:
            raise Busy(f"{MOST_HELD_BYTES >> 20} MiB of messages are under way here")
        self._held += held
        try:
            line = jsonrpc.single_line(await http.body(most))
            await self._receive_line(http, server, principal, line)
        finally:
            self._held -= held

    async def _receive_line(
        self, http: HttpRequest, server: str, principal: str, line: bytes
    ) -> None:
        message: Message | None = None
        try:
            message = jsonrpc.decode(line)
            if http_rules.names_legacy(http.headers) and not self._is_modern(http, message):
                await self.sessions.receive(http, server, principal, message, line)
            else:
                edge = self._gate.edge(principal)
                await self._modern.receive(http, server, edge, message, line)
        except McpnatsdError as fault:
            if http.streaming:
                raise
            id = message.id if isinstance(message, Request) else jsonrpc.id_in(line)  # noqa: A001
            await http.refuse(fault, id)

    def _url(self, http: HttpRequest) -> str:
        scheme = "http" if self._endpoint.tls is None else "https"
        return f"{scheme}://{http.headers.get('host', self._endpoint.address)}{http.path}"

    def _is_modern(self, http: HttpRequest, message: Message) -> bool:
        """Tell a modern request whose header is missing, so that it is told just that."""
        if SESSION.lower() in http.headers or not isinstance(message, Request):
            return False
        meta = jsonrpc.object_of(jsonrpc.params_of(message.members), eras.META)
        return eras.requested_revision(meta) is not None

    async def _answer_preflight(self, http: HttpRequest) -> None:
        http.extra += [
            (b"access-control-allow-methods", _METHODS.encode()),
            (b"access-control-allow-headers", _may_send(http).encode("latin-1")),
            (b"access-control-max-age", b"600"),
        ]
        await http.respond(204)


def _may_send(http: HttpRequest) -> str:
    """Return the headers that a page may send: those it asks for, as `Mcp-Param-*` has any name."""
    return http.headers.get("access-control-request-headers") or _MAY_SEND


def _metadata(config: JwtConfig) -> dict[str, object]:
    """Return where a client gets its token (RFC 9728)."""
    return {
        "resource": config.audience,
        "authorization_servers": [config.issuer],
        "bearer_methods_supported": ["header"],
    }
