"""HTTP servers for tests: the SDKs' own in processes, and one that answers as a test says."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import peers
from tests.gateways import free_port
from tests.running import SERVERS
from tests.waiting import until

SDK1 = peers.SDK1_PYTHON
SDK2 = peers.SDK2_PYTHON
EVERYTHING = peers.SERVERS["everything"]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def process(
    *command: str, port: int, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a server until the block ends; it listens on that port when the block begins."""
    quiet = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(
        *command, stdout=quiet, stderr=quiet, env={**os.environ, **variables}
    )
    try:
        await until(lambda: is_open(port) or running.returncode is not None, timeout=30)
        assert running.returncode is None
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@asynccontextmanager
async def peer(
    kind: str = "http", *, python: Path = SDK2, port: int = 0, tls: Path | None = None
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run the peers' server over HTTP, by one of the SDKs; yield its URL and its process."""
    port = port or free_port()
    script = str(SERVERS / "http_peer.py")
    extra, scheme = ((str(tls),), "https") if tls else ((), "http")
    async with process(str(python), script, str(port), kind, *extra, port=port) as running:
        yield f"{scheme}://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}", running


@asynccontextmanager
async def everything(kind: str) -> AsyncIterator[str]:
    """Run the TypeScript everything server; yield its URL."""
    port = free_port()
    async with process(*EVERYTHING, kind, port=port, PORT=str(port)):
        yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"


@dataclass
class HttpRequest:
    """What a client sent, and where its answer goes."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    writer: asyncio.StreamWriter

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message

    def answer(self, status: int, body: bytes | object = b"", **headers: str) -> None:
        """Answer with a whole body; what is no bytes goes as JSON."""
        kind = "text/plain"
        if not isinstance(body, bytes):
            body, kind = json.dumps(body).encode(), "application/json"
        self.begin(status, **{"content-type": kind, **headers, "content-length": str(len(body))})
        self.writer.write(body)

    def begin(self, status: int = 200, **headers: str) -> None:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([f"HTTP/1.1 {status} It", *lines, "", ""]).encode())

    def stream(self, **headers: str) -> None:
        """Begin an event stream that ends with its connection."""
        self.begin(content_type="text/event-stream", connection="close", **headers)

    def event(self, message: object, id: str = "", name: str = "message") -> None:
        data = message if isinstance(message, str) else json.dumps(message)
        head = f"id: {id}\n" if id else ""
        self.writer.write(f"{head}event: {name}\ndata: {data}\n\n".encode())

    def result(self, value: object) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": self.message["id"], "result": value}

    async def gone(self) -> None:
        """Wait until the client closed the connection."""
        while not self.writer.transport.is_closing():
            await asyncio.sleep(0.002)

    def close(self) -> None:
        self.writer.close()


Answerer = Callable[[HttpRequest], Awaitable[None]]


class Scripted:
    """An HTTP server that answers as `answer` says, and keeps what it was sent."""

    def __init__(self, answer: Answerer, port: int) -> None:
        self.answer = answer
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.requests: list[HttpRequest] = []
        self.server: asyncio.Server | None = None
        self.tasks = set[asyncio.Task[Any] | None]()
        self.writers = set[asyncio.StreamWriter]()

    def sent(self, method: str) -> list[HttpRequest]:
        """Return the requests of one JSON-RPC method."""
        return [one for one in self.requests if one.body and one.message.get("method") == method]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        self.writers.add(writer)
        try:
            while (one := await _read(reader, writer)) is not None:
                self.requests.append(one)
                await self.answer(one)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> HttpRequest | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return HttpRequest(method, path, headers, body, writer)


@asynccontextmanager
async def scripted(answer: Answerer, port: int = 0) -> AsyncIterator[Scripted]:
    """Run such a server until the block ends."""
    port = port or free_port()
    one = Scripted(answer, port)
    one.server = await asyncio.start_server(one.serve, "127.0.0.1", port)
    try:
        yield one
    finally:
        one.server.close()
        tasks = [task for task in one.tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in one.writers:
            writer.transport.abort()
        await asyncio.sleep(0)
