"""Clients of both eras in one notation, for tests that hold of either."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import BOUND, Shim, shim, socket_client, status, text_of

BOTH_ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


@asynccontextmanager
async def client(folder: Path, name: str, era: str = "modern") -> AsyncIterator[Shim]:
    """Start a shim for a client of that era, its handshake done."""
    async with await shim(folder, name) as opened:
        await introduce(opened, era)
        yield opened
        await opened.stop()


@asynccontextmanager
async def socket(path: Path, era: str = "modern") -> AsyncIterator[Shim]:
    """Connect a client of that era to a unix socket, its handshake done."""
    async with await socket_client(path) as opened:
        await introduce(opened, era)
        yield opened


async def introduce(opened: Shim, era: str) -> None:
    if era == "legacy":
        assert "result" in await opened.initialize()


def ask(opened: Shim, era: str, tool: str, **arguments: Any) -> object:
    """Send a call of a tool; return its id."""
    send = opened.modern if era == "modern" else opened.legacy
    return send("tools/call", name=tool, arguments=arguments)


def cancel(opened: Shim, id: object) -> None:
    params = {"requestId": id, "reason": "the test says so"}
    opened.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


async def pid_of_server(opened: Shim, era: str) -> int:
    """Return the pid of the process that answers this client."""
    return int(text_of(await opened.call("pid", era=era)))


async def works(opened: Shim, era: str) -> None:
    """Check that a call is answered, and that nothing else came that nobody asked for."""
    assert text_of(await opened.call("echo", era=era, text="still here")) == "still here"
    assert opened.unasked == []


async def without(folder: Path, name: str, pid: int) -> None:
    """Wait until the daemon knows that this process of a server is gone."""
    async with asyncio.timeout(BOUND):
        while pid in [one["pid"] for one in (await status_of(folder, name))["processes"]]:
            pass


async def refusal(opened: Shim, id: object, code: int, *words: str) -> None:
    """Check that a request is answered with this error, whose text holds these words."""
    error = (await opened.answer(id))["error"]
    assert error["code"] == code, error
    for word in words:
        assert word in error["message"]


async def status_of(folder: Path, name: str, bound: float = BOUND, **wanted: int) -> dict[str, Any]:
    """Wait until a server's status has these values; return it."""
    async with asyncio.timeout(bound):
        while True:
            servers = (await status(folder))["servers"]
            found: dict[str, Any] = next(one for one in servers if one["name"] == name)
            if all(found[key] == value for key, value in wanted.items()):
                return found
