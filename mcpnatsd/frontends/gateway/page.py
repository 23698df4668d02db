"""The page that a person sees who opens a server's address in a browser."""

import asyncio
from html import escape
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.bus.directory import Instance, survey
from mcpnatsd.errors import McpnatsdError
from mcpnatsd.frontends.gateway.http_request import HttpRequest
from mcpnatsd.frontends.gateway.principals import Principal
from mcpnatsd.frontends.gateway.questions import tools_of
from mcpnatsd.protocol.http_answers import Header

HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
WITHIN: Final = 8.0

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{background:#8882;border-radius:4px;padding:.1em .3em}pre{padding:.7em;overflow:auto}"
    "dt{font-weight:600;margin-top:.7em}dd{margin:0}:root{color-scheme:light dark}"
)


def is_browser(http: HttpRequest) -> bool:
    return "text/html" in http.headers.get("accept", "")


async def show_server(http: HttpRequest, principal: Principal, server: str, url: str) -> None:
    """Answer with the page of one server."""
    try:
        async with asyncio.timeout(WITHIN):
            tools = await tools_of(principal, server)
        listed = _tools(tools)
    except McpnatsdError as fault:
        listed = f"<p>It does not say which tools it has: {escape(str(fault))}</p>"
    except TimeoutError:
        listed = "<p>It does not say which tools it has: it did not answer in time.</p>"
    body = (
        f"<p>This is an MCP server. Programs that speak the Model Context Protocol use it.</p>"
        f"<h2>Connect</h2><p>Streamable HTTP:</p><pre>{escape(url)}</pre>"
        f"<p>From a machine on the same NATS:</p><pre>mcpnatsd connect {escape(server)}</pre>"
        f"<h2>Tools</h2>{listed}"
    )
    http.respond(200, _page(server, body), headers=HEADERS)


async def show_listing(http: HttpRequest, bus: ClientBus, servers: "list[str]") -> None:
    """Answer with the page that names all servers."""
    items = "".join(f'<li><a href="/mcp/{escape(one)}">{escape(one)}</a></li>' for one in servers)
    body = f"<ul>{items}</ul>" if items else "<p>No server is on the bus right now.</p>"
    connected = "" if bus.connection.connected else "<p>NATS is away.</p>"
    http.respond(200, _page("MCP servers", connected + body), headers=HEADERS)


async def names_on(bus: ClientBus) -> list[str]:
    """Return the servers that answer discovery now."""
    try:
        found: list[Instance] = await survey(bus.connection, bus.inbox, prefix=bus.prefix)
    except McpnatsdError:
        return []
    return sorted({one.server for one in found})


def _tools(tools: list[tuple[str, str]]) -> str:
    if not tools:
        return "<p>None.</p>"
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(about)}</dd>" for name, about in tools)
    return f"<dl>{''.join(rows)}</dl>"


def _page(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>{body}</html>"
    ).encode()
