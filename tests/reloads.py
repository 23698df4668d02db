"""A daemon whose configuration is edited while it runs."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests import running
from tests.running import Ended, Running, Shim, text_of
from tests.waiting import until

THIN = running.server("thin")
BOUND = 60.0


class Edited:
    """The files of one daemon, and the daemon."""

    def __init__(self, folder: Path, sections: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / "mcpnatsd.yaml"
        self.drop_ins = folder / "mcpnatsd" / "conf.d"
        self.sections = dict(sections)
        self.daemon: Running

    def edit(self, **sections: Any) -> None:
        """Replace sections of the file, as an editor does: by another file."""
        self.sections |= sections
        self.write(yaml.safe_dump(self.sections))

    def write(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path)

    def drop_in(self, name: str, **sections: Any) -> Path:
        """Write a drop-in."""
        self.drop_ins.mkdir(parents=True, exist_ok=True)
        path = self.drop_ins / name
        path.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return path

    async def reload(self) -> Ended:
        return await running.verb(self.folder, "reload")

    async def reloaded(self) -> str:
        """Reload, and return the plan."""
        ended = await self.reload()
        assert ended.code == 0, ended
        return ended.out

    async def refused(self) -> str:
        """Have a reload refused, and return the reason."""
        ended = await self.reload()
        assert ended.code == 1, ended
        return ended.err

    async def status(self) -> dict[str, Any]:
        return await running.status(self.folder)


@asynccontextmanager
async def edited(folder: Path, **sections: Any) -> AsyncIterator[Edited]:
    """Run a daemon with these sections; its own NATS unless they say otherwise."""
    given = {"nats": {"embedded": {}}, **sections}
    files = Edited(folder, given)
    rest = {key: value for key, value in given.items() if key not in ("nats", "servers")}
    servers = given.get("servers", {})
    async with running.daemon(folder, servers, nats=given["nats"], **rest) as daemon:
        files.daemon = daemon
        yield files


class Load:
    """Calls at a steady rate, over one connection. What fails is kept, and nothing is repeated."""

    def __init__(self, client: Shim, rate: float) -> None:
        self.answered = 0
        self.failed: list[Any] = []
        self._client = client
        self._rate = rate
        self._waiting: dict[int, str] = {}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Call until stopped, and have every answer."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._receive())

    def stop(self) -> None:
        self._stop.set()

    async def close(self) -> None:
        await self._client.close()

    async def _send(self) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        for number in itertools.count(1):
            if self._stop.is_set():
                break
            self._waiting[number] = f"text {number}"
            given = {"name": "echo", "arguments": {"text": f"text {number}"}}
            self._client.modern("tools/call", id=number, **given)
            await asyncio.sleep(max(0.0, begun + number / self._rate - now()))

    async def _receive(self) -> None:
        while not self._stop.is_set() or self._waiting:
            try:
                message = await self._client.read(bound=1.0 if not self._waiting else BOUND)
            except TimeoutError:
                if self._waiting:
                    raise
                continue
            text = self._waiting.pop(message["id"])
            if "result" in message and text_of(message) == text:
                self.answered += 1
            else:
                self.failed.append(message)


async def has_pid(client: Shim, other: str, **more: Any) -> str:
    """Call until another process than that one answers; return which. No call may fail."""
    found = [other]

    async def ask() -> None:
        while found[-1] == other:
            found.append(text_of(await client.call("pid", bound=BOUND, **more)))

    async with asyncio.timeout(BOUND):
        await ask()
    return found[-1]


async def stale(files: Edited) -> str:
    """Wait until the daemon says that its files are not what runs; return why."""
    why: list[str] = []

    async def look() -> None:
        while not why or why[-1] is None:
            why.append((await files.status())["reload"]["stale"])

    async with asyncio.timeout(BOUND):
        await look()
    return why[-1]


__all__ = ["BOUND", "THIN", "Edited", "Load", "edited", "has_pid", "stale", "until"]
