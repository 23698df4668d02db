"""Another NATS, or other credentials: proven first, and not one call is lost by going over."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

from mcpnatsd.daemon.fresh import FRESH_FOR
from tests import running
from tests.natsd import NatsServer
from tests.reloads import BOUND, THIN, Edited, Load, edited
from tests.running import SocketClient, socket_client, text_of
from tests.waiting import until

USERS = """
authorization {
  users: [
    { user: one, password: first }
    { user: two, password: second }
    { user: caller, password: third }
  ]
}
"""


def as_user(natsd: NatsServer, user: str, password: str) -> dict[str, Any]:
    return {"url": natsd.url, "user": user, "password": password}


@asynccontextmanager
async def serving(folder: Path, nats: Mapping[str, Any]) -> AsyncIterator[Edited]:
    """Run a daemon with one server and an endpoint for it."""
    endpoints = [{"unix": str(folder / "a.sock"), "server": "a"}]
    folder.mkdir()
    async with edited(
        folder, nats=dict(nats), servers={"a": {"command": THIN}}, endpoints=endpoints
    ) as files:
        yield files


async def local(files: Edited) -> SocketClient:
    return await socket_client(files.folder / "a.sock")


async def pid_of(caller: Any) -> str:
    return text_of(await caller.call("pid", bound=BOUND))


async def test_credentials_that_are_refused_change_nothing(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "natsd", USERS) as natsd:
        async with serving(tmp_path / "d", as_user(natsd, "one", "first")) as files:
            caller = await local(files)
            before = await pid_of(caller)
            files.edit(nats=as_user(natsd, "one", "wrong"))

            assert "NATS refuses us" in await files.refused()

            assert await pid_of(caller) == before
            status = await files.status()
            assert status["nats"]["connected"]
            assert "NATS refuses us" in status["reload"]["stale"]
            await caller.close()


async def test_credentials_that_were_good_outlive_nats_while_the_file_holds_wrong_ones(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "natsd", USERS) as natsd:
        async with serving(tmp_path / "d", as_user(natsd, "one", "first")) as files:
            caller = await local(files)
            before = await pid_of(caller)
            files.edit(nats=as_user(natsd, "one", "wrong"))
            assert "NATS refuses us" in await files.refused()

            now = asyncio.get_running_loop().time
            until_read = now() + 2 * FRESH_FOR
            while now() < until_read:
                natsd.restart()
                assert await pid_of(caller) == before
            assert (await files.status())["reload"]["stale"]
            await caller.close()


async def test_a_nats_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "natsd") as natsd, NatsServer(tmp_path / "other") as other:
        async with serving(tmp_path / "d", {"url": natsd.url}) as files:
            caller = await local(files)
            before = await pid_of(caller)
            other.stop()
            files.edit(nats={"url": other.url})

            assert "NATS is away" in await files.refused()
            assert await pid_of(caller) == before
            await caller.close()


async def test_other_credentials_are_taken_and_not_one_call_fails(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "natsd", USERS) as natsd:
        async with serving(tmp_path / "d", as_user(natsd, "one", "first")) as files:
            remote = await running.shim(
                tmp_path / "d", "a", "--nats", natsd.url, "--user", "caller", "--password", "third"
            )
            inside, outside = Load(client := await local(files), 200), Load(remote, 100)
            async with asyncio.TaskGroup() as group:
                for load in (inside, outside):
                    group.create_task(load.run())
                for user, password in [("two", "second"), ("one", "first")] * 4:
                    files.edit(nats=as_user(natsd, user, password))
                    assert "~ nats (user, password)" in await files.reloaded()
                    before = inside.answered, outside.answered
                    await until(lambda b=before: inside.answered > b[0] + 20, BOUND)
                    await until(lambda b=before: outside.answered > b[1] + 10, BOUND)
                inside.stop()
                outside.stop()

            assert inside.failed == []
            assert outside.failed == []
            assert natsd.said("authentication error") == 0
            await client.close()
            await remote.close()


async def test_a_call_that_runs_while_nats_changes_is_answered(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "natsd", USERS) as natsd:
        async with serving(tmp_path / "d", as_user(natsd, "one", "first")) as files:
            remote = await running.shim(
                tmp_path / "d", "a", "--nats", natsd.url, "--user", "caller", "--password", "third"
            )
            inside = await local(files)
            asked = [
                one.modern("tools/call", name="sleep", arguments={"seconds": 3})
                for one in (inside, remote)
            ]
            async with asyncio.timeout(BOUND):
                while (await files.status())["servers"][0]["in_flight"] < 2:
                    continue
            files.edit(nats=as_user(natsd, "two", "second"))
            await files.reloaded()

            assert "result" in await inside.answer(asked[0], BOUND)
            assert "result" in await remote.answer(asked[1], BOUND)
            await inside.close()
            await remote.close()


async def test_a_password_in_a_file_is_renewed_without_being_asked_for(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    with NatsServer(tmp_path / "natsd", USERS) as natsd:
        nats = as_user(natsd, "one", f"${{file:{secret}}}")
        async with serving(tmp_path / "d", nats) as files:
            caller = await local(files)
            before = await pid_of(caller)
            natsd.reload(USERS.replace("first", "renewed"))
            (tmp_path / "fresh").write_text("renewed")
            (tmp_path / "fresh").replace(secret)

            async with asyncio.timeout(BOUND):
                while (await files.status())["nats"]["connected"] is False:
                    continue
            assert await pid_of(caller) == before
            await caller.close()


async def test_another_nats_altogether_is_gone_over_to(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "one") as one, NatsServer(tmp_path / "two") as two:
        async with serving(tmp_path / "d", {"url": one.url}) as files:
            inside = Load(client := await local(files), 100)
            async with asyncio.TaskGroup() as group:
                group.create_task(inside.run())
                await until(lambda: inside.answered > 20, BOUND)
                files.edit(nats={"url": two.url})
                assert "~ nats (url)" in await files.reloaded()
                before = inside.answered
                await until(lambda: inside.answered > before + 20, BOUND)
                inside.stop()

            assert inside.failed == []
            await client.close()
            # Whoever looks for the daemon finds the NATS where it is now.
            found = await running.shim(tmp_path / "d", "a")
            assert (await files.status())["nats"]["url"] == two.url
            assert await pid_of(found)
            await found.close()


async def test_a_daemon_whose_nats_never_came_goes_over_to_one_that_is_there(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "one") as one, NatsServer(tmp_path / "two") as two:
        one.stop()
        async with serving(tmp_path / "d", {"url": one.url}) as files:
            files.edit(nats={"url": two.url})
            await files.reloaded()

            caller = await local(files)
            assert await pid_of(caller)
            assert (await files.status())["nats"]["connected"]
            await caller.close()


def seed_and_key(number: int) -> tuple[str, str]:
    seed = nkeys.encode_seed(bytes([number] * 32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


async def test_another_users_seed_is_refused_where_the_prefix_holds_who_we_are(
    tmp_path: Path,
) -> None:
    (ours, our_key), (other, other_key) = seed_and_key(1), seed_and_key(2)
    seed = tmp_path / "user.nk"
    seed.write_text(ours)
    users = f"authorization {{ users: [{{ nkey: {our_key} }}, {{ nkey: {other_key} }}] }}"
    with NatsServer(tmp_path / "natsd", users) as natsd:
        nats = {"url": natsd.url, "prefix": "mcp.{user}", "nkey": str(seed)}
        async with serving(tmp_path / "d", nats) as files:
            await until((tmp_path / "d" / "a.sock").exists, BOUND)
            caller = await local(files)
            before = await pid_of(caller)
            seed.write_text(f"{ours}\n")
            assert f"~ nats (content of {seed})" in await files.reloaded()

            seed.write_text(other)

            assert "another user's" in await files.refused()
            assert await pid_of(caller) == before
            await caller.close()
