"""No server outlives the daemon, and nothing outlives its server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcpnatsd.backends.reaper import Reaper, open_reaper
from mcpnatsd.errors import ProcessDied
from tests.integration.backends.owner import MIB, Owner, all_gone, is_gone, spec_of
from tests.waiting import until

ROOT = Path(__file__).parents[3]


async def start_family(reaper: Reaper, *args: str) -> tuple[Owner, list[int]]:
    owner = Owner()
    process = await owner.start(reaper, spec_of("grandchildren", *args))
    message = await owner.message()
    pids = [int(str(pid)) for pid in message["params"]["pids"]]
    assert not any(map(is_gone, pids))
    return owner, [process.pid, *pids]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_outlives_a_daemon_that_is_killed(sig: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.integration.backends.driver"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as daemon:
        assert daemon.stdout is not None
        pids = json.loads(daemon.stdout.readline())
        assert len(pids) == 9
        assert not any(map(is_gone, pids))

        daemon.send_signal(sig)

        await all_gone(pids)


@pytest.mark.parametrize("args", [(), ("bare",)])
async def test_nothing_outlives_a_server_that_is_stopped(
    reaper: Reaper, args: tuple[str, ...]
) -> None:
    owner, pids = await start_family(reaper, *args)

    assert (await owner.process.stop()).status == 0

    await all_gone(pids)


@pytest.mark.parametrize("args", [(), ("bare",)])
async def test_nothing_outlives_a_server_that_is_killed(
    reaper: Reaper, args: tuple[str, ...]
) -> None:
    """Another server lives, so that whose a process is must be known before the kill."""
    _, others = await start_family(reaper)
    owner, pids = await start_family(reaper, *args)

    owner.process.kill()

    await all_gone(pids)
    assert not any(map(is_gone, others))


async def test_nothing_outlives_a_server_that_crashes(reaper: Reaper) -> None:
    _, others = await start_family(reaper)
    owner, pids = await start_family(reaper)

    os.kill(pids[0], signal.SIGSEGV)

    await all_gone(pids)
    assert (await owner.end()).signal == "SIGSEGV"
    assert not any(map(is_gone, others))


async def test_nothing_outlives_a_server_that_exits_at_once(reaper: Reaper) -> None:
    owner = Owner()
    process = await owner.start(reaper, spec_of("grandchildren", "exit"))

    assert (await owner.end()).status == 0

    message = await owner.message()
    await all_gone([process.pid, *(int(str(pid)) for pid in message["params"]["pids"])])


async def test_closing_ends_everything() -> None:
    async with open_reaper() as reaper:
        families = [await start_family(reaper, *args) for args in ((), ("bare",))]
        pids = [pid for _, family in families for pid in family]
        program = reaper.pid
    assert program is not None
    assert all(map(is_gone, [program, *pids]))
    for owner, _ in families:
        assert (await owner.end()).signal == "SIGKILL"


async def test_a_dead_reaper_takes_its_servers_along_and_is_replaced(reaper: Reaper) -> None:
    owner, pids = await start_family(reaper)
    first = reaper.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    end = await owner.end()
    assert (end.status, end.signal) == (None, None)
    assert end.sentence() == "was lost with its reaper"
    [server, shell, escaped, sleeper] = pids
    await all_gone([server, shell, sleeper])
    os.kill(escaped, signal.SIGKILL)  # the one thing that nobody is left to find
    again = Owner()
    await again.start(reaper, spec_of("thin"))
    assert reaper.pid != first
    again.call("echo", text="back")
    assert await again.answer() == "back"


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_reaper_ends_with_the_daemon_only(reaper: Reaper, sig: signal.Signals) -> None:
    owner = Owner()
    await owner.start(reaper, spec_of("thin"))
    assert reaper.pid is not None

    os.kill(reaper.pid, sig)

    owner.call("echo", text="still here")
    assert await owner.answer() == "still here"
    assert os.getsid(reaper.pid) == reaper.pid


async def test_the_reaper_is_small_and_holds_nothing(reaper: Reaper) -> None:
    owners = [Owner() for _ in range(5)]
    for owner in owners:
        await owner.start(reaper, spec_of("never_reads", command=("/bin/sleep", "1000")))

    assert reaper.pid is not None
    files = Path(f"/proc/{reaper.pid}/fd")
    assert len(list(files.iterdir())) == 6  # three streams, the socket, and the pipe of SIGCHLD
    statm = Path(f"/proc/{reaper.pid}/statm").read_text(encoding="ascii")
    assert int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE") < 16 * MIB


async def test_nothing_runs_before_the_first_server(reaper: Reaper) -> None:
    assert reaper.pid is None


async def test_an_end_at_once_is_told_after_the_start(reaper: Reaper) -> None:
    for _ in range(20):
        owner = Owner()
        await owner.start(reaper, spec_of("sh", command=("/bin/sh", "-c", "echo '{}'; exit 1")))
        await owner.end()
        assert owner.heard == ["line", "exit"]


async def test_many_servers_start_at_the_same_time(reaper: Reaper) -> None:
    owners = [Owner() for _ in range(30)]
    spec = spec_of("cat", command=("/bin/cat",))
    await asyncio.gather(*(owner.start(reaper, spec) for owner in owners))
    for number, owner in enumerate(owners):
        owner.process.write(b"[%d]" % number)

    await until(lambda: all(owner.lines for owner in owners))

    assert [owner.lines for owner in owners] == [[b"[%d]" % n] for n in range(30)]
    ends = await asyncio.gather(*(owner.process.stop() for owner in owners))
    assert {end.status for end in ends} == {0}


async def test_large_environments_do_not_fit_the_socket_and_arrive(reaper: Reaper) -> None:
    owners = [Owner() for _ in range(20)]
    env = {f"V{n}": "x" * 100_000 for n in range(10)}
    spec = spec_of("cat", command=("/bin/cat",), env=env)

    await asyncio.gather(*(owner.start(reaper, spec) for owner in owners))

    for owner in owners:
        owner.process.write(b"{}")
    await until(lambda: all(owner.lines for owner in owners))


async def test_a_start_that_is_cancelled_leaves_nothing(reaper: Reaper) -> None:
    warm = Owner()
    await warm.start(reaper, spec_of("thin"))
    before = open_files()
    for passes in range(12):
        starting = asyncio.ensure_future(Owner().start(reaper, spec_of("never_reads")))
        for _ in range(passes):
            await asyncio.sleep(0)
        starting.cancel()
        done, _ = await asyncio.wait([starting], timeout=5)
        assert done
        if not starting.cancelled():
            starting.result().kill()

    await until(lambda: open_files() == before)
    children = Path(f"/proc/{reaper.pid}/task/{reaper.pid}/children")
    await until(lambda: children.read_text(encoding="ascii").split() == [str(warm.process.pid)])


async def test_starts_that_fail_leave_no_open_files(reaper: Reaper) -> None:
    await Owner().start(reaper, spec_of("thin"))
    before = open_files()
    for _ in range(10):
        with pytest.raises(ProcessDied):
            await Owner().start(reaper, spec_of("thin", command=("/no/such/program",)))

    await until(lambda: open_files() == before)
