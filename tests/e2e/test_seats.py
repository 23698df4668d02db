"""One legacy process for everybody: for its own sessions, and for clients that are translated."""

import os
import signal
from pathlib import Path

from tests.e2e.clients import cancel, client, status_of
from tests.e2e.parking import asks, through
from tests.running import daemon, text_of

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


async def test_clients_of_both_eras_share_the_one_process(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks(isolation="shared")),
        client(tmp_path, "asks", "legacy") as old,
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        pids = {text_of(await old.call("pid", era="legacy"))}
        pids |= {text_of(await one.call("pid")) for one in (ann, bob)}
        shown = await status_of(tmp_path, "asks", calls=4)  # with the initialize of one

    assert len(pids) == 1
    assert [str(one["pid"]) for one in shown["processes"]] == list(pids)


async def test_what_nobody_can_be_asked_is_refused_and_pings_are_answered(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks(isolation="shared")), client(tmp_path, "asks") as one:
        assert "error -32601" in await through(one, "elicit", text="x")
        listed = (await one.answer(one.modern("tools/list")))["result"]
        assert "elicit" in [tool["name"] for tool in listed["tools"]]


async def test_the_death_of_the_process_is_told_to_all_and_the_next_has_another(
    tmp_path: Path,
) -> None:
    async with (
        daemon(tmp_path, asks(isolation="shared")),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        pid = text_of(await ann.call("pid"))
        held = [
            one.modern("tools/call", name="sleep", arguments={"seconds": 60}) for one in (ann, bob)
        ]
        await status_of(tmp_path, "asks", in_flight=2)
        os.kill(int(pid), signal.SIGKILL)
        for one, id in zip((ann, bob), held, strict=True):
            error = (await one.answer(id))["error"]
            assert error["code"] == -31004
            assert "SIGKILL" in error["message"]
        assert text_of(await bob.call("pid")) == text_of(await ann.call("pid")) != pid


async def test_a_client_that_leaves_takes_nobody_along(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks(isolation="shared")), client(tmp_path, "asks") as bob:
        async with client(tmp_path, "asks") as ann:
            pid = text_of(await ann.call("pid"))
            held = bob.modern("tools/call", name="sleep", arguments={"seconds": 2})
            await status_of(tmp_path, "asks", in_flight=1)
        assert "error" not in await bob.answer(held)
        assert text_of(await bob.call("pid")) == pid


async def test_cancels_progress_and_subscriptions_stay_their_clients_own(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks(isolation="shared")),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        for one in (ann, bob):
            one.modern("subscriptions/listen", id="s", notifications={"toolsListChanged": True})
            assert (await one.read())["params"]["_meta"] == {SUBSCRIPTION: "s"}
        held = ann.modern("tools/call", name="sleep", arguments={"seconds": 60})
        await status_of(tmp_path, "asks", in_flight=1)
        cancel(ann, held)
        await status_of(tmp_path, "asks", in_flight=0)
        assert await through(bob, "was_cancelled") == "yes"
        given = {"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "t"}}
        await ann.answer(ann.modern("tools/call", **given))
        await ann.call("touch")
        await bob.call("echo", text="on")

    assert [note["method"].rpartition("/")[2] for note in ann.notes] == [
        "progress", "progress", "list_changed",
    ]  # fmt: skip
    assert [note["method"].rpartition("/")[2] for note in bob.notes] == ["list_changed"]


async def test_a_seat_that_is_left_leaves_the_process_to_the_others(tmp_path: Path) -> None:
    limits = {"idle_timeout": 1}
    async with (
        daemon(tmp_path, asks(isolation="shared", limits=limits)),
        client(tmp_path, "asks", "legacy") as old,
        client(tmp_path, "asks") as one,
    ):
        pid = text_of(await old.call("pid", era="legacy"))
        assert text_of(await one.call("pid")) == pid
        await status_of(tmp_path, "asks", sessions=1)
        assert text_of(await old.call("pid", era="legacy")) == pid
        assert text_of(await one.call("pid")) == pid
