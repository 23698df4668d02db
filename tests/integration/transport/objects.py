"""Server objects for the transport, and how a test puts them on the bus."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mcp import Client
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

from mcpnatsd.transport import NatsClientParameters, NatsServerParameters, nats_client, serve
from tests.connections import opened

MODES = {"modern": "2026-07-28", "auto": "auto", "legacy": "legacy"}


class Person(BaseModel):
    name: str


def person(question: str) -> Elicit[Person]:
    return Elicit(question, Person)


def thought(question: str) -> Sample:
    text = TextContent(type="text", text=question)
    return Sample([SamplingMessage(role="user", content=text)], max_tokens=10)


class Object:
    """A server object that tells what happened to it."""

    def __init__(self, name: str = "object", **options: Any) -> None:
        self.mcp = MCPServer(name, **options)
        self.hung = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.free = asyncio.Event()
        for tool in (self.add, self.echo, self.steps, self.hang, self.ask, self.think, self.who):
            self.mcp.add_tool(tool, structured_output=False)
        self.name = name

    async def add(self, a: int, b: int) -> str:
        return str(a + b)

    async def echo(self, text: str) -> str:
        await asyncio.sleep(0)
        return text

    async def steps(self, count: int, ctx: Context) -> str:
        for step in range(1, count + 1):
            await ctx.report_progress(step, count, f"step {step}")
        return "done"

    async def hang(self) -> str:
        """Answer when the test says so."""
        self.hung.set()
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "free"

    async def who(self) -> str:
        return self.name

    async def ask(self, question: str, who: Annotated[Person, Resolve(person)]) -> str:
        return f"{question} {who.name}"

    async def think(self, question: str, answer: Annotated[Any, Resolve(thought)]) -> str:
        return f"{question} {answer.content.text}"


class Served:
    """What serves an object, and what the bus was told of it."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self._run = run

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def leave(self) -> None:
        """Cancel it, and wait until it told the bus that it leaves."""
        self.task.cancel()
        await self.down.wait()


@asynccontextmanager
async def serving(
    server: object, nats_url: str, prefix: str, *, wait: bool = True, **params: Any
) -> AsyncIterator[Served]:
    """Serve an object under `prefix`, and take it off again. It is there unless told otherwise."""
    named = NatsServerParameters(
        **{"service_name": "object", "url": nats_url, "prefix": prefix, **params}
    )
    run = partial(serve, server, named)
    async with serving_by(run, nats_url, prefix, wait=wait, name=named.service_name) as served:
        yield served


@asynccontextmanager
async def serving_by(
    run: Callable[[], Coroutine[Any, Any, None]],
    nats_url: str,
    prefix: str,
    *,
    name: str = "object",
    wait: bool = True,
) -> AsyncIterator[Served]:
    """Run what serves an object until the end of the block."""
    served = Served(run)
    async with opened(nats_url, wait=wait) as connection:
        connection.subscribe(f"{prefix}.evt.{name}.up", lambda *_: served.up.set())
        connection.subscribe(f"{prefix}.evt.{name}.down", lambda *_: served.down.set())
        if wait:
            await connection.flush()
        served.start()
        try:
            if wait:
                await served.up.wait()
            yield served
        finally:
            served.task.cancel()
            with suppress(asyncio.CancelledError):
                await served.task


def connected(nats_url: str, prefix: str, *, mode: str = "auto", **options: Any) -> Client:
    """Return a client of the SDK on our transport."""
    name = options.pop("name", "object")
    params = NatsClientParameters(service_name=name, url=nats_url, prefix=prefix)
    return Client(nats_client(params), mode=MODES[mode], **options)


async def called(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


def held() -> tuple[int, int]:
    """Return how many tasks and sockets there are."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return len(asyncio.all_tasks()), sum(link.startswith("socket:") for link in links)
