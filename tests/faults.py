"""What the tests of faults share: a bus of their own, with a server that writes down its calls."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests import running
from tests.natsd import NatsServer
from tests.running import Shim
from tests.waiting import until

LATE = 60.0
"""Bound of what takes a second on an idle machine."""


class Record:
    """What a `recorder.py` wrote, in all its processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, era: str = "both") -> list[str]:
        return running.server("recorder", str(self.path), era)

    def lines(self) -> list[list[str]]:
        """Return pid, method and subject matter of each message so far."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return [line.split(" ", 2) for line in text.splitlines()]

    def calls(self) -> list[str]:
        """Return what was called, in order."""
        return [about for _, method, about in self.lines() if method == "tools/call"]

    def runs(self) -> Counter[str]:
        return Counter(self.calls())

    def of(self, pid: str) -> list[tuple[str, str]]:
        """Return what one process was told."""
        return [(method, about) for own, method, about in self.lines() if own == pid]

    async def has(self, many: int, prefix: str = "") -> None:
        """Wait until so many calls have arrived."""
        await until(lambda: sum(c.startswith(prefix) for c in self.calls()) >= many, LATE)


class Bus:
    """A folder, a nats-server, and shims that know only its URL."""

    def __init__(self, folder: Path, config_text: str | None = None) -> None:
        self.folder = folder
        self.natsd = NatsServer(folder / "natsd", config_text)
        self.record = Record(folder / "record")
        self._shims: list[Shim] = []

    async def shim(self, name: str = "recorder", *arguments: str, **variables: str) -> Shim:
        folder = self.folder / f"shim{len(self._shims)}"
        folder.mkdir()
        opened = await running.shim(folder, name, "--nats", self.natsd.url, *arguments, **variables)
        self._shims.append(opened)
        return opened

    async def legacy(self, name: str = "recorder", *arguments: str, **variables: str) -> Shim:
        """Return a shim with a session."""
        opened = await self.shim(name, *arguments, **variables)
        assert "result" in await opened.initialize(LATE)
        return opened

    async def modern(self, name: str = "recorder", *arguments: str, **variables: str) -> Shim:
        """Return a shim that had an answer."""
        opened = await self.shim(name, *arguments, **variables)
        assert running.text_of(await opened.call("echo", text="first", bound=LATE)) == "first"
        return opened

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self._shims))
        self.natsd.stop()


@asynccontextmanager
async def bus(folder: Path, config_text: str | None = None) -> AsyncIterator[Bus]:
    folder.mkdir(parents=True, exist_ok=True)
    opened = Bus(folder, config_text)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def serving(
    bus: Bus, name: str = "a", *, era: str = "both", **config: Any
) -> AsyncIterator[running.Running]:
    """Run a daemon that serves the recorder of a bus. It may die in the block."""
    servers = {"recorder": bus.record.command(era)}
    async with running.daemon(
        bus.folder / name, servers, nats_url=bus.natsd.url, **config
    ) as daemon:
        yield daemon


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process in its tracks for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def seconds() -> float:
    return asyncio.get_running_loop().time()


def ask(
    shim: Shim, tool: str, *, era: str = "modern", id: object = None, **arguments: object
) -> object:
    """Call a tool and do not wait; return the id."""
    send = shim.modern if era == "modern" else shim.legacy
    return send("tools/call", id=id, name=tool, arguments=arguments)


def fault_of(response: dict[str, Any]) -> tuple[int, str | None]:
    """Return an error's code and outcome."""
    assert "error" in response, response
    fault = response["error"]
    return fault["code"], fault.get("data", {}).get("outcome")
