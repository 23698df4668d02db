"""A reload: what it changes, what it leaves alone, and what it refuses."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests import running
from tests.processes import gone
from tests.reloads import BOUND, THIN, Edited, edited, has_pid
from tests.running import Shim, SocketClient, socket_client, text_of


def endpoint(folder: Path, server: str) -> dict[str, str]:
    return {"unix": str(folder / f"{server}.sock"), "server": server}


async def client(folder: Path, server: str) -> SocketClient:
    return await socket_client(folder / f"{server}.sock")


async def pid_of(caller: Shim) -> str:
    return text_of(await caller.call("pid", bound=BOUND))


LEGACY = running.server("thin", "legacy")


def with_env(value: str, **more: Any) -> dict[str, Any]:
    return {"command": THIN, "env": {"VALUE": value}, **more}


# Bad paths first.


async def test_a_file_that_is_wrong_is_refused_with_its_line_and_what_ran_runs_on(
    tmp_path: Path,
) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        caller = await running.shim(tmp_path, "a")
        before = await pid_of(caller)
        files.write("servers:\n  a:\n    comand: [x]\n")

        assert f"{files.path}:3:5: servers.a.comand: unknown key" in await files.refused()

        page = await running.command(tmp_path, "status")
        assert "what the files say now is not what runs:" in page
        assert f"{files.path}:3:5" in page
        assert "a restart would fail until this is right" in page
        assert await pid_of(caller) == before

        files.edit()
        await files.reloaded()
        after = (await files.status())["reload"]
        assert (after["stale"], after["restart_would_fail"]) == (None, False)
        await caller.close()


async def test_a_program_that_is_not_there_refuses_the_whole_reload(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        servers = {"a": with_env("new"), "b": {"command": ["no-such-program"]}}
        files.edit(servers=servers, endpoints=[endpoint(tmp_path, "a")])

        reason = await files.refused()

        assert "server b: there is no program no-such-program" in reason
        assert [one["name"] for one in (await files.status())["servers"]] == ["a"]
        assert (await files.status())["endpoints"] == []
        assert not (tmp_path / "a.sock").exists()


async def test_a_folder_that_is_not_there_refuses_it_too(tmp_path: Path) -> None:
    async with edited(tmp_path) as files:
        files.edit(servers={"b": {"command": THIN, "cwd": str(tmp_path / "nowhere")}})

        assert f"server b: there is no folder {tmp_path / 'nowhere'}" in await files.refused()


async def test_what_needs_a_restart_is_named_and_nothing_else_is_done(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        nats = {"embedded": {}, "prefix": "other"}
        files.edit(name="other", nats=nats, servers={"a": {"command": THIN}, "b": THIN_B})

        reason = await files.refused()

        assert "a reload cannot change name, nats.prefix: restart the daemon" in reason
        assert [one["name"] for one in (await files.status())["servers"]] == ["a"]


THIN_B: dict[str, Any] = {"command": THIN}


async def test_one_server_in_two_files_is_refused_and_both_are_named(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        second = files.drop_in("10-a.yaml", servers={"a": {"command": THIN}})

        reason = await files.refused()

        assert f"{second}:2:3: servers.a: stands in {files.path}:" in reason


async def test_a_verdict_is_json_for_programs(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        files.write("nonsense: 1\n")
        refused = await running.verb(tmp_path, "reload", "--json")

        assert refused.code == 1
        assert '"ok": false' in refused.out
        assert "unknown key" in refused.out


# What it does.


async def test_servers_come_and_go_and_the_others_are_not_touched(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        caller = await running.shim(tmp_path, "a")
        before = await pid_of(caller)
        drop_in = files.drop_in("b.yaml", servers={"b": {"command": THIN}})

        assert "+ server b" in await files.reloaded()
        other = await running.shim(tmp_path, "b")
        added = int(await pid_of(other))

        drop_in.unlink()
        assert "- server b" in await files.reloaded()
        await gone(added)
        response = await other.call("pid", bound=BOUND)
        assert response["error"]["code"] == -31001
        assert "nobody serves 'b'" in response["error"]["message"]
        assert await pid_of(caller) == before
        assert "nothing changed" in await files.reloaded()
        await caller.close()
        await other.close()


async def test_a_changed_server_has_another_process_and_the_plan_names_the_settings(
    tmp_path: Path,
) -> None:
    servers = {"a": with_env("old")}
    async with edited(tmp_path, servers=servers) as files:
        caller = await running.shim(tmp_path, "a")
        before = await pid_of(caller)
        files.edit(servers={"a": with_env("new", limits={"call_timeout": 60})})

        assert "~ server a (env, limits.call_timeout)" in await files.reloaded()

        assert text_of(await caller.call("env", name="VALUE", bound=BOUND)) == "new"
        await gone(int(before))
        await caller.close()


async def test_a_call_that_runs_in_a_changed_server_gets_its_answer_from_the_old_process(
    tmp_path: Path,
) -> None:
    async with edited(tmp_path, servers={"a": with_env("old")}) as files:
        caller = await running.shim(tmp_path, "a")
        before = await pid_of(caller)
        asked = caller.modern("tools/call", name="sleep", arguments={"seconds": 6})
        await _in_flight(files, 1)
        files.edit(servers={"a": with_env("new")})
        await files.reloaded()

        assert [one["state"] for one in (await files.status())["leaving"]] == ["draining"]
        assert await pid_of(caller) != before
        assert "result" in await caller.answer(asked, BOUND)
        await gone(int(before))
        await caller.close()


async def test_a_legacy_session_finishes_what_is_open_and_goes_on_in_the_new_process(
    tmp_path: Path,
) -> None:
    command = running.server("thin", "legacy")
    servers = {"a": {"command": command, "env": {"VALUE": "old"}}}
    async with edited(tmp_path, servers=servers) as files:
        caller = await running.shim(tmp_path, "a")
        await caller.initialize(BOUND)
        before = text_of(await caller.call("pid", era="legacy", bound=BOUND))
        asked = caller.legacy("tools/call", name="sleep", arguments={"seconds": 3})
        await _in_flight(files, 1)
        files.edit(servers={"a": {"command": command, "env": {"VALUE": "new"}}})
        await files.reloaded()

        assert "result" in await caller.answer(asked, BOUND)
        await gone(int(before))
        told = await caller.call("env", era="legacy", name="VALUE", bound=BOUND)
        assert text_of(told) == "new"
        await caller.close()


async def test_a_changed_server_gives_up_a_session_after_30_s_and_a_modern_call_not_that_soon(
    tmp_path: Path,
) -> None:
    def configured(value: str) -> dict[str, Any]:
        return {"a": with_env(value), "old": {**with_env(value), "command": LEGACY}}

    async with edited(tmp_path, servers=configured("0")) as files:
        modern, legacy = await running.shim(tmp_path, "a"), await running.shim(tmp_path, "old")
        await legacy.initialize(BOUND)
        answered = modern.modern("tools/call", name="sleep", arguments={"seconds": 33})
        lost = legacy.legacy("tools/call", name="sleep", arguments={"seconds": 600})
        await _in_flight(files, 2)
        files.edit(servers=configured("1"))
        await files.reloaded()

        fault = (await legacy.answer(lost, BOUND))["error"]
        assert fault["data"] == {"outcome": "unknown"}, fault
        assert [one["name"] for one in (await files.status())["leaving"]] == ["a"]
        assert "result" in await modern.answer(answered, BOUND)
        async with asyncio.timeout(BOUND):
            while (await files.status())["leaving"]:
                pass
        assert text_of(await modern.call("env", name="VALUE", bound=BOUND)) == "1"
        told = await legacy.call("env", era="legacy", name="VALUE", bound=BOUND)
        assert text_of(told) == "1"
        await modern.close()
        await legacy.close()


async def test_a_server_removed_while_it_answers_finishes_first(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        caller = await running.shim(tmp_path, "a")
        asked = caller.modern("tools/call", name="sleep", arguments={"seconds": 2})
        await _in_flight(files, 1)
        files.edit(servers={})

        assert "- server a" in await files.reloaded()
        assert "result" in await caller.answer(asked, BOUND)
        await caller.close()


async def test_sighup_reloads(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        files.edit(servers={"a": {"command": THIN}, "b": {"command": THIN}})
        files.daemon.process.send_signal(signal.SIGHUP)

        await files.daemon.said('plan="+ server b"')


async def test_many_who_ask_at_once_all_get_a_verdict(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        ended = await asyncio.gather(*(files.reload() for _ in range(5)))

        assert [one.code for one in ended] == [0] * 5


async def test_the_log_level_can_change(tmp_path: Path) -> None:
    async with edited(tmp_path) as files:
        files.edit(log={"level": "error"})
        assert "~ log (level)" in await files.reloaded()
        files.edit(log={"level": "error"}, servers={"a": {"command": THIN}})
        await files.reloaded()
        files.edit(log={"level": "info"})
        await files.reloaded()

        await files.daemon.said('plan="~ log (level)"')
        assert not [line for line in files.daemon.log if "+ server a" in line]


async def test_a_server_that_never_had_a_drop_in_folder_gets_one(tmp_path: Path) -> None:
    """The folder is made while the daemon runs, and found without being asked for."""
    async with edited(tmp_path) as files:
        files.drop_in("late.yaml", servers={"late": {"command": THIN}})

        await files.daemon.said('plan="+ server late"')


async def test_a_process_of_the_same_pid_serves_before_and_after_a_reload_of_another(
    tmp_path: Path,
) -> None:
    servers = {"a": {"command": THIN}, "b": with_env("0")}
    endpoints = [endpoint(tmp_path, "a"), endpoint(tmp_path, "b")]
    async with edited(tmp_path, servers=servers, endpoints=endpoints) as files:
        a, b = await client(tmp_path, "a"), await client(tmp_path, "b")
        first, second = await pid_of(a), await pid_of(b)
        files.edit(servers={**servers, "b": with_env("1")})
        await files.reloaded()

        assert await has_pid(b, second) != second
        assert await pid_of(a) == first
        await a.close()
        await b.close()


async def _in_flight(files: Edited, many: int) -> None:
    async with asyncio.timeout(BOUND):
        while sum(one["in_flight"] for one in (await files.status())["servers"]) < many:
            continue
