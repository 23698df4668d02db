"""Two daemons that serve one name: they share the work, and either may go."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import running
from tests.faults import LATE, Bus, ask, bus, serving
from tests.running import Running, Shim, text_of

WARNING = "do not run the same command or version"


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Bus, Running, Running]]:
    async with bus(folder) as own, serving(own, "a") as a, serving(own, "b") as b:
        yield own, a, b


async def pids(shim: Shim, many: int) -> set[str]:
    return {text_of(await shim.call("pid", bound=LATE)) for _ in range(many)}


async def test_each_request_may_go_to_either(tmp_path: Path) -> None:
    async with pair(tmp_path) as (own, _, _):
        shim = await own.modern()
        assert len(await pids(shim, 50)) == 2


async def test_a_killed_one_takes_only_its_own_calls_along(tmp_path: Path) -> None:
    async with pair(tmp_path) as (own, a, _):
        shim, session = await own.modern(), await own.legacy()
        both = await pids(shim, 50)
        asked = {f"call{n}": ask(shim, "record", text=f"call{n}", seconds=2) for n in range(20)}
        await own.record.has(20, "call")

        a.kill()
        await a.ended()

        (alive,) = {text_of(await shim.call("pid", bound=LATE)) for _ in range(20)}
        assert alive in both
        held = [text for method, text in own.record.of(alive) if text.startswith("call")]
        assert held
        for text in held:
            assert text_of(await shim.answer(asked[text], LATE)) == text
        assert set(own.record.runs().values()) == {1} or own.record.runs()["first"] == 1
        assert max(own.record.runs()[f"call{n}"] for n in range(20)) == 1
        await session.close()


async def load(shim: Shim, name: str, era: str, stop: asyncio.Event) -> list[str]:
    """Call again and again; return what was called. Each call must be answered."""
    called = []
    for number in itertools.count():
        if stop.is_set():
            break
        text = f"{name}-{number}"
        given = {"text": text, "seconds": 0.05 * (number % 3)}
        response = await shim.call("record", era=era, bound=LATE, **given)
        assert text_of(response) == text
        called.append(text)
    return called


async def test_one_is_stopped_under_load_and_not_one_call_fails(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with pair(tmp_path) as (own, a, _):
        modern = [await own.modern() for _ in range(4)]
        legacy = [await own.legacy() for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            loads = [
                group.create_task(load(shim, f"{era}{number}", era, stop))
                for era, shims in (("modern", modern), ("legacy", legacy))
                for number, shim in enumerate(shims)
            ]
            await own.record.has(200)
            assert await a.stop() == 0
            await own.record.has(len(own.record.calls()) + 200)
            stop.set()

        called = [text for task in loads for text in task.result()]
        runs = own.record.runs()
        assert {text: runs[text] for text in called} == dict.fromkeys(called, 1)


async def test_long_calls_are_finished_before_one_stops(tmp_path: Path) -> None:
    async with pair(tmp_path) as (own, a, _):
        shims = [await own.modern() for _ in range(2)]
        sessions = [await own.legacy() for _ in range(4)]
        asked = [
            (shim, ask(shim, "record", era=era, text=f"long{number}", seconds=2))
            for number, (era, shim) in enumerate(
                [("modern", shim) for shim in shims * 3] + [("legacy", one) for one in sessions]
            )
        ]
        await own.record.has(len(asked), "long")

        assert await a.stop() == 0

        for number, (shim, id) in enumerate(asked):
            assert text_of(await shim.answer(id, LATE)) == f"long{number}"
            assert own.record.runs()[f"long{number}"] == 1


async def complaints(own: Bus) -> str:
    """Return what `mcpnatsd list` says beside its table."""
    process = await asyncio.create_subprocess_exec(
        running.PROGRAM, "list", "--nats", own.natsd.url,
        env=running.environment(own.folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(LATE):
        out, err = await process.communicate()
    assert process.returncode == os.EX_OK
    assert b"recorder" in out
    return err.decode()


async def test_instances_of_the_same_command_are_not_warned_of(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own, "a"):
        await own.modern()
        async with serving(own, "b"):  # it has not run its server yet
            assert WARNING not in await complaints(own)


async def test_instances_of_different_commands_are_warned_of(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own, "a"):
        more = {"recorder": [*own.record.command(), "--more"]}
        async with running.daemon(tmp_path / "b", more, nats_url=own.natsd.url):
            assert WARNING in await complaints(own)


async def test_one_whose_server_cannot_start_leaves_the_calls_to_the_other(tmp_path: Path) -> None:
    broken = {"recorder": [sys.executable, "-c", "raise SystemExit(3)"]}
    async with bus(tmp_path) as own, serving(own, "a"):
        shim = await own.modern()
        async with running.daemon(tmp_path / "b", broken, nats_url=own.natsd.url) as b:

            async def left() -> None:
                while not any("left to other instances" in line for line in b.log):
                    await shim.call("pid", bound=LATE)

            async with asyncio.timeout(LATE):
                await left()
            assert len(await pids(shim, 20)) == 1


FRAIL = "import os, sys; os.path.exists(sys.argv[1]) or os.execv(sys.argv[2], sys.argv[2:])"
"""A program that runs another, unless a file is there."""


async def test_one_whose_server_can_start_again_takes_calls_again(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    async with bus(tmp_path) as own, serving(own, "a"):
        shim = await own.modern()
        (other,) = await pids(shim, 1)
        frail = [sys.executable, "-c", FRAIL, str(broken), *own.record.command()]
        async with running.daemon(tmp_path / "b", {"recorder": frail}, nats_url=own.natsd.url) as b:
            (pid,) = await pids(shim, 50) - {other}
            broken.touch()
            os.kill(int(pid), signal.SIGKILL)
            async with asyncio.timeout(LATE):
                while not any("left to other instances" in line for line in b.log):
                    await shim.call("pid", bound=LATE)
            await b.said("server cannot be started", since=len(b.log), bound=LATE)
            broken.unlink()
            async with asyncio.timeout(LATE):
                while await pids(shim, 1) == {other}:
                    pass
