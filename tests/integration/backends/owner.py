"""An owner of server processes that writes down what it is told."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mcpnatsd.backends.process import Exit, SpawnedProcess, Spec
from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.protocol.lines import Oversize
from tests.waiting import until

SERVERS = Path(__file__).parents[2] / "servers"
MIB = 1 << 20


def spec_of(server: str, *args: str, **changes: object) -> Spec:
    """Return how to start one of the servers of the tests."""
    fields: dict[str, object] = {
        "name": server,
        "command": (sys.executable, str(SERVERS / f"{server}.py"), *args),
        "env": {"PATH": os.environ["PATH"]},
        "output_line_bytes": 64 * MIB,
        "stop_timeout": 10.0,
    }
    return Spec(**{**fields, **changes})  # type: ignore[arg-type]


class Owner:
    """One server process, and all that was heard of it."""

    process: SpawnedProcess

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.heard: list[str] = []
        self.exits: list[Exit] = []
        self.oversize: list[int] = []

    async def start(self, reaper: Reaper, spec: Spec) -> SpawnedProcess:
        self.process = await reaper.spawn(
            spec, on_line=self._on_line, on_exit=self._on_exit, on_oversize=self._on_oversize
        )
        assert self.heard == [], "a callback came before spawn had returned"
        return self.process

    def call(self, tool: str, **arguments: object) -> None:
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        self.process.write(json.dumps(message).encode())

    async def answer(self) -> str:
        """Return the text of the next tool's result."""
        message = await self.message()
        return str(message["result"]["content"][0]["text"])

    async def message(self) -> dict[str, dict[str, list[Mapping[str, object]]]]:
        await until(lambda: self.lines)
        message: dict[str, dict[str, list[Mapping[str, object]]]] = json.loads(self.lines.pop(0))
        return message

    async def end(self) -> Exit:
        await until(lambda: self.exits)
        return self.exits[0]

    def _on_line(self, line: bytes) -> None:
        self.heard.append("line")
        self.lines.append(line)

    def _on_exit(self, end: Exit) -> None:
        self.heard.append("exit")
        self.exits.append(end)

    def _on_oversize(self, skipped: Oversize) -> None:
        self.heard.append("oversize")
        self.oversize.append(skipped.size)


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


async def all_gone(pids: list[int]) -> None:
    async with asyncio.timeout(15):
        await until(lambda: all(map(is_gone, pids)))
