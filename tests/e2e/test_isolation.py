"""Who shares a process with whom, and what is known of a server's era."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ask, client, pid_of_server, refusal, without, works
from tests.faults import LATE, Record, bus
from tests.processes import gone
from tests.running import Shim, daemon, server, shim, text_of
from tests.waiting import until

SHARED = {"isolation": "shared"}
OWN = {"isolation": "session"}


def thin(era: str, **config: Any) -> dict[str, Any]:
    return {"thin": {"command": server("thin", era), **config}}


@asynccontextmanager
async def two(folder: Path, era: str, name: str = "thin") -> AsyncIterator[tuple[Shim, Shim]]:
    """Two clients of one server."""
    async with client(folder, name, era) as ann, client(folder, name, era) as bob:
        yield ann, bob


# Many legacy clients on one process.


async def test_legacy_clients_of_a_shared_process_get_their_own_answers(tmp_path: Path) -> None:
    async with daemon(tmp_path, thin("legacy", **SHARED)), two(tmp_path, "legacy") as both:
        ann, bob = both
        assert await pid_of_server(ann, "legacy") == await pid_of_server(bob, "legacy")

        ann.legacy("tools/call", id=5, name="sleep", arguments={"seconds": 0.3})
        for steps, each in enumerate(both, start=3):
            given = {"arguments": {"steps": steps}, "_meta": {"progressToken": "t"}}
            each.legacy("tools/call", id=6, name="progress", **given)
        bob.legacy("tools/call", id=5, name="echo", arguments={"text": "bob's"})

        assert text_of(await bob.answer(5)) == "bob's"
        assert text_of(await ann.answer(5)) == "slept"
        for steps, each in enumerate(both, start=3):
            assert text_of(await each.answer(6)) == f"{steps} steps"
            params = [note["params"] for note in each.notes]
            assert [one["progressToken"] for one in params] == ["t"] * steps
            assert {one["total"] for one in params} == {steps}
            assert each.unasked == []


async def test_the_end_of_a_shared_process_is_told_to_all_and_all_go_on(tmp_path: Path) -> None:
    async with daemon(tmp_path, thin("legacy", **SHARED)), two(tmp_path, "legacy") as both:
        pid = await pid_of_server(both[0], "legacy")
        asked = [ask(each, "legacy", "sleep", seconds=600) for each in both]
        for each in both:
            await works(each, "legacy")  # so the process has its call as well

        os.kill(pid, signal.SIGKILL)

        for each, id in zip(both, asked, strict=True):
            await refusal(each, id, -31004, "SIGKILL")
        after = {await pid_of_server(each, "legacy") for each in both}
        assert len(after) == 1
        assert pid not in after


async def test_only_the_first_subscription_and_the_last_end_reach_the_server(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path / "record")
    servers = {"recorder": {"command": record.command("legacy"), **SHARED}}

    def told() -> list[str]:
        lines = record.lines()
        return [method for _, method, about in lines if method.startswith("resources/") and about]

    async with daemon(tmp_path, servers):
        async with two(tmp_path, "legacy", "recorder") as both:
            for each in both:
                subscribed = each.legacy("resources/subscribe", uri="file:///a")
                assert "result" in await each.answer(subscribed)
            ended = both[0].legacy("resources/unsubscribe", uri="file:///a")
            assert "result" in await both[0].answer(ended)
            assert told() == ["resources/subscribe"]
        await until(lambda: told() == ["resources/subscribe", "resources/unsubscribe"], LATE)


async def test_a_shared_server_can_ask_nobody_and_tells_only_who_subscribed(
    tmp_path: Path,
) -> None:
    servers = {"talkative": {"command": server("talkative"), **SHARED}}
    async with daemon(tmp_path, servers), two(tmp_path, "legacy", "talkative") as (ann, bob):
        assert text_of(await ann.call("ask", era="legacy")) == "-32601"

        await ann.answer(ann.legacy("resources/subscribe", uri="file:///a"))
        await bob.call("update", era="legacy", uri="file:///a")
        await works(ann, "legacy")
        await works(bob, "legacy")

        assert [note["params"] for note in ann.notes] == [{"uri": "file:///a"}]
        assert bob.notes == []


async def test_a_call_that_hangs_in_a_shared_process_is_given_up_alone(tmp_path: Path) -> None:
    servers = thin("legacy", **SHARED, limits={"call_timeout": 2})
    async with daemon(tmp_path, servers), two(tmp_path, "legacy") as (ann, bob):
        pid = await pid_of_server(bob, "legacy")
        asked = ask(ann, "legacy", "sleep", seconds=600)
        await works(ann, "legacy")  # so the process is not silent, as far as anybody knows

        await refusal(ann, asked, -31008)
        await works(bob, "legacy")
        assert await pid_of_server(ann, "legacy") == pid


# One process for each client, or one for all.


async def test_modern_clients_share_a_process_and_legacy_ones_do_not(tmp_path: Path) -> None:
    async with daemon(tmp_path, thin("both")):
        async with two(tmp_path, "modern") as both:
            assert len({await pid_of_server(each, "modern") for each in both}) == 1
        async with two(tmp_path, "legacy") as both:
            assert len({await pid_of_server(each, "legacy") for each in both}) == 2


async def test_a_modern_client_can_have_a_process_to_itself(tmp_path: Path) -> None:
    async with daemon(tmp_path, thin("modern", **OWN)), two(tmp_path, "modern") as both:
        first, again = [[await pid_of_server(each, "modern") for each in both] for _ in range(2)]
        assert first == again
        assert len(set(first)) == 2


@pytest.mark.parametrize("drained", [True, False], ids=["drained", "killed"])
async def test_a_client_stays_at_its_instance_until_that_goes(
    tmp_path: Path, *, drained: bool
) -> None:
    servers = thin("modern", **OWN)
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with (
            daemon(tmp_path / "a", servers, nats_url=url) as a,
            daemon(tmp_path / "b", servers, nats_url=url) as b,
        ):
            shims = [await own.shim("thin") for _ in range(4)]
            homes = [await pid_of_server(one, "modern") for one in shims]
            assert len(set(homes)) == 4
            for one, home in zip(shims, homes, strict=True):
                assert {await pid_of_server(one, "modern") for _ in range(8)} == {home}

            if drained:
                await a.stop()
            else:
                a.kill()
                await a.ended()

            for one, home in zip(shims, homes, strict=True):
                moved = await settled(one)
                assert {await pid_of_server(one, "modern") for _ in range(4)} == {moved}
                if moved != home:
                    await gone(home)
            assert b.process.returncode is None


async def settled(one: Shim) -> int:
    """Return the process a client is at, once a call is answered again."""
    async with asyncio.timeout(LATE):
        while "error" in (response := await one.call("pid", bound=LATE)):
            assert response["error"]["code"] == -31005
    return int(text_of(response))


# Eras.


async def test_clients_of_the_other_era_are_served(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy"), "new": server("thin", "modern")}
    async with daemon(tmp_path, servers):
        async with await shim(tmp_path, "old") as one:
            for _ in range(2):  # found out, and known
                await works(one, "modern")
        for _ in range(2):
            async with client(tmp_path, "new", "legacy") as one:
                await works(one, "legacy")


async def test_the_configured_era_is_not_questioned(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    servers = {era: {"command": record.command(), "era": era} for era in ("modern", "legacy")}
    async with daemon(tmp_path, servers):
        async with await shim(tmp_path, "legacy") as one:
            await works(one, "modern")
            assert record.lines()[0][1] == "initialize"
        async with client(tmp_path, "legacy", "legacy") as one:
            await works(one, "legacy")
        async with client(tmp_path, "modern") as one:
            await works(one, "modern")


async def test_an_era_is_remembered_over_a_restart(tmp_path: Path) -> None:
    old, new = Record(tmp_path / "old"), Record(tmp_path / "new")
    servers = {"old": old.command("legacy"), "new": new.command("modern")}
    async with daemon(tmp_path, servers), client(tmp_path, "new") as one:
        await works(one, "modern")
        async with await shim(tmp_path, "old") as other:
            await works(other, "modern")
    before = old.lines(), new.lines()

    async with daemon(tmp_path, servers):
        for name in ("old", "new"):
            async with await shim(tmp_path, name) as one:
                asked = one.modern("server/discover")
                found = (await one.answer(asked))["result"]
                assert found["supportedVersions"] == ["2026-07-28"]
        assert (old.lines(), new.lines()) == before

        # That it is legacy is believed for good only when seen in this run: one probe, not two.
        async with await shim(tmp_path, "old") as one:
            await works(one, "modern")
            await works(one, "modern")
    after = [method for _, method, _ in old.lines()[len(before[0]) :]]
    assert after.count("server/discover") == 1


@pytest.mark.parametrize("restarted", [True, False], ids=["over-a-restart", "while-it-runs"])
async def test_a_server_that_became_another_is_found_out(
    tmp_path: Path, *, restarted: bool
) -> None:
    era = tmp_path / "era"
    script = f'exec "$@" "$(cat {era})"'
    servers = {"thin": ["sh", "-c", script, "sh", *server("thin")]}
    era.write_text("modern")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(daemon(tmp_path, servers))
        async with client(tmp_path, "thin") as one:
            pid = await pid_of_server(one, "modern")
        era.write_text("legacy")
        if restarted:
            await stack.aclose()
            await stack.enter_async_context(daemon(tmp_path, servers))
        else:
            os.kill(pid, signal.SIGKILL)
            await without(tmp_path, "thin", pid)

        async with await shim(tmp_path, "thin") as one:
            await works(one, "modern")
        async with client(tmp_path, "thin", "legacy") as one:
            await works(one, "legacy")

        era.write_text("modern")
        async with client(tmp_path, "thin", "legacy") as one:
            await works(one, "legacy")
        async with client(tmp_path, "thin") as one:
            await works(one, "modern")


# Nobody is forgotten: each request is answered, whatever its process does.

ISOLATIONS = pytest.mark.parametrize(
    ("era", "config"),
    [("modern", {}), ("modern", OWN), ("legacy", {}), ("legacy", SHARED)],
    ids=["modern-shared", "modern-own", "legacy-own", "legacy-shared"],
)


@pytest.mark.parametrize(("era", "config"), [("modern", {}), ("modern", OWN), ("legacy", SHARED)])
async def test_a_request_that_meets_a_process_on_its_way_out_is_answered(
    tmp_path: Path, era: str, config: dict[str, Any]
) -> None:
    pid = tmp_path / "pid"
    script = f'"$@"; echo >{pid}; sleep 1'
    command = ["sh", "-c", script, "sh", *server("thin", era)]
    limits = {"idle_timeout": 0.5, "stop_timeout": 30}
    servers = {"thin": {"command": command, **config, "limits": limits}}
    async with daemon(tmp_path, servers), client(tmp_path, "thin", "modern") as one:
        if era == "legacy":
            async with client(tmp_path, "thin", era) as first:
                await works(first, era)
        else:
            await works(one, era)
        await until(pid.exists, LATE)

        async with client(tmp_path, "thin", era) as late:
            await works(late, era)
        if era == "modern":
            await works(one, era)


@ISOLATIONS
@pytest.mark.parametrize("name", ["never_reads", "dies"])
async def test_all_who_wait_for_a_start_are_told_that_it_failed(
    tmp_path: Path, era: str, config: dict[str, Any], name: str
) -> None:
    limits = {"start_timeout": 20 if name == "dies" else 0.5, "stop_timeout": 0.2}
    dies = ["sh", "-c", "read line; sleep 0.2; exit 3"]
    command = dies if name == "dies" else server(name)
    servers = {"bad": {"command": command, **config, "limits": limits}}
    async with daemon(tmp_path, servers) as running:
        async with await shim(tmp_path, "bad") as one:
            if era == "modern":
                asked = [ask(one, era, "echo", text="x") for _ in range(3)]
                answers = [await one.answer(id) for id in asked]
            else:
                answers = [await one.initialize()]
        expected = {-31004} if name == "dies" else {-31008}
        assert {answer["error"]["code"] for answer in answers} == expected
        assert not [line for line in running.log if "Traceback" in line or "failed" in line]


HANDSHAKE = (
    '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{},'
    '"serverInfo":{"name":"s","version":"1"}}}'
)


async def test_a_shared_server_that_says_hello_and_goodbye_leaves_nobody_waiting(
    tmp_path: Path,
) -> None:
    script = f"read line; echo '{HANDSHAKE}'"
    servers = {"brief": {"command": ["sh", "-c", script], **SHARED}}
    async with daemon(tmp_path, servers), await shim(tmp_path, "brief") as one:
        assert "result" in await one.initialize()
        assert "error" in await one.call("echo", era="legacy", bound=LATE)


async def test_modern_requests_that_find_a_legacy_server_are_all_answered(tmp_path: Path) -> None:
    async with daemon(tmp_path, thin("legacy")), await shim(tmp_path, "thin") as one:
        discovered = one.modern("server/discover")
        asked = [ask(one, "modern", "pid") for _ in range(20)]

        assert "result" in await one.answer(discovered)
        assert len({text_of(await one.answer(id)) for id in asked}) == 1


async def test_who_waits_for_a_turn_has_it_after_an_answer_that_was_too_large(
    tmp_path: Path,
) -> None:
    limits = {"concurrency": 1, "output_line_bytes": 65536}
    async with daemon(tmp_path, thin("modern", limits=limits)), await shim(tmp_path, "thin") as one:
        large = ask(one, "modern", "big", bytes=1 << 20)
        small = [ask(one, "modern", "echo", text=str(number)) for number in range(3)]

        assert (await one.answer(large))["error"]["code"] == -31003
        assert [text_of(await one.answer(id)) for id in small] == ["0", "1", "2"]


async def test_a_process_that_was_idle_is_not_started_again_for_nobody(tmp_path: Path) -> None:
    limits = {"idle_timeout": 0.5, "concurrency": 1}
    servers = {name: {"command": server("thin"), "limits": limits} for name in ("first", "second")}
    async with daemon(tmp_path, servers) as running:
        for name in servers:  # the second shows that time enough has passed for the first
            async with await shim(tmp_path, name) as one:
                await works(one, "modern")
                for id in [ask(one, "modern", "echo", text="x") for _ in range(5)]:
                    assert "result" in await one.answer(id)
                await running.said(f"server is idle; stopped server={name}", bound=LATE)
        started = [line for line in running.log if "server started server=first" in line]

    assert len(started) == 1
