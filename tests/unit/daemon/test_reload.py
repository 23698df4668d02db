"""A reload that only NATS stood in the way of is tried again by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpnatsd.config.diff import Diff
from mcpnatsd.config.load import load_all
from mcpnatsd.daemon import reload as module
from mcpnatsd.daemon.reload import Reloader
from mcpnatsd.errors import BrokerAway, ConfigError, Forbidden, McpnatsdError

BOUND = 10.0


class Daemon:
    """A reloader, and what it applied; the next ones fail as the test says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mcpnatsd.yaml"
        self.write("first")
        self.faults: list[McpnatsdError] = []
        self.applied: asyncio.Queue[Diff] = asyncio.Queue()
        environ = {"HOME": str(folder)}
        self.reloader = Reloader(self.path, environ, load_all(self.path, environ), self._apply)

    def write(self, token: str) -> None:
        self.path.write_text(f"nats: {{url: 'nats://127.0.0.1:1', token: {token}}}\n")

    async def _apply(self, diff: Diff) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.applied.put_nowait(diff)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder)
    task = asyncio.create_task(daemon.reloader.run())
    try:
        async with asyncio.timeout(BOUND):
            yield daemon
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_nats_refused_is_tried_again_after_a_pause_until_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN_AFTER", 0.01)
    async with running(tmp_path) as daemon:
        daemon.faults = [BrokerAway("away"), Forbidden("not you"), Forbidden("not you")]
        daemon.write("second")

        assert (await daemon.reloader.reload("SIGHUP")).fault == "away"
        await daemon.applied.get()
        await daemon.reloader.reload("SIGHUP")  # its verdict comes after that one's

        assert daemon.reloader.stale is None
        refused = [it for it in caplog.records if "refused" in it.message]
        assert [vars(it)["error"] for it in refused] == ["away", "not you"]


async def test_what_nats_was_away_for_is_done_as_soon_as_it_is_back(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.faults = [BrokerAway("away")]
        daemon.write("second")
        await daemon.reloader.reload("SIGHUP")

        daemon.reloader.nats_is_up()
        await daemon.applied.get()


async def test_what_is_wrong_in_the_files_is_not_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        daemon.faults = [BrokerAway("away"), ConfigError("wrong")]
        daemon.write("second")
        await daemon.reloader.reload("SIGHUP")
        await daemon.reloader.reload("SIGHUP")
        daemon.reloader.nats_is_up()

        verdict = await daemon.reloader.reload("SIGHUP")
        assert verdict.why == "SIGHUP"
        assert verdict.plan, "somebody else had it done before"
