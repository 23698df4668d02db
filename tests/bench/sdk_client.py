"""The client of the transport's measurement: the Python SDK's own, over whatever is asked.

    python sdk_client.py ERA memory          client and server in this process: two bare streams
    python sdk_client.py ERA stdio           the server as a subprocess, by the SDK's transport
    python sdk_client.py ERA http URL        the SDK's Streamable HTTP
    python sdk_client.py ERA nats URL        `mcpnatsd.transport`

It says `ready`, then measures as each line of stdin says: `{"seconds": 2, "in_flight": 1, "tool":
"echo"}`. So is the answer, with what it took; `cpu` is this process' seconds of CPU for one call.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.shared.message import SessionMessage

from tests.bench.sdk_server import NAME, server

MODES = {"modern": "2026-07-28", "legacy": "legacy"}
SERVER = [str(Path(__file__).with_name("sdk_server.py")), "stdio"]
ARGUMENTS: dict[str, dict[str, Any]] = {"echo": {"text": "x" * 200}, "big": {"bytes": 500_000}}


def stdio() -> Any:
    return StdioServerParameters(command=sys.executable, args=SERVER)


def http(url: str) -> Any:
    return url


def nats(url: str) -> Any:
    from mcpnatsd.transport import NatsClientParameters, nats_client  # noqa: PLC0415 - nor do they

    return nats_client(NatsClientParameters(service_name=NAME, url=url))


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[Any, Any]]:
    """Serve in this process, without a byte of JSON."""
    asking, asked = anyio.create_memory_object_stream[SessionMessage](0)
    answering, answered = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    low = server._lowlevel_server
    running = low.run(asked, answering, low.create_initialization_options())
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(running)
        yield answered, asking
        serving.cancel()


TARGETS: dict[str, Callable[..., Any]] = {
    "memory": memory,
    "stdio": stdio,
    "http": http,
    "nats": nats,
}


async def measured(client: Client, *, seconds: float, in_flight: int, tool: str) -> dict[str, Any]:
    taken: list[float] = []
    began, spent = perf_counter(), process_time()

    async def one_after_another() -> None:
        while (start := perf_counter()) - began < seconds:
            answer = await client.call_tool(tool, ARGUMENTS[tool])
            assert not answer.is_error, answer
            taken.append(perf_counter() - start)

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    took, spent = perf_counter() - began, process_time() - spent
    return {"taken": taken, "rate": len(taken) / took, "cpu": spent / len(taken)}


async def main(era: str, role: str, *where: str) -> None:
    async with Client(TARGETS[role](*where), mode=MODES[era]) as client:
        say({"ready": client.protocol_version})
        while line := await next_line():
            say(await measured(client, **json.loads(line)))


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


async def next_line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
