"""A server that cannot start replaces none that works."""

from pathlib import Path
from typing import Any

from tests import running
from tests.reloads import BOUND, THIN, edited
from tests.running import socket_client, text_of

BROKEN: dict[str, Any] = {"command": running.server("exits_before_initialize"), "start": "eager"}


def unix(folder: Path, name: str) -> dict[str, Any]:
    return {"unix": str(folder / f"{name}.sock"), "server": "a"}


async def test_an_eager_successor_that_cannot_start_refuses_the_whole_reload(
    tmp_path: Path,
) -> None:
    servers = {"a": {"command": THIN, "start": "eager"}, "gone": {"command": THIN}}
    async with edited(tmp_path, servers=servers, endpoints=[unix(tmp_path, "one")]) as files:
        caller = await socket_client(tmp_path / "one.sock")
        before = text_of(await caller.call("pid", bound=BOUND))
        endpoints = [unix(tmp_path, "one"), unix(tmp_path, "two")]
        files.edit(servers={"a": BROKEN, "more": {"command": THIN}}, endpoints=endpoints)

        reason = await files.refused()

        assert "server a: what is to replace it cannot start: " in reason
        status = await files.status()
        assert {one["name"] for one in status["servers"]} == {"a", "gone"}
        assert [one["unix"] for one in status["endpoints"]] == [str(tmp_path / "one.sock")]
        for _ in range(20):
            assert text_of(await caller.call("pid", bound=BOUND)) == before
        assert "a " in (await running.command(tmp_path, "list"))

        servers["a"] = {"command": THIN, "start": "eager", "env": {"VALUE": "new"}}
        files.edit(servers=servers)
        assert "~ server a" in await files.reloaded()
        assert text_of(await caller.call("pid", bound=BOUND)) != before
        await caller.close()


async def test_one_that_fails_may_be_replaced_by_another_that_does(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": BROKEN}) as files:
        files.edit(servers={"a": {**BROKEN, "env": {"VALUE": "new"}}})

        assert "~ server a" in await files.reloaded()


async def test_a_new_server_that_cannot_start_is_no_reason_to_refuse(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        changed = {"command": THIN, "env": {"VALUE": "new"}}
        files.edit(servers={"a": changed, "b": BROKEN})

        assert "+ server b" in await files.reloaded()
