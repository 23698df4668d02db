"""A daemon that is killed and comes back, its file rewritten meanwhile."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.running import PROGRAM, environment
from tests.waiting import until

UP_WITHIN = 40.0
DOWN_WITHIN = 45.0
VERDICT_WITHIN = 60.0


class Daemon:
    """One daemon in a folder of its own, its log in one file over all its lives."""

    def __init__(self, folder: Path, name: str, variables: Mapping[str, str]) -> None:
        folder.mkdir()
        self.folder = folder
        self.name = name
        self.log = folder / "daemon.log"
        self.path = folder / "mcpnatsd.yaml"
        self.env = {**environment(folder), **variables}
        self.lives = 0
        self.serving = False
        """Whether it has started, and was not told to end."""

        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def write(self, sections: Mapping[str, Any]) -> None:
        """Replace its file as an editor does, so that nobody reads half of it."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(yaml.dump(dict(sections), Dumper=yaml.CSafeDumper), encoding="utf-8")
        fresh.replace(self.path)

    async def start(self) -> None:
        """Start it, and return when it serves."""
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                PROGRAM, "run", "--config", str(self.path), env=self.env,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        self.lives += 1
        await until(lambda: not self.alive or b" ready " in self._said(begin), UP_WITHIN)
        self.serving = self.alive
        assert self.alive, (
            f"{self.name} ({self.process.returncode}) does not start: {self._said(begin)[-2000:]!r}"
        )

    async def kill(self) -> None:
        assert self.process is not None
        self.serving = False
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it as systemd does; return its exit code."""
        assert self.process is not None
        self.serving = False
        self.process.terminate()
        async with asyncio.timeout(DOWN_WITHIN):
            return await self.process.wait()

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    async def ask(self, verb: str, bound: float = VERDICT_WITHIN) -> dict[str, Any]:
        """Ask its control socket."""
        path = self.folder / "run" / f"{self.name}.sock"
        async with asyncio.timeout(bound):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
            try:
                writer.write(json.dumps({"verb": verb}).encode() + b"\n")
                found = json.loads(await reader.readline())
            finally:
                writer.close()
        assert isinstance(found, dict)
        return found

    def _said(self, since: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read()
