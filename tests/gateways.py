"""Raw HTTP clients of a gateway, and daemons that have one."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.running import BOUND, META, Running, daemon, encoded, status

BOTH = "application/json, text/event-stream"
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        assert isinstance(port, int)
        return port


@asynccontextmanager
async def gateway(
    folder: Path, served: Mapping[str, Any], /, *, nats_url: str = "", **endpoint: Any
) -> AsyncIterator["Gateway"]:
    """Run a daemon with an HTTP endpoint."""
    port = free_port()
    endpoints = [{"http": f"127.0.0.1:{port}", **endpoint}]
    async with (
        daemon(folder, served, nats_url=nats_url, endpoints=endpoints) as running,
        Gateway(running, port) as found,
    ):
        yield found


class Gateway:
    """A gateway under test, and a client of it."""

    def __init__(self, running: Running, port: int, scheme: str = "http", **options: Any) -> None:
        self.daemon = running
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.http = httpx2.AsyncClient(base_url=self.url, timeout=BOUND, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def modern(
        self,
        server: str,
        method: str,
        *,
        id: object = 1,
        headers: Mapping[str, str | None] | None = None,
        **params: Any,
    ) -> httpx2.Response:
        """POST a modern request; headers that are None are left out."""
        body, sent = modern_message(method, id=id, headers=headers, **params)
        return await self.http.post(f"/mcp/{server}", json=body, headers=sent)

    async def call(self, server: str, tool: str, **arguments: Any) -> httpx2.Response:
        return await self.modern(server, "tools/call", name=tool, arguments=arguments)

    async def open_requests(self) -> int:
        """Return what the status says of this endpoint."""
        [endpoint] = (await status(self.daemon.folder))["endpoints"]
        return int(endpoint["clients"])

    async def session(self, server: str, revision: str = LEGACY) -> "Session":
        """Shake hands as a legacy client."""
        response = await self.initialize(server, revision)
        assert response.status_code == 200, response.text
        session = Session(self, server, response.headers["mcp-session-id"], revision)
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await session.post(note)).status_code == 202
        return session

    async def initialize(
        self, server: str, revision: str = LEGACY, **headers: str
    ) -> httpx2.Response:
        params = {
            "protocolVersion": revision,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}
        return await self.http.post(
            f"/mcp/{server}", json=body, headers={"accept": BOTH, **headers}
        )


def modern_message(
    method: str, *, id: object = 1, headers: Mapping[str, str | None] | None = None, **params: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a modern request and its headers."""
    meta = {**META, **params.pop("_meta", {})}
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
    found: dict[str, str | None] = {
        "accept": BOTH,
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        "mcp-name": params.get(NAMED.get(method, "")),
        **(headers or {}),
    }
    return body, {key: value for key, value in found.items() if value is not None}


class Session:
    """A legacy client that shook hands."""

    def __init__(self, gateway: Gateway, server: str, id: str, revision: str) -> None:
        self.gateway = gateway
        self.path = f"/mcp/{server}"
        self.headers = {"accept": BOTH, "mcp-session-id": id, "mcp-protocol-version": revision}

    async def post(self, message: Mapping[str, Any], **headers: str) -> httpx2.Response:
        sent = {**self.headers, **headers}
        return await self.gateway.http.post(self.path, json=message, headers=sent)

    async def call(self, tool: str, *, id: object = 1, **arguments: Any) -> httpx2.Response:
        return await self.post(tool_call(tool, id=id, **arguments))

    def stream(self, method: str = "GET", *, message: Any = None, **headers: str) -> Any:
        """Open an event stream: `async with` it."""
        sent = {**self.headers, "accept": BOTH, **headers}
        return self.gateway.http.stream(method, self.path, json=message, headers=sent)

    async def delete(self) -> httpx2.Response:
        return await self.gateway.http.delete(self.path, headers=self.headers)


def tool_call(tool: str, *, id: object = 1, token: object = None, **arguments: Any) -> Any:
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


async def events(
    response: httpx2.Response, *, decoded: bool = True
) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream; `data` is decoded where there is any. Keep the iterator."""
    event: dict[str, Any] = {}
    async for line in response.aiter_lines():
        if not line and event:
            if decoded and event.get("data"):
                event["data"] = json.loads(event["data"])
            yield event
            event = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")


def events_of(text: str) -> list[dict[str, Any]]:
    """Return the messages of a stream that has ended."""
    found = [part.partition("data: ")[2].strip() for part in text.split("\n\n")]
    return [json.loads(data) for data in found if data]


async def raw(port: int, request: bytes, bound: float = BOUND) -> bytes:
    """Send bytes, and return all that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(bound):
            return await reader.read()
    finally:
        writer.close()


def raw_post(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a POST."""
    payload = encoded(dict(body))
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(payload)}"]
    lines += ["Content-Type: application/json", *(f"{key}: {headers[key]}" for key in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload
