"""The examples of the Python transport, as a person runs them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mcpnatsd.bus.directory import survey
from mcpnatsd.bus.inbox import Inbox
from tests.connections import opened
from tests.natsd import NatsServer
from tests.running import Running

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "etc" / "examples"
BOUND = 30.0


@asynccontextmanager
async def running(natsd: NatsServer, script: str, *words: str) -> AsyncIterator[Running]:
    """Run a server of the examples until the end of the block, and see that it ends well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / script), *words,
        env={**os.environ, "NATS_URL": natsd.url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    server = Running(process, ROOT)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(BOUND):
            assert natsd.url.encode() in await process.stdout.readline(), server.log
        yield server
        assert await server.stop() == 0, server.log
    finally:
        await server.close()


async def on_the_bus(natsd: NatsServer, names: list[str]) -> None:
    """Wait until discovery finds exactly these."""
    async with opened(natsd.url) as connection, asyncio.timeout(BOUND):
        inbox, found = Inbox(connection), list[str]()
        while sorted(found) != names:
            found = [one.server for one in await survey(connection, inbox, prefix="mcp")]


async def printed(natsd: NatsServer, script: str) -> list[str]:
    """Run a client of the examples to its end; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / script),
        env={**os.environ, "NATS_URL": natsd.url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BOUND):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()


async def test_the_simple_example(natsd: NatsServer) -> None:
    async with running(natsd, "simple/server.py"):
        assert await printed(natsd, "simple/client.py") == [
            "tools: add, multiply",
            "add(6, 7) = 13",
            "multiply(6, 7) = 42",
        ]


async def test_the_example_of_progress(natsd: NatsServer) -> None:
    async with running(natsd, "progress/server.py"):
        assert await printed(natsd, "progress/client.py") == [
            *(f"{cake} of 3: cake {cake} is out of the oven" for cake in (1, 2, 3)),
            "baked: 3 cakes",
            "gave up; the server was told to stop baking",
        ]


async def test_the_distributed_example(natsd: NatsServer) -> None:
    names = ["adder", "adder", "dictionary"]
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(running(natsd, "distributed/server.py", name))
        await on_the_bus(natsd, names)
        tools, tree, sums = await printed(natsd, "distributed/client.py")

    assert tools == "tools: adder__add, dictionary__translate"
    assert tree == "a tree is Baum"
    assert sums == "20 sums by 2 processes"


async def test_the_examples_can_all_run_at_one_time(natsd: NatsServer) -> None:
    """Two of them under one name would answer each other's calls."""
    names = ["adder", "calculator", "dictionary", "kitchen"]
    async with AsyncExitStack() as stack:
        for script in ("simple/server.py", "progress/server.py"):
            await stack.enter_async_context(running(natsd, script))
        for name in ("adder", "dictionary"):
            await stack.enter_async_context(running(natsd, "distributed/server.py", name))
        await on_the_bus(natsd, names)
        _, tree, sums = await printed(natsd, "distributed/client.py")
    assert tree == "a tree is Baum"
    assert sums == "20 sums by 1 processes"


@pytest.mark.parametrize("folder", ["simple", "progress", "distributed"])
def test_each_example_is_in_the_table(folder: str) -> None:
    assert f"| `{folder}` |" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_there_is_no_example_without_a_test() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()) == [
        "distributed",
        "progress",
        "simple",
    ]
