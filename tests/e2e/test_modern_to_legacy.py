"""A modern client of a legacy server: what it asks is translated, and what it gets."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import cancel, client, status_of
from tests.e2e.parking import ASKING, CAPABILITIES, asks, park, retry, send, through
from tests.faults import LATE
from tests.processes import descendants, gone
from tests.running import Shim, daemon, server, shim, socket_client, text_of

INFO = "io.modelcontextprotocol/clientInfo"
LEVEL = "io.modelcontextprotocol/logLevel"
VERSION = "io.modelcontextprotocol/protocolVersion"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


async def error_of(one: Shim, method: str, **params: Any) -> dict[str, Any]:
    response = await one.answer(one.modern(method, **params))
    error: dict[str, Any] = response["error"]
    return error


# What is refused.


@pytest.mark.parametrize(
    "method",
    ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/get"],
)
async def test_what_the_modern_era_left_out_is_refused_with_what_to_do(
    tmp_path: Path, method: str
) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await one.call("echo", text="so the era is known")
        error = await error_of(one, method)

    assert error["code"] == -32601
    assert method in error["message"]


async def test_an_unknown_revision_is_refused_as_a_modern_server_does(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await one.call("echo", text="so the era is known")
        for method in ("tools/list", "server/discover"):
            error = await error_of(one, method, _meta={VERSION: "2027-01-01"})
            assert error["code"] == -32022
            assert error["data"] == {"supported": ["2026-07-28"], "requested": "2027-01-01"}


@pytest.mark.parametrize(
    "meta", [{CAPABILITIES: None}, {CAPABILITIES: []}, {LEVEL: "loud"}, {LEVEL: 7}], ids=str
)
async def test_an_envelope_that_is_not_whole_is_refused(
    tmp_path: Path, meta: dict[str, Any]
) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await one.call("echo", text="so the era is known")
        assert (await error_of(one, "tools/list", _meta=meta))["code"] == -32602


async def test_what_the_server_asks_and_the_client_cannot_is_refused(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        assert "error -32601" in text_of(await one.call("elicit", text="x"))
        assert await through(one, "ask_unknown") == "-32601"
        assert json.loads(await through(one, "ask_url"))["code"] == -32602


async def test_the_errors_of_the_legacy_era_are_read_in_the_modern_one(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        missing = (await one.call("fail_missing"))["error"]
        url = (await one.call("fail_url"))["error"]

    assert missing == {"code": -32602, "message": "no such thing", "data": {"uri": "x:y"}}
    assert url["code"] == -32603
    assert "first log in" in url["message"]
    assert url["data"] == {"elicitations": []}


async def test_forbidden_tools_stay_forbidden(tmp_path: Path) -> None:
    rules = {"deny": ["pid"]}
    async with daemon(tmp_path, asks(tools=rules)), client(tmp_path, "asks") as one:
        assert (await one.call("pid"))["error"]["code"] == -31002
        listed = (await one.answer(one.modern("tools/list")))["result"]
        assert (await one.call("pid"))["error"]["code"] == -31002

    assert "echo" in [tool["name"] for tool in listed["tools"]]
    assert "pid" not in [tool["name"] for tool in listed["tools"]]
    assert {name: listed[name] for name in CACHED} == CACHED


# What is said of the server.


async def test_discovery_is_answered_from_the_handshake(tmp_path: Path) -> None:
    expected = {
        **CACHED,
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True},
            "prompts": {},
            "logging": {},
        },
        "instructions": "Ask away.",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "asks", "version": "1.0.0"}},
    }
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        for _ in range(2):  # found out, and known
            found = await one.answer(one.modern("server/discover", _meta=ASKING))
            assert found["result"] == expected
        assert text_of(await one.call("echo", text="on")) == "on"

    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:  # remembered
        assert (await one.answer(one.modern("server/discover")))["result"] == expected
        assert (await status_of(tmp_path, "asks"))["processes"] == []


async def test_a_server_that_takes_no_handshake_says_so(tmp_path: Path) -> None:
    command = ["sh", "-c", "while read line; do exit 3; done"]
    async with (
        daemon(tmp_path, {"bad": {"command": command, "era": "legacy"}}),
        client(tmp_path, "bad") as one,
    ):
        error = await error_of(one, "server/discover")
        assert error["code"] == -31004
        assert (await one.call("echo"))["error"]["code"] == -31004


async def test_a_server_that_is_slow_to_begin_leaves_discovery_to_the_handshake(
    tmp_path: Path,
) -> None:
    slow = ["sh", "-c", 'sleep 12; exec "$@"', "sh", *server("asks_legacy")]
    async with (
        daemon(tmp_path, {"slow": {"command": slow, "era": "legacy"}}),
        client(tmp_path, "slow") as one,
    ):
        error = await error_of(one, "server/discover")
        assert error["code"] == -32601
        assert "initialize" in error["message"]


# What reaches the server.


async def test_the_session_is_opened_with_what_the_client_declares(tmp_path: Path) -> None:
    declared = {"roots": {}, "elicitation": {"form": {}}, "experimental": {"x": {}}}
    meta = {CAPABILITIES: declared, "com.example/own": 1, "traceparent": "00-1", "progressToken": 5}
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        asked = one.modern("tools/call", name="meta", arguments={"a": [1.0, None]}, _meta=meta)
        seen = json.loads(text_of(await one.answer(asked)))

    assert seen["initialize"]["capabilities"] == declared
    assert seen["initialize"]["clientInfo"] == {"name": "test", "version": "1"}
    assert seen["initialize"]["protocolVersion"] == "2025-11-25"
    assert seen["params"]["arguments"] == {"a": [1.0, None]}
    left = seen["params"]["_meta"]
    assert isinstance(left.pop("progressToken"), int)
    assert left == {"com.example/own": 1, "traceparent": "00-1"}


async def test_unknown_methods_are_passed_on(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        own = (await one.answer(one.modern("com.example/own", a=1)))["result"]

    assert own == {"resultType": "complete", "own": {"a": 1}}


async def test_clients_have_a_session_each_and_keep_it(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks()),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        pids = [text_of(await one.call("pid")) for one in (ann, bob, ann, bob)]
        shown = await status_of(tmp_path, "asks", sessions=2, parked=0)

    assert pids[0] == pids[2] != pids[1] == pids[3]
    assert [one["era"] for one in shown["processes"]] == ["legacy", "legacy"]


async def test_another_set_of_capabilities_is_another_session(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        plain = text_of(await one.call("pid"))

        assert await through(one, "pid") != plain
        assert text_of(await one.call("pid")) == plain


async def test_all_share_one_process_when_the_operator_says_so(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks(isolation="shared")),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        assert await through(ann, "pid") == await through(bob, "pid")
        assert "error -32601" in await through(ann, "elicit", text="x")
        found = await ann.answer(ann.modern("server/discover"))
        assert "logging" not in found["result"]["capabilities"]


async def test_an_idle_session_is_ended_and_the_next_request_has_another(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks(limits={"idle_timeout": 1})), client(tmp_path, "asks") as one:
        first = text_of(await one.call("pid"))
        await status_of(tmp_path, "asks", sessions=0)

        assert text_of(await one.call("pid")) != first


async def test_a_process_that_dies_fails_its_calls_and_no_others(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks()),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        held = bob.modern("tools/call", name="sleep", arguments={"seconds": 0.5})
        pid = int(text_of(await ann.call("pid")))
        lost = ann.modern("tools/call", name="sleep", arguments={"seconds": 60})
        await ann.call("echo")
        os.kill(pid, signal.SIGKILL)

        assert (await ann.answer(lost))["error"]["code"] == -31004
        assert text_of(await bob.answer(held)) == "slept"
        assert text_of(await ann.call("echo", text="on")) == "on"


async def test_a_large_result_and_a_large_request_pass(tmp_path: Path) -> None:
    text = "x" * 3_000_000
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        assert text_of(await one.call("echo", bound=LATE, text=text)) == text


# Progress, logs, cancels.


async def test_progress_comes_under_the_callers_token(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        given = {"name": "progress", "arguments": {"steps": 3}}
        await one.answer(one.modern("tools/call", **given, _meta={"progressToken": "t"}))

    seen = [(note["params"]["progressToken"], note["params"]["progress"]) for note in one.notes]
    assert seen == [("t", 1), ("t", 2), ("t", 3)]


async def test_only_a_request_that_asks_for_logs_gets_them_at_its_level(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await one.call("log", text="unasked")
        assert text_of(await one.call("level")) == "none"
        for level in ("info", "error", "debug"):
            given = {"name": "log", "arguments": {"text": level}}
            await one.answer(one.modern("tools/call", **given, _meta={LEVEL: level}))
        assert text_of(await one.call("level")) == "debug"

    assert [note["params"]["data"] for note in one.notes] == [
        "info info", "info error", "error error", "debug debug", "debug info", "debug error",
    ]  # fmt: skip


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        for meta in ({}, ASKING):
            given = {"name": "sleep", "arguments": {"seconds": 60}}
            held = one.modern("tools/call", **given, _meta=meta)
            await status_of(tmp_path, "asks", in_flight=1)
            cancel(one, held)
            await status_of(tmp_path, "asks", in_flight=0)
            if meta:
                assert await through(one, "echo", text="on") == "on"
    assert one.unasked == []


async def test_a_call_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    limits = {"call_timeout": 1}
    async with daemon(tmp_path, asks(limits=limits)), client(tmp_path, "asks") as one:
        assert (await one.call("sleep", seconds=60))["error"]["code"] == -31008
        assert text_of(await one.call("echo", text="on")) == "on"


# Subscriptions.


async def listening(one: Shim, id: object, **wanted: Any) -> dict[str, Any]:
    """Open a subscription; return what is honoured of it."""
    one.modern("subscriptions/listen", id=id, notifications=wanted)
    note = await one.read()
    assert note["method"] == "notifications/subscriptions/acknowledged"
    assert note["params"]["_meta"][SUBSCRIPTION] == id
    honoured: dict[str, Any] = note["params"]["notifications"]
    return honoured


async def test_a_subscription_is_told_what_it_asked_for_and_no_more(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks()),
        client(tmp_path, "asks") as ann,
        client(tmp_path, "asks") as bob,
    ):
        wanted = {"toolsListChanged": True, "promptsListChanged": True}
        uris = {"resourceSubscriptions": ["a:1", "refused:2"]}
        honoured = await listening(ann, "s", **wanted, **uris)
        assert honoured == {"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
        assert await listening(bob, 77, toolsListChanged=True) == {"toolsListChanged": True}

        assert text_of(await ann.call("update", uri="a:1")) == "updated"
        await ann.call("touch")
        assert await through(ann, "echo", text="on") == "on"  # in another session
        assert text_of(await bob.call("echo", text="on")) == "on"

    of_list = {
        "method": "notifications/tools/list_changed",
        "params": {"_meta": {SUBSCRIPTION: "s"}},
    }
    updated = {"uri": "a:1", "_meta": {SUBSCRIPTION: "s"}}
    of_uri = {"method": "notifications/resources/updated", "params": updated}
    assert [{key: note[key] for key in ("method", "params")} for note in ann.notes] == [
        of_uri,
        of_list,
    ]
    assert bob.notes == []


async def test_a_cancelled_subscription_is_ended_at_the_server(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await listening(one, "one", resourceSubscriptions=["a:1"])
        await listening(one, "two", resourceSubscriptions=["a:1"])
        cancel(one, "one")
        assert text_of(await one.call("update", uri="a:1")) == "updated"
        cancel(one, "two")
        async with asyncio.timeout(LATE):
            while text_of(await one.call("update", uri="a:1")) != "nobody subscribed":
                pass

    assert {note["params"]["_meta"][SUBSCRIPTION] for note in one.notes} <= {"one", "two"}


async def test_a_subscription_ends_with_its_process(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await listening(one, "one", toolsListChanged=True)
        pid = int(text_of(await one.call("pid")))
        os.kill(pid, signal.SIGKILL)

        note = await one.read()
        assert note["method"] == "notifications/cancelled"
        assert note["params"]["requestId"] == "one"
        await listening(one, "two", toolsListChanged=True)


async def test_a_subscription_keeps_its_session(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks(limits={"idle_timeout": 0.5})),
        client(tmp_path, "asks") as one,
        client(tmp_path, "asks") as other,
    ):
        await listening(one, "one", toolsListChanged=True)
        pid = text_of(await one.call("pid"))
        await other.call("pid")
        await status_of(tmp_path, "asks", sessions=1)  # the other's is idle by now

        assert text_of(await one.call("pid")) == pid


@pytest.mark.parametrize("wanted", [None, [], {"resourceSubscriptions": [7]}], ids=str)
async def test_a_malformed_filter_is_refused(tmp_path: Path, wanted: Any) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        assert (await error_of(one, "subscriptions/listen", notifications=wanted))["code"] == -32602


# The server asks.


async def test_what_a_tool_asks_is_answered_by_the_retry(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        assert await through(one, "elicit", text="x") == "x: me on x"
        assert json.loads(await through(one, "roots")) == {"roots": [{"uri": "file:///me"}]}
        assert json.loads(await through(one, "sample"))["content"]["text"] == "me"
        assert await through(one, "ask_twice") == "me on first me on second"
        assert await through(one, "ask_early") == "me on one me on two"
        assert await through(one, "ask_withdraw") == "after: me on y"


async def test_a_prompt_may_ask_too(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        first = await one.answer(one.modern("prompts/get", name="p", _meta=ASKING))
        result = first["result"]
        (key,) = result["inputRequests"]
        answers = {key: {"action": "accept", "content": {"answer": "yes"}}}
        given = {"requestState": result["requestState"], "inputResponses": answers}
        second = await one.answer(one.modern("prompts/get", name="p", **given, _meta=ASKING))

    assert second["result"]["messages"][0]["content"]["text"] == "yes"


async def test_an_input_request_is_as_the_modern_era_has_it(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        sampled = await park(one, "sample")
        rooted = await park(one, "roots")
        given = {"name": "ask_url", "arguments": {}}
        url = {CAPABILITIES: {"elicitation": {"url": {}}}}
        visited = (await one.answer(one.modern("tools/call", **given, _meta=url)))["result"]

    (sample,) = sampled["inputRequests"].values()
    assert sample["method"] == "sampling/createMessage"
    assert sample["params"].keys() == {"messages", "maxTokens"}
    assert list(rooted["inputRequests"].values()) == [{"method": "roots/list"}]
    (visit,) = visited["inputRequests"].values()
    wanted = {"mode": "url", "message": "go", "url": "https://example.com"}
    assert visit == {"method": "elicitation/create", "params": wanted}


async def test_a_server_that_asks_before_any_call_is_answered_by_the_first(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks("--roots-first")), client(tmp_path, "asks") as one:
        assert (await one.answer(one.modern("tools/list", _meta=ASKING)))["result"]["tools"]
        first = await park(one, "echo", text="x")
        (wanted,) = first["inputRequests"].values()
        assert wanted == {"method": "roots/list"}

        assert text_of(await one.answer(retry(one, first, "echo", text="x"))) == "x"
        assert await through(one, "echo", text="again") == "again"


async def test_a_declined_elicitation_is_an_ordinary_answer(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        (key,) = result["inputRequests"]
        given = {"name": "elicit", "arguments": {"text": "x"}, "_meta": ASKING}
        answers = {key: {"action": "decline"}}
        asked = one.modern(
            "tools/call", **given, inputResponses=answers, requestState=result["requestState"]
        )
        assert text_of(await one.answer(asked)) == "x: decline"


async def test_many_clients_are_each_asked_their_own(tmp_path: Path) -> None:
    async def talk(name: str) -> None:
        async with await shim(tmp_path, "asks") as one:
            for turn in range(3):
                text = f"{name}-{turn}"
                answer = await through(one, "elicit_slowly", name, text=text)
                assert answer == f"{text}: {name} on {text}"

    async with daemon(tmp_path, asks()):
        await asyncio.gather(*(talk(f"client{number}") for number in range(20)))


@pytest.mark.parametrize("before", ["elicit_slowly", "sleep"])
async def test_the_first_calls_of_a_server_that_nobody_knows_do_not_change_questions(
    tmp_path: Path, before: str
) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        given = {"seconds": 4} if before == "sleep" else {"text": "first"}
        first = send(one, before, **given)
        second = send(one, "elicit", text="second")

        result = (await one.answer(second))["result"]
        (wanted,) = result["inputRequests"].values()
        assert wanted["params"]["message"] == "second"
        ended = await one.answer(retry(one, result, "elicit", text="second"))
        assert text_of(ended) == "second: me on second"
        assert "error" not in await one.answer(first)


async def burst(one: Shim, many: int, together: int) -> None:
    """Make many calls at once; see that each is asked its own question, and gets its own answer."""
    given = [{"text": f"call{number}", "together": together} for number in range(many)]
    waiting = {send(one, "elicit_in_order", **each): each for each in given}
    done: dict[str, str] = {}
    while waiting:
        response = await one.read(LATE)
        each = waiting.pop(response["id"])
        if response["result"]["resultType"] == "complete":
            done[each["text"]] = text_of(response)
            continue
        (wanted,) = response["result"]["inputRequests"].values()
        assert wanted["params"]["message"] == each["text"]
        waiting[retry(one, response["result"], "elicit_in_order", **each)] = each
    assert done == {each["text"]: f"{each['text']}: me on {each['text']}" for each in given}


async def test_concurrent_calls_of_one_client_are_each_asked_their_own(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await burst(one, 12, together=12)
        await status_of(tmp_path, "asks", parked=0, sessions=1)
        await burst(one, 12, together=1)  # it is known by now that it asks: more than sessions
        await status_of(tmp_path, "asks", parked=0, sessions=8)


async def test_calls_that_do_not_ask_are_all_in_one_process(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        slow = [send(one, "sleep", seconds=0.5) for _ in range(4)]
        sent = [send(one, "pid") for _ in range(6)]
        pids = {text_of(await one.answer(id)) for id in sent}
        for id in slow:
            await one.answer(id)
        await status_of(tmp_path, "asks", sessions=1)

    assert len(pids) == 1


async def test_after_a_cancel_a_client_is_in_the_same_process(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        pid = await through(one, "pid")
        held = send(one, "sleep", seconds=60)
        await status_of(tmp_path, "asks", in_flight=1)
        cancel(one, held)
        assert await through(one, "pid") == pid

        assert await through(one, "elicit_pid") == pid  # of a call that asks, too
        asked = await park(one, "elicit_then_sleep", text="x")
        held = retry(one, asked, "elicit_then_sleep", text="x")
        await status_of(tmp_path, "asks", in_flight=1, parked=0)
        cancel(one, held)
        assert await through(one, "elicit_pid") == pid


async def test_where_each_client_has_one_process_askers_take_turns_in_it(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, asks(isolation="session")),
        client(tmp_path, "asks") as one,
    ):
        pid = await through(one, "elicit_pid")
        asked = await park(one, "elicit_pid")
        waiting = [send(one, "elicit_pid") for _ in range(3)]
        assert await through(one, "pid") == pid  # all others run on
        for id in waiting:
            assert text_of(await one.answer(retry(one, asked, "elicit_pid"))) == pid
            asked = (await one.answer(id))["result"]
        assert text_of(await one.answer(retry(one, asked, "elicit_pid"))) == pid
        await status_of(tmp_path, "asks", sessions=1)


async def test_a_question_beside_a_long_call_is_asked_all_the_same(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        await through(one, "sleep", seconds=0)  # it does not ask, as was seen
        long = send(one, "sleep", seconds=60)
        assert await through(one, "elicit", text="x") == "x: me on x"
        await status_of(tmp_path, "asks", in_flight=1, parked=0)
        cancel(one, long)


async def test_a_question_that_another_call_asked_is_answered_all_the_same(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        late = send(one, "elicit_slowly", text="x", seconds=2.5)
        long = send(one, "sleep", seconds=5)  # nothing is known of either: the latest is asked
        result = (await one.answer(long))["result"]
        (wanted,) = result["inputRequests"].values()
        assert wanted["params"]["message"] == "x"
        again = retry(one, result, "sleep", seconds=5)
        assert text_of(await one.answer(late)) == "x: me on x"
        assert text_of(await one.answer(again)) == "slept"


async def test_a_call_that_asks_no_more_than_others_does_not_hold_them_up(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        result = await park(one, "elicit", text="x")
        assert (await one.answer(one.modern("tools/list", _meta=ASKING)))["result"]["tools"]
        assert await through(one, "echo", text="on") == "on"
        assert text_of(await one.answer(retry(one, result, "elicit", text="x"))) == "x: me on x"


async def test_an_update_is_told_whichever_session_it_happens_in(tmp_path: Path) -> None:
    async with daemon(tmp_path, asks()), client(tmp_path, "asks") as one:
        one.modern(
            "subscriptions/listen",
            id="s",
            notifications={"resourceSubscriptions": ["a:1"]},
            _meta=ASKING,
        )
        assert (await one.read())["method"] == "notifications/subscriptions/acknowledged"
        result = await park(one, "elicit", text="x")  # holds the first session
        assert await through(one, "update", uri="a:1") == "updated"
        assert [note["params"]["uri"] for note in one.notes] == ["a:1"]
        await one.answer(retry(one, result, "elicit", text="x"))


async def test_what_a_process_says_after_its_client_left_is_for_nobody(tmp_path: Path) -> None:
    late = {"command": server("answers_late"), "era": "legacy", "limits": {"stop_timeout": 5}}
    socket = tmp_path / "late.sock"
    endpoint = {"unix": str(socket), "server": "late"}
    async with daemon(tmp_path, {"late": late}, endpoints=[endpoint]) as running:
        one = await socket_client(socket)
        one.modern("tools/call", name="echo", arguments={})
        await status_of(tmp_path, "late", sessions=1)
        [pid] = descendants_that_run(running.pid, "answers_late")

        one.abort()

        await gone(pid)
        await status_of(tmp_path, "late", sessions=0)
    assert not any("Traceback" in line for line in running.log), running.log


def descendants_that_run(pid: int, program: str) -> list[int]:
    """Return the processes below one that run a program of that name."""

    def runs(one: int) -> bool:
        return program.encode() in Path(f"/proc/{one}/cmdline").read_bytes()

    return [one for one in descendants(pid) if runs(one)]
