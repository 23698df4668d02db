"""What a reload may not undo any more, and what it must not take from others."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests import running
from tests.natsd import NatsServer
from tests.probing import LISTEN, address_of, becomes
from tests.reloads import BOUND, THIN, edited
from tests.running import text_of


async def test_a_slow_server_that_is_added_leaves_the_daemon_ready(tmp_path: Path) -> None:
    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    servers = {"a": {"command": THIN}}
    async with edited(tmp_path, servers=servers, metrics=LISTEN) as files:
        address = await address_of(files.daemon)
        await becomes(address, "/readyz", 200)
        files.edit(servers={**servers, "slow": {"command": silent, "start": "eager"}})
        await files.reloaded()

        line = await becomes(address, "/readyz", 200, "servers: 2")
        assert "slow: is starting" in line


async def test_a_runtime_file_that_cannot_be_renewed_does_not_refuse_what_nats_took(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with NatsServer(tmp_path / "natsd") as natsd, NatsServer(tmp_path / "other") as other:
        nats, servers = {"url": natsd.url}, {"a": {"command": THIN}}
        async with edited(folder, nats=nats, servers=servers) as files:
            (runtime,) = (folder / "run").glob("*.json")
            somebody = json.loads(runtime.read_text()) | {"pid": os.getpid(), "began": None}
            runtime.write_text(json.dumps(somebody))
            files.edit(nats={"url": other.url}, servers={**servers, "b": {"command": THIN}})

            await files.daemon.said("not told of the move")
            await files.daemon.said("reloaded")

            async with await running.shim(folder, "b", "--nats", other.url) as caller:
                assert text_of(await caller.call("echo", text="here", bound=BOUND)) == "here"
            assert (await files.status())["reload"]["stale"] is None


async def test_what_nats_was_away_for_is_taken_over_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with NatsServer(tmp_path / "natsd") as natsd:
        nats, servers = {"url": natsd.url}, {"a": {"command": THIN}}
        async with edited(folder, nats=nats, servers=servers) as files:
            natsd.kill()
            await files.daemon.said("NATS is away")
            files.edit(nats={**nats, "token": "new"}, servers={**servers, "b": {"command": THIN}})
            await files.daemon.said("reload refused")  # by who watches the files: nobody else asks
            natsd.start()

            async with asyncio.timeout(BOUND):
                while (await files.status())["reload"]["stale"] is not None:
                    pass
            assert [one["name"] for one in (await files.status())["servers"]] == ["a", "b"]
