"""The shim, as its host sees it: quick, quiet, and legible when NATS or the server is away."""

import asyncio
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.natsd import NatsServer
from tests.running import (
    META,
    PROGRAM,
    Running,
    Shim,
    daemon,
    encoded,
    environment,
    server,
    shim,
    text_of,
)
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
HEAVY = {"mcp", "mcp_types", "pydantic", "jsonschema", "yaml", "watchfiles", "aiohttp"}
SERVERS = {"thin": server("thin"), "old": server("thin", "legacy")}
BOTH_ERAS = pytest.mark.parametrize(("name", "era"), [("thin", "modern"), ("old", "legacy")])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with daemon(tmp_path_factory.mktemp("shim"), SERVERS) as running:
        yield running


async def rest_of(host: Shim) -> bytes:
    """Return what it still writes, once it has ended."""
    assert host.process.stdout is not None
    async with asyncio.timeout(BOUND):
        return await host.process.stdout.read()


# NATS comes, goes and returns.


async def test_a_shim_may_start_before_nats_does(tmp_path: Path) -> None:
    """It answers legibly meanwhile, and works once there is somebody to work with."""
    with NatsServer(tmp_path / "natsd") as natsd:
        natsd.kill()
        flags = ["--nats", natsd.url]
        async with (
            await shim(tmp_path, "thin", *flags) as new,
            await shim(tmp_path, "old", *flags) as old,
        ):
            refused = await asyncio.gather(
                new.call("echo", bound=BOUND, text=""), old.initialize(BOUND)
            )
            pinged = [await host.answer(host.legacy("ping")) for host in (new, old)]
            natsd.start()
            async with daemon(tmp_path, SERVERS, nats_url=natsd.url):
                await welcomed(old)
                works = [await old.call("echo", era="legacy", text="hi"), await served(new)]

    assert [one["error"]["code"] for one in refused] == [-31005, -31005]
    assert {one["error"]["data"]["outcome"] for one in refused} == {"not-executed"}
    assert [one["result"] for one in pinged] == [{}, {}]
    assert [text_of(one) for one in works] == ["hi", "hi"]


async def served(host: Shim) -> dict[str, Any]:
    """Call until the shim has found NATS, and NATS the daemon."""
    async with asyncio.timeout(BOUND):
        while "error" in (answer := await host.call("echo", bound=BOUND, text="hi")):
            await asyncio.sleep(0.2)
    return answer


async def welcomed(host: Shim) -> None:
    """Shake hands, as often as a patient client does."""
    async with asyncio.timeout(BOUND):
        while "error" in await host.initialize(BOUND):
            await asyncio.sleep(0.2)


@BOTH_ERAS
async def test_a_shim_finds_its_way_back_and_says_so_once(
    tmp_path: Path, natsd: NatsServer, name: str, era: str
) -> None:
    async with (
        daemon(tmp_path, SERVERS, nats_url=natsd.url) as running,
        await shim(tmp_path, name) as host,
    ):
        if era == "legacy":
            await host.initialize()
        assert text_of(await host.call("echo", era=era, text="before")) == "before"
        already = len(running.log)
        natsd.restart()
        await host.said("back")
        await running.said("NATS is up", since=already)

        assert text_of(await host.call("echo", era=era, bound=BOUND, text="after")) == "after"
        assert len([line for line in host.log if "back" in line]) == 1
        assert len(host.log) <= 2, host.log


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_unknown_server_is_said_to_be_at_once(bridge: Running, era: str) -> None:
    async with await shim(bridge.folder, "nowhere") as host:
        answer = await (host.initialize(5) if era == "legacy" else host.call("echo", bound=5))

    assert answer["error"]["code"] == -31001
    assert "nowhere" in answer["error"]["message"]


async def test_a_name_that_names_no_server_is_a_mistake_in_the_hosts_file(tmp_path: Path) -> None:
    async with await shim(tmp_path, "a.b>c") as host:
        assert await host.ended() == 64
        assert await rest_of(host) == b""
        await until(lambda: host.log)

    assert "names no server" in host.log[0]


# How it ends.


@BOTH_ERAS
async def test_it_ends_when_its_host_closes_stdin(bridge: Running, name: str, era: str) -> None:
    """Answers that are on their way are still delivered."""
    async with await shim(bridge.folder, name) as host:
        if era == "legacy":
            await host.initialize()
        send = host.modern if era == "modern" else host.legacy
        asked = send("tools/call", name="sleep", arguments={"seconds": 0.5})
        assert host.process.stdin is not None
        host.process.stdin.close()

        assert text_of(await host.answer(asked)) == "slept"
        assert await rest_of(host) == b""
        assert await host.ended() == 0
        assert host.log == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_a_call_in_flight(
    bridge: Running, number: signal.Signals
) -> None:
    async with await shim(bridge.folder, "thin") as host:
        await host.call("echo", text="")
        host.modern("tools/call", name="sleep", arguments={"seconds": 600})
        await host.call("echo", text="")
        host.process.send_signal(number)

        assert await host.ended() == 0
        assert await rest_of(host) == b""


async def test_a_signal_ends_it_while_nats_is_away(tmp_path: Path) -> None:
    async with await shim(tmp_path, "thin", "--nats", "nats://127.0.0.1:1") as host:
        await host.answer(host.legacy("ping"))
        host.process.terminate()

        assert await host.ended() == 0


async def test_it_ends_when_its_host_is_killed(bridge: Running) -> None:
    """A host that dies may leave its pipes open in somebody else's hands."""
    program = str(Path(sys.executable).with_name("mcpnatsd"))
    script = f"{program} connect thin <&3 & echo $!; wait"
    reading, writing = os.pipe()
    host = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec 3<&{reading}; {script}", pass_fds=[reading],
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        env=environment(bridge.folder),
    )  # fmt: skip
    try:
        assert host.stdout is not None
        pid = int(await host.stdout.readline())
        os.write(writing, b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        assert b'"result"' in await asyncio.wait_for(host.stdout.readline(), BOUND)
        host.kill()
        await host.wait()
        await until(lambda: not Path(f"/proc/{pid}").exists(), BOUND)
    finally:
        os.close(reading)
        os.close(writing)


# What it costs.


def imported(errors: str) -> set[str]:
    """Return the packages that `-X importtime` tells of: those of which a part came too."""
    names = re.findall(r"^import time:.*\|\s+([\w.]+)\.\w+$", errors, re.MULTILINE)
    return {name.partition(".")[0] for name in names}


async def test_help_imports_nothing_that_is_not_needed(tmp_path: Path) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "mcpnatsd", "connect", "--help"]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=True, env=environment(tmp_path), timeout=BOUND
    )

    assert "--nats" in done.stdout
    assert "mcpnatsd" in imported(done.stderr)
    assert not imported(done.stderr) & {*HEAVY, "nats", "msgspec", "uvloop", "asyncio"}


@BOTH_ERAS
async def test_a_real_connect_imports_nothing_heavy(bridge: Running, name: str, era: str) -> None:
    async with await shim(bridge.folder, name, PYTHONPROFILEIMPORTTIME="1") as host:
        if era == "legacy":
            await host.initialize()
        assert text_of(await host.call("echo", era=era, text="hi")) == "hi"
        assert await host.stop() == 0
        found = imported("\n".join(host.log))

    assert {"mcpnatsd", "nats", "msgspec"} <= found
    assert not found & HEAVY


async def test_a_host_that_reads_late_gets_the_last_answer_whole(tmp_path: Path) -> None:
    """It may close our stdin as soon as it has asked, and take its time over the answer."""
    asked = {"name": "big", "arguments": {"bytes": 2_000_000}, "_meta": META}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
    async with daemon(tmp_path, {"thin": server("thin")}):
        ours, theirs = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *[PROGRAM, "connect", "thin"],
            stdin=asyncio.subprocess.PIPE,
            stdout=theirs,
            env=environment(tmp_path),
        )
        os.close(theirs)
        with os.fdopen(ours, "rb") as answers:
            assert process.stdin is not None
            process.stdin.write(encoded(request))
            process.stdin.close()
            await until(lambda: unread(ours) >= 65_536, 20.0)

            line = await asyncio.to_thread(answers.read)

        assert len(json.loads(line)["result"]["content"][0]["text"]) == 2_000_000
        assert await process.wait() == 0


def unread(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    [size] = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(size)
