"""A reload while NATS is away: nobody can be told, so nobody may be left behind."""

import asyncio
from pathlib import Path

from tests import running
from tests.natsd import NatsServer
from tests.reloads import BOUND, edited
from tests.running import text_of


async def test_a_legacy_session_goes_on_in_the_new_process_once_nats_is_back(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    command = running.server("thin", "legacy")
    with NatsServer(tmp_path / "natsd") as natsd:
        nats, old = {"url": natsd.url}, {"a": {"command": command}}
        async with (
            edited(folder, nats=nats, servers=old) as files,
            await running.shim(folder, "a") as caller,
        ):
            await caller.initialize()
            before = text_of(await caller.call("pid", era="legacy"))
            natsd.kill()
            await files.daemon.said("NATS is away")
            files.edit(servers={"a": {"command": command, "env": {"VALUE": "new"}}})
            await files.reloaded()
            natsd.start()
            await files.daemon.said("NATS is up", since=len(files.daemon.log))
            await caller.said("NATS is back")

            # Not one call fails. The first may still be answered by the old process.
            async with asyncio.timeout(BOUND):
                while text_of(await caller.call("pid", era="legacy", bound=BOUND)) == before:
                    pass
