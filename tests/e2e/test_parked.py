"""Calls that wait for their client: found again on any daemon, by their own client alone."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from tests.connections import plain
from tests.e2e.clients import cancel, client, status_of
from tests.e2e.parking import (
    ASKING,
    Raw,
    again,
    answers_of,
    asks,
    park,
    request,
    retry,
    send,
    through,
)
from tests.faults import LATE, Bus, bus
from tests.running import Running, daemon, text_of

INFO = "io.modelcontextprotocol/clientInfo"


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Bus, dict[str, Running]]]:
    """Run two daemons with the server that asks."""
    async with bus(folder) as own:
        url = own.natsd.url
        async with (
            daemon(folder / "a", asks(), nats_url=url) as a,
            daemon(folder / "b", asks(), nats_url=url) as b,
        ):
            yield own, {"a": a, "b": b}


def error(frame: Msg) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(frame.data)["error"]
    return found


def text(frame: Msg) -> str:
    return text_of(json.loads(frame.data))


# Whose state it is.


def tampered(state: str) -> str:
    head, _, mac = state.rpartition(".")
    return f"{head}.{'A' if mac[0] != 'A' else 'B'}{mac[1:]}"


def changed_within(state: str) -> str:
    pieces = state.split(".")
    pieces[3] = pieces[3][:-4] + "AAAA"
    return ".".join(pieces)


def longer(state: str) -> str:
    return f"{state}x"


@pytest.mark.parametrize(
    "change",
    [
        tampered,
        changed_within,
        longer,
        lambda _: "mcpnatsd.1.x",
        lambda _: "x",
    ],
    ids=["seal", "content", "longer", "malformed", "not-ours"],
)
async def test_a_state_that_was_not_sealed_is_refused(tmp_path: Path, change: Any) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        changed = {**result, "requestState": change(result["requestState"])}

        refused = (await one.answer(retry(one, changed, "elicit", text="x")))["error"]
        assert refused["code"] == -32602
        assert "requestState" in refused["message"]
        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"


async def test_another_client_cannot_answer(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks()),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        result = await park(ann, "elicit", text="x")
        refused = (await bob.answer(retry(bob, result, "elicit", "bob", text="x")))["error"]

        assert refused["code"] == -32602
        assert "another client" in refused["message"]
        assert text_of(await ann.answer(retry(ann, result, "elicit", text="x"))) == "x: me on x"


async def test_a_state_is_good_once(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        first = await park(one, "ask_twice")
        second = (await one.answer(retry(one, first, "ask_twice")))["result"]
        assert second["resultType"] == "input_required"

        refused = (await one.answer(retry(one, first, "ask_twice")))["error"]
        assert (refused["code"], "answered already" in refused["message"]) == (-32602, True)
        done = await one.answer(retry(one, second, "ask_twice"))
        assert text_of(done) == "me on first me on second"
        refused = (await one.answer(retry(one, second, "ask_twice")))["error"]
        assert (refused["code"], "answered already" in refused["message"]) == (-32602, True)


@pytest.mark.parametrize(
    ("tool", "arguments"), [("elicit", {"text": "y"}), ("echo", {"text": "x"})], ids=str
)
async def test_a_retry_that_asks_for_something_else_is_refused(
    tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        refused = (await one.answer(retry(one, result, tool, **arguments)))["error"]

        assert refused["code"] == -32602
        assert "differs" in refused["message"]
        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"


@pytest.mark.parametrize("answers", [[], "x", {"1": 7}, {"1": None}], ids=str)
async def test_answers_that_are_no_objects_are_refused(tmp_path: Path, answers: Any) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        params = again(result, answers, "elicit", text="x")
        refused = (await one.answer(one.modern("tools/call", **params)))["error"]

        assert refused["code"] == -32602
        assert "inputResponses" in refused["message"]
        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"


async def test_what_was_not_answered_is_asked_again(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        for answers in ({}, {"another": {}}):
            asked = one.modern("tools/call", **again(result, answers, "elicit", text="x"))
            more = (await one.answer(asked))["result"]
            assert more["inputRequests"] == result["inputRequests"]
            assert more["requestState"] != result["requestState"]
            result = more
        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"


# What happens meanwhile.


async def test_a_server_that_answers_without_its_client_is_heard_by_the_retry(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "ask_late")
        asked = one.modern("tools/call", **again(result, answers_of(result), "ask_late"))
        assert text_of(await one.answer(asked)) == "did not wait"
        assert await through(one, "elicit", text="x") == "x: me on x"


async def test_a_process_that_dies_meanwhile_is_told_to_the_retry(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        (process,) = (await status_of(tmp_path, "asks", parked=1))["processes"]
        os.kill(process["pid"], signal.SIGKILL)
        await status_of(tmp_path, "asks", sessions=0)

        lost = (await one.answer(retry(one, result, "elicit", text="x")))["error"]
        assert (lost["code"], lost["data"]["outcome"]) == (-31005, "unknown")
        assert "start over" in lost["message"]
        assert await through(one, "elicit", text="x") == "x: me on x"


async def test_a_cancelled_retry_cancels_the_call(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "progress", steps=1, ask=True)
        meta = {**ASKING, "progressToken": "t"}
        params = {**again(result, answers_of(result), "progress", steps=1, ask=True), "_meta": meta}
        await one.answer(one.modern("tools/call", **params))

        result = await park(one, "elicit_then_sleep", text="x")
        held = retry(one, result, "elicit_then_sleep", text="x")
        await status_of(tmp_path, "asks", parked=0, in_flight=1)
        cancel(one, held)
        await status_of(tmp_path, "asks", in_flight=0)
        assert await through(one, "was_cancelled") == "yes"


async def test_progress_goes_on_under_the_token_of_the_retry(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        given = {"name": "progress", "arguments": {"steps": 1, "ask": True}}
        first = one.modern("tools/call", **given, _meta={**ASKING, "progressToken": "a"})
        result = (await one.answer(first))["result"]
        params = again(result, answers_of(result), "progress", steps=1, ask=True)
        meta = {**ASKING, "progressToken": "b"}
        await one.answer(one.modern("tools/call", **{**params, "_meta": meta}))

    assert [note["params"]["progressToken"] for note in one.notes] == ["a", "b"]


async def test_one_client_parks_only_so_many_calls(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        for who in ("ann", "bob"):  # each has sessions of its own, and is the same client
            sent = [
                send(one, "elicit", {INFO: {"name": who, "version": "1"}}, text="x")
                for _ in range(8)
            ]
            for id in sent:
                result = (await one.answer(id, LATE))["result"]
                assert result["resultType"] == "input_required"
        await status_of(tmp_path, "asks", parked=16)

        third = {INFO: {"name": "eve", "version": "1"}}
        refused = (await one.answer(send(one, "elicit", third, text="x")))["error"]
        assert refused["code"] == -31007
        await status_of(tmp_path, "asks", parked=16, in_flight=0)
        assert text_of(await one.answer(send(one, "echo", third, text="on"))) == "on"


# Other daemons.


async def test_a_parked_call_outlives_a_restart_of_the_broker(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, _):
        one = await own.modern("asks")
        results = [await park(one, "elicit", text=str(number)) for number in range(4)]
        own.natsd.restart()
        for number, result in enumerate(results):
            arguments = {"text": str(number)}
            answer = await one.answer(retry(one, result, "elicit", **arguments), LATE)
            assert text_of(answer) == f"{number}: me on {number}"


async def test_a_retry_that_comes_to_another_daemon_is_forwarded(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, _), plain(own.natsd.url) as nats:
        one = Raw(nats)
        result, holder = await one.park("ask_twice")
        (other,) = await one.instances(2) - {holder}

        frame = await one.ask(again(result, answers_of(result), "ask_twice"), other)
        assert frame.headers is not None
        assert frame.headers["Mcp-Instance"] == other
        more = json.loads(frame.data)["result"]
        assert more["resultType"] == "input_required"
        done = await one.ask(again(more, answers_of(more), "ask_twice"), other)
        assert text(done) == "me on first me on second"

        # Who may not answer there may not answer from here.
        result, holder = await one.park("elicit", text="x")
        (other,) = await one.instances(2) - {holder}
        params = again(result, answers_of(result), "elicit", text="x")
        refused = error(await Raw(nats, edge="f" * 32).ask(params, other))
        assert (refused["code"], "another client" in refused["message"]) == (-32602, True)
        assert text(await one.ask(params, other)) == "x: me on x"


async def test_a_cancel_follows_a_forwarded_retry(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, daemons), plain(own.natsd.url) as nats:
        one = Raw(nats)
        result, holder = await one.park("elicit_then_sleep", text="x")
        (other,) = await one.instances(2) - {holder}
        params = again(result, answers_of(result), "elicit_then_sleep", text="x")
        tail = f"mcp.ses.asks.{other}.{'2' * 32}.tools.call.elicit_then_sleep"
        call = one.next_call()
        headers = {"Mcp-Wire": "1", "Mcp-Call": call}
        await nats.publish(tail, request(1, params), reply=nats.new_inbox(), headers=headers)
        folder = await holding(daemons)
        await status_of(folder, "asks", parked=0, in_flight=1)

        body = json.dumps({"call": call, "reason": "enough"}).encode()
        await nats.publish("mcp.cxl.asks", body, headers={"Mcp-Frame": "cancel", "Mcp-Call": call})
        await status_of(folder, "asks", in_flight=0)


async def holding(daemons: dict[str, Running]) -> Path:
    """Return the folder of the daemon that has a session."""
    async with asyncio.timeout(LATE):
        while True:
            for one in daemons.values():
                if (await status_of(one.folder, "asks"))["sessions"]:
                    return one.folder


async def test_a_call_whose_daemon_was_killed_is_told_as_unknown(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, daemons), plain(own.natsd.url) as nats:
        one = Raw(nats)
        result, holder = await one.park("elicit", text="x")
        (other,) = await one.instances(2) - {holder}
        folder = await holding(daemons)
        (dead,) = [each for each in daemons.values() if each.folder == folder]
        dead.kill()
        await dead.ended()

        frame = await one.ask(again(result, answers_of(result), "elicit", text="x"), other)
        lost = error(frame)
        assert (lost["code"], lost["data"]["outcome"]) == (-31005, "unknown")
        assert "start over" in lost["message"]


async def test_a_client_whose_daemon_was_killed_is_told_the_same(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, daemons):
        one = await own.shim("asks")
        result = await park(one, "elicit", text="x")
        folder = await holding(daemons)
        (dead,) = [each for each in daemons.values() if each.folder == folder]
        dead.kill()
        await dead.ended()

        lost = (await one.answer(retry(one, result, "elicit", text="x"), LATE))["error"]
        assert (lost["code"], lost["data"]["outcome"]) == (-31005, "unknown")
        assert await through(one, "elicit", text="x") == "x: me on x"


@pytest.mark.parametrize("holder", ["mcpnatsd.1.0123456789abcdef.e30.x", "mcpnatsd.1.*.e30.x"])
async def test_a_state_of_nobody_there_is_refused(tmp_path: Path, holder: str) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await one.call("echo", text="x")
        params = again({"requestState": holder}, {}, "elicit", text="x")
        refused = (await one.answer(one.modern("tools/call", **params)))["error"]

    assert refused["code"] == (-32602 if "*" in holder else -31005)


async def test_a_daemon_that_stops_waits_for_its_parked_calls(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, daemons):
        one = await own.modern("asks")
        result = await park(one, "elicit", text="x")
        shown = {name: await status_of(each.folder, "asks") for name, each in daemons.items()}
        (stopping,) = [daemons[name] for name, status in shown.items() if status["parked"]]
        stopping.process.terminate()
        await stopping.said("draining", bound=LATE)

        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"
        assert await stopping.ended(LATE) == 0


async def test_a_daemon_that_stops_does_not_wait_long_for_who_does_not_answer(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (own, daemons):
        one = await own.modern("asks")
        result = await park(one, "elicit", text="x")
        folder = await holding(daemons)
        (stopping,) = [each for each in daemons.values() if each.folder == folder]
        stopping.process.terminate()

        assert await stopping.ended(LATE) == 0
        assert any("parked calls given up" in line for line in stopping.log)
        assert not any("stopping now" in line for line in stopping.log)
        lost = (await one.answer(retry(one, result, "elicit", text="x"), LATE))["error"]
        assert (lost["code"], lost["data"]["outcome"]) == (-31005, "unknown")
