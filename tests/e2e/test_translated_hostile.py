"""Modern clients of a legacy server, where either of them does what it should not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.connections import plain
from tests.e2e.clients import client, status_of
from tests.e2e.parking import ASKING, Raw, again, park, request, retry, send, through
from tests.faults import LATE, bus
from tests.running import META, daemon, server, text_of

INFO = "io.modelcontextprotocol/clientInfo"


def hostile(*arguments: str, **config: Any) -> dict[str, Any]:
    return {"asks": {"command": server("hostile_legacy", *arguments), "era": "legacy", **config}}


# What the server does.


async def test_answers_that_nobody_waits_for_reach_nobody(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        held = one.modern("tools/call", name="unknown", arguments={})
        assert text_of(await one.answer(held)) == "yours"
        for _ in range(2):
            assert text_of(await one.call("twice")) == "first"
        assert text_of(await one.call("echo", text="on")) == "on"
    assert one.unasked == []


async def test_questions_under_one_id_are_both_answered(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        assert await through(one, "same_id") == "['me on one', 'me on two']"


async def test_ids_of_questions_are_the_servers_own(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        assert await through(one, "odd_ids") == "[True, True]"


async def test_a_thousand_questions_are_answered_or_refused(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        assert int(await through(one, "ask_much", many=1000, size=10)) >= 1000 - 10 * 64


async def test_questions_too_large_to_be_passed_on_are_refused(tmp_path: Path) -> None:
    """A client takes 64 MiB at most: a call parked with more could never be resumed."""
    given = {"many": 6, "size": 15_000_000}
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        answer = await one.answer(send(one, "ask_much", **given), LATE)
        await one.answer(one.modern("tools/list", _meta=ASKING), LATE)  # so all of them are there
        while "inputRequests" in answer.get("result", {}):
            result = answer["result"]
            declined = {key: {"action": "decline"} for key in result["inputRequests"]}
            params = again(result, declined, "ask_much", **given)
            answer = await one.answer(one.modern("tools/call", **params), LATE)
        # Such a question is answered with "cancel", or with an error.
        assert "result" in answer, answer


async def test_a_resource_within_a_subscribed_one_is_told(tmp_path: Path) -> None:
    """2025-11-25, schema: the URI might be a sub-resource of the one that was subscribed to."""
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        one.modern("subscriptions/listen", notifications={"resourceSubscriptions": ["file:///d"]})
        assert (await one.read())["method"] == "notifications/subscriptions/acknowledged"
        for uri in ("file:///other", "file:///d/x", "file:///d"):
            await one.call("update", uri=uri)
    assert [note["params"]["uri"] for note in one.notes] == ["file:///d/x", "file:///d"]


# What clients do.


async def test_many_who_ask_what_it_is_start_one_process(tmp_path: Path) -> None:
    slow = ["sh", "-c", 'echo $$ >> started; sleep 1; exec "$@"', "sh", *server("hostile_legacy")]
    config = {"asks": {"command": slow, "era": "legacy", "cwd": str(tmp_path)}}
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", config, nats_url=url), plain(url) as nats:
            body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}
            body["params"] = {"_meta": META}

            async def discover(number: int) -> dict[str, Any]:
                headers = {"Mcp-Wire": "1", "Mcp-Call": f"{number:032x}.1"}
                frame = await nats.request(
                    "mcp.req.asks.server.discover",
                    json.dumps(body).encode(),
                    timeout=LATE,
                    headers=headers,
                )
                found: dict[str, Any] = json.loads(frame.data)
                return found

            found = await asyncio.gather(*map(discover, range(20)))
            assert all("result" in one for one in found)
    assert len((tmp_path / "started").read_text().splitlines()) == 1


@pytest.mark.parametrize("info", [7, "x", None, []], ids=str)
async def test_a_client_that_says_nonsense_of_itself_troubles_no_other(
    tmp_path: Path, info: object
) -> None:
    async with daemon(tmp_path, hostile("picky")), client(tmp_path, "asks") as one:
        assert text_of(await one.call("echo", text="on")) == "on"
        for _ in range(4):
            given = {"name": "echo", "arguments": {"text": "x"}, "_meta": {INFO: info}}
            await one.answer(one.modern("tools/call", **given))
        shown = await status_of(tmp_path, "asks")
        assert (shown["eras"], shown["error"], shown["state"]) == ("legacy", None, "running")
        found = await one.answer(one.modern("server/discover"))
        assert found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "hostile"


async def test_who_waits_for_a_turn_waits_no_longer_than_a_call_may_take(tmp_path: Path) -> None:
    """Callers without a token share the turns; one that parks its call must not hold them up."""
    limits = {"concurrency": 1, "call_timeout": 2}
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", hostile(limits=limits), nats_url=url), plain(url) as nats:
            subject = "mcp.req.asks.tools.call."
            params = {"name": "same_id", "arguments": {}, "_meta": ASKING}
            parked = await nats.request(f"{subject}same_id", request(1, params), timeout=LATE)
            assert json.loads(parked.data)["result"]["resultType"] == "input_required"
            answer = await nats.request(f"{subject}echo", b'{"text": "on"}', timeout=15)
            assert answer.data


async def test_a_client_of_many_faces_has_only_so_many_sessions(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, hostile()),
        client(tmp_path, "asks") as one,
        client(tmp_path, "asks") as other,
    ):
        pid = text_of(await other.call("pid"))
        for number in range(20):
            given = {"name": "echo", "arguments": {"text": "x"}}
            meta = {INFO: {"name": f"face {number}", "version": "1"}}
            assert "result" in await one.answer(one.modern("tools/call", **given, _meta=meta), LATE)
        assert (await status_of(tmp_path, "asks"))["sessions"] <= 16
        assert text_of(await other.call("pid")) == pid


async def test_a_client_that_leaves_takes_its_parked_calls_along(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()):
        async with client(tmp_path, "asks") as one:
            await park(one, "same_id")
            await status_of(tmp_path, "asks", sessions=1, parked=1)
        await status_of(tmp_path, "asks", sessions=0, parked=0)


async def test_two_retries_at_once_are_one_answer_and_one_refusal(tmp_path: Path) -> None:
    async with daemon(tmp_path, hostile()), client(tmp_path, "asks") as one:
        result = await park(one, "same_id")
        many = [retry(one, result, "same_id") for _ in range(5)]
        found = [await one.answer(each) for each in many]
        refused = [each["error"]["code"] for each in found if "error" in each]
        assert refused == [-32602] * 4


async def test_a_state_is_no_good_with_another_method(tmp_path: Path) -> None:
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", hostile(), nats_url=url), plain(url) as nats:
            one = Raw(nats)
            result, _ = await one.park("same_id")
            for method in ("tools/list", "server/discover", "subscriptions/listen", "ping"):
                params = {**again(result, {}, "same_id"), "notifications": {}}
                params["_meta"] = {**META, **ASKING}
                body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                frame = await nats.request(
                    f"mcp.req.asks.{method.replace('/', '.')}",
                    json.dumps(body).encode(),
                    timeout=LATE,
                    headers={"Mcp-Wire": "1", "Mcp-Call": one.next_call()},
                )
                assert json.loads(frame.data)["error"]["code"] == -32602
