"""The two commands of the front page: the demo's file is right, runs, and ends with Ctrl-C."""

import asyncio
import os
import signal
from pathlib import Path

from tests import peers
from tests.running import PROGRAM, environment, verb

BOUND = 60.0
DEMO = peers.ROOT / "etc" / "demo.yaml"
MARK = "MCPNATSD_TEST_MARK"


def descendants(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found


async def test_the_demo_is_valid(tmp_path: Path) -> None:
    done = await verb(tmp_path, "check", "--config", str(DEMO))

    assert (done.code, done.err) == (0, "")
    assert "1 server" in done.out


async def test_the_demo_runs_is_called_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    mark = str(tmp_path)
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "run", "--config", str(DEMO), cwd=peers.ROOT, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env={**environment(tmp_path), MARK: mark},
    )  # fmt: skip
    try:
        banner = await read_banner(process)
        called = await verb(tmp_path, "call", "time", "get_current_time", "timezone=UTC")
        os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(BOUND):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert "get_current_time" in banner
    assert "connect time" in banner
    assert (called.code, called.err) == (0, "")
    assert '"timezone": "UTC"' in called.out
    assert code == 0
    assert descendants(mark) == []
    assert list((tmp_path / "run").glob("*.json")) == []


async def read_banner(process: asyncio.subprocess.Process) -> str:
    """Return what it greets a person with."""
    assert process.stdout is not None
    async with asyncio.timeout(BOUND):
        return (await process.stdout.readuntil(b"Ctrl-C")).decode()
