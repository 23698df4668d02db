"""A legacy client at a modern server: what it says is translated at its edge."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ask, cancel, client, refusal, works
from tests.faults import LATE, Record, bus
from tests.running import Running, Shim, daemon, server, shim, text_of
from tests.waiting import until

OFFERS: dict[str, Any] = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "experimental": {"x": {"y": 1}},
    "tasks": {"list": {}},
}
INFO = {"name": "old", "version": "1", "title": "Old"}
ACCEPT = {"action": "accept", "content": {"name": "ann"}}


def asking(*arguments: str, **config: Any) -> dict[str, Any]:
    return {"asks": {"command": server("asks_modern", *arguments), **config}}


async def initialize(one: Shim, revision: str = "2025-11-25", **offers: Any) -> dict[str, Any]:
    params = {"protocolVersion": revision, "capabilities": offers, "clientInfo": INFO}
    response = await one.answer(one.legacy("initialize", **params), LATE)
    one.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert "result" in response, response
    result = response["result"]
    assert isinstance(result, dict)
    return result


@asynccontextmanager
async def legacy(folder: Path, name: str = "asks", **offers: Any) -> AsyncIterator[Shim]:
    async with await shim(folder, name) as one:
        await initialize(one, **(offers or OFFERS))
        yield one
        await one.stop()


async def asked(one: Shim, method: str) -> dict[str, Any]:
    """Return the next request of the server."""
    while True:
        message = await one.read()
        if message.get("method") == method and "id" in message:
            return message
        assert "id" not in message, message
        one.notes.append(message)


def reply(one: Shim, request: dict[str, Any], result: object) -> None:
    one.write({"jsonrpc": "2.0", "id": request["id"], "result": result})


async def noted(one: Shim, method: str) -> dict[str, Any]:
    """Return the next notification with that method."""
    while True:
        for note in one.notes:
            if note["method"] == method:
                one.notes.remove(note)
                return note
        message = await one.read()
        assert "method" in message, message
        assert "id" not in message, message
        one.notes.append(message)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with daemon(tmp_path, asking()) as one:
        yield one


async def test_it_is_welcomed_in_its_own_revision(running: Running) -> None:
    for revision, agreed in (("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25")):
        async with await shim(running.folder, "asks") as one:
            assert await initialize(one, revision) == {
                "protocolVersion": agreed,
                "capabilities": {
                    "tools": {"listChanged": True},
                    "resources": {"subscribe": True, "listChanged": True},
                    "prompts": {},
                },
                "serverInfo": {"name": "thin", "version": "1.0.0"},
                "instructions": "Ask.",
            }
            assert text_of(await one.call("echo", era="legacy", text="hi")) == "hi"


async def test_each_request_says_who_asks_and_keeps_what_it_had(running: Running) -> None:
    async with legacy(running.folder) as one:
        own = {"traceparent": "00-1-2-01", "x": [1], "io.modelcontextprotocol/logLevel": "debug"}
        sent = one.legacy("tools/call", name="meta", arguments={}, _meta=own)
        meta = json.loads(text_of(await one.answer(sent)))

    assert meta == {
        "traceparent": "00-1-2-01",
        "x": [1],
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": INFO,
        "io.modelcontextprotocol/clientCapabilities": {
            "roots": {},
            "sampling": {},
            "elicitation": {"form": {}, "url": {}},
            "experimental": {"x": {"y": 1}},
        },
    }


async def test_a_question_of_the_server_is_a_request_to_the_client(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "elicit", keep="me")
        question = await asked(one, "elicitation/create")
        reply(one, question, ACCEPT)
        answered = json.loads(text_of(await one.answer(call)))

    assert question["params"]["message"] == "Who?"
    assert answered == {"answers": [{"who": ACCEPT}], "arguments": {"keep": "me"}}


async def test_all_questions_of_a_round_are_asked_at_once(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "ask_all")
        questions = [await one.read() for _ in range(3)]
        assert len({question["id"] for question in questions}) == 3
        given = {
            "elicitation/create": ("who", ACCEPT),
            "sampling/createMessage": ("what", {"role": "assistant", "content": [], "model": "m"}),
            "roots/list": ("where", {"roots": []}),
        }
        for question in reversed(questions):
            reply(one, question, given[question["method"]][1])
        answered = json.loads(text_of(await one.answer(call)))

    assert answered["answers"] == [dict(given.values())]


async def test_a_server_may_ask_again_and_progress_goes_on(running: Running) -> None:
    async with legacy(running.folder) as one:
        for token in ("t", 0):
            params = {"arguments": {}, "_meta": {"progressToken": token}}
            call = one.legacy("tools/call", name="ask_twice", **params)
            for number in range(2):
                question = await asked(one, "elicitation/create")
                reply(one, question, {"action": "accept", "content": {"name": str(number)}})
            answered = json.loads(text_of(await one.answer(call)))["answers"]

            assert [next(iter(each)) for each in answered] == ["first", "second"]
            reports = [note["params"] for note in one.notes]
            one.notes.clear()
            assert [each["progressToken"] for each in reports] == [token] * 3
            assert [each["progress"] for each in reports] == [1, 2, 3]


async def test_concurrent_calls_get_their_own_answers(running: Running) -> None:
    async with legacy(running.folder) as one:
        calls = [ask(one, "legacy", "elicit", number=number) for number in range(10)]
        questions = [await asked(one, "elicitation/create") for _ in calls]
        for question in questions:
            reply(one, question, {"action": "accept", "content": {"name": question["id"]}})
        answers = [json.loads(text_of(await one.answer(call))) for call in calls]

    assert [each["arguments"]["number"] for each in answers] == list(range(10))
    names = {each["answers"][0]["who"]["content"]["name"] for each in answers}
    assert names == {question["id"] for question in questions}


async def test_a_prompt_may_ask_as_well(running: Running) -> None:
    async with legacy(running.folder) as one:
        got = one.legacy("prompts/get", name="p")
        reply(one, await asked(one, "elicitation/create"), {"action": "decline"})
        messages = (await one.answer(got))["result"]["messages"]

    assert json.loads(messages[0]["content"]["text"]) == {"who": {"action": "decline"}}


async def test_a_url_gets_the_id_that_older_revisions_want(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "url")
        question = await asked(one, "elicitation/create")
        reply(one, question, {"action": "accept"})
        await one.answer(call)

    assert question["params"]["url"] == "https://example.org/"
    assert question["params"]["elicitationId"]


async def test_a_server_that_asks_for_time_gets_it(running: Running) -> None:
    async with legacy(running.folder) as one:
        assert text_of(await one.call("wait", era="legacy")) == "waited"


async def test_a_server_that_never_stops_asking_is_stopped(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "pester")
        for _ in range(16):
            reply(one, await asked(one, "elicitation/create"), ACCEPT)
        await refusal(one, call, -32603, "16 times")
        await works(one, "legacy")


async def test_what_the_client_did_not_offer_is_not_asked(running: Running) -> None:
    async with legacy(running.folder, roots={}, elicitation={}) as one:
        await refusal(one, ask(one, "legacy", "ask_all"), -32603, "sampling/createMessage")
        await refusal(one, ask(one, "legacy", "url"), -32603, "elicitation/url")
        assert one.unasked == []
        await works(one, "legacy")


async def test_an_error_in_place_of_an_answer_is_the_end_of_that_call_alone(
    running: Running,
) -> None:
    async with legacy(running.folder) as one:
        other = ask(one, "legacy", "elicit")
        kept = await asked(one, "elicitation/create")
        call = ask(one, "legacy", "ask_all")
        questions = [await one.read() for _ in range(3)]
        fault = {"code": -1, "message": "the user is out", "data": ["until", 5]}
        one.write({"jsonrpc": "2.0", "id": questions[0]["id"], "error": fault})

        assert (await one.answer(call))["error"] == fault
        taken_back = {note["params"]["requestId"] for note in one.notes}
        assert taken_back == {question["id"] for question in questions[1:]}
        reply(one, kept, ACCEPT)
        assert "result" in await one.answer(other)


async def test_a_cancelled_call_takes_its_questions_back(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "elicit")
        question = await asked(one, "elicitation/create")
        cancel(one, call)
        note = await noted(one, "notifications/cancelled")
        assert note["params"]["requestId"] == question["id"]
        reply(one, question, ACCEPT)  # it crossed
        await works(one, "legacy")


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    servers = {"recorder": {"command": record.command("modern")}}
    async with daemon(tmp_path, servers), legacy(tmp_path, "recorder") as one:
        call = ask(one, "legacy", "sleep", seconds=600)
        await works(one, "legacy")
        cancel(one, call)
        await until(lambda: "notifications/cancelled" in [m for _, m, _ in record.lines()], LATE)
        await works(one, "legacy")


async def test_an_answer_that_is_no_answer_fails_the_call(running: Running) -> None:
    async with legacy(running.folder) as one:
        call = ask(one, "legacy", "elicit")
        question = await asked(one, "elicitation/create")
        one.write(b'{"id":"%b","result":{}}\n' % question["id"].encode())
        await refusal(one, call, -32600, "jsonrpc")
        await works(one, "legacy")


@pytest.mark.parametrize(
    ("result", "word"),
    [
        ({"resultType": "task", "taskId": "1"}, "'task'"),
        ({"resultType": 5}, "None"),
        ({"resultType": "input_required"}, "does not say which"),
        ({"resultType": "input_required", "inputRequests": [1]}, "no way of MCP"),
        ({"resultType": "input_required", "inputRequests": {"a": 5}}, "no way of MCP"),
        ({"resultType": "input_required", "inputRequests": {"a": {}}}, "no way of MCP"),
        (
            {
                "resultType": "input_required",
                "inputRequests": {str(n): {"method": "roots/list"} for n in range(65)},
            },
            "65",
        ),
        (
            {"resultType": "input_required", "inputRequests": {"a": {"method": "ping"}}},
            "asks for ping",
        ),
    ],
    ids=str,
)
async def test_a_result_that_no_legacy_client_can_take_is_an_error(
    running: Running, result: dict[str, Any], word: str
) -> None:
    async with legacy(running.folder) as one:
        await refusal(one, ask(one, "legacy", "odd", result=result), -32603, word)
        await works(one, "legacy")


async def test_results_are_what_an_older_revision_allows(running: Running) -> None:
    async with legacy(running.folder) as one:
        result = {"content": [], "structuredContent": [1, 2], "x": {"y": 0.5}}
        called = await one.call("odd", era="legacy", result=result)
        listed = (await one.answer(one.legacy("tools/list")))["result"]

    assert called["result"] == {**result, "structuredContent": {"result": [1, 2]}}
    assert "resultType" not in listed
    assert [tool["name"] for tool in listed["tools"]][-1] == "odd"
    assert "outputSchema" not in listed["tools"][-1]


async def test_what_has_no_counterpart_is_refused_and_says_why(running: Running) -> None:
    async with legacy(running.folder) as one:
        assert await one.answer(one.legacy("ping")) == {"jsonrpc": "2.0", "id": 2, "result": {}}
        again = one.legacy("initialize", protocolVersion="2025-11-25", capabilities={})
        await refusal(one, again, -32600, "initialized already")
        await refusal(one, one.legacy("tasks/list"), -32601, "tasks")
        await refusal(one, one.legacy("subscriptions/listen"), -32601, "resources/subscribe")
        level = one.legacy("logging/setLevel", level="debug")
        await refusal(one, level, -32601, "isolation: session")
        await refusal(one, one.legacy("resources/subscribe"), -32600, "params.uri")
        await refusal(one, one.legacy("no/such", x=1), -32601, "no/such")
        await refusal(one, one.legacy("tools/call"), -32600, "params.name")
        one.legacy("tools/call", id=50, name="sleep", arguments={"seconds": 0.2})
        await refusal(one, one.legacy("tools/list", id=50), -32600, "in flight")
        assert text_of(await one.answer(50)) == "slept"
        one.write({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
        one.write({"jsonrpc": "2.0", "id": "nobody's", "result": {}})
        await works(one, "legacy")


async def test_log_messages_come_where_the_process_is_the_clients_own(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking(isolation="session")), await shim(tmp_path, "asks") as one:
        assert "logging" in (await initialize(one))["capabilities"]
        assert text_of(await one.call("log", era="legacy")) == "None"
        await refusal(one, one.legacy("logging/setLevel", level="loud"), -32602, "warning")
        assert "result" in await one.answer(one.legacy("logging/setLevel", level="warning"))
        assert text_of(await one.call("log", era="legacy")) == "warning"
        note = await noted(one, "notifications/message")

    assert note["params"] == {"level": "warning", "data": "logged"}


# What is heard unasked.


async def test_changes_come_to_who_subscribed_and_to_nobody_else(running: Running) -> None:
    async with legacy(running.folder) as ann, legacy(running.folder) as bob:
        assert (await ann.answer(ann.legacy("resources/subscribe", uri="file:///a")))[
            "result"
        ] == {}
        again = ann.legacy("resources/subscribe", uri="file:///a")
        assert (await ann.answer(again))["result"] == {}
        await bob.call("touch", era="legacy", uri="file:///a")
        updated = await noted(ann, "notifications/resources/updated")
        await bob.call("change", era="legacy")
        changed = [await noted(one, "notifications/tools/list_changed") for one in (ann, bob)]
        await works(bob, "legacy")
        await works(ann, "legacy")

    assert updated["params"] == {"uri": "file:///a"}
    assert [note["params"] for note in changed] == [{}, {}]
    assert [ann.notes, bob.notes] == [[], []]


async def test_many_subscriptions_end_in_one_that_brings_each_update_once(
    running: Running,
) -> None:
    uris = [f"file:///{number}" for number in range(20)]
    async with legacy(running.folder) as one:
        for id in [one.legacy("resources/subscribe", uri=uri) for uri in uris]:
            assert "result" in await one.answer(id)
        for uri in uris:
            # It says how many listens are open: those before the last are given up.
            assert text_of(await one.call("touch", era="legacy", uri=uri)) == "1"
        got = [(await noted(one, "notifications/resources/updated"))["params"] for _ in uris]
        assert got == [{"uri": uri} for uri in uris]

        for id in [one.legacy("resources/unsubscribe", uri=uri) for uri in uris[1:]]:
            assert "result" in await one.answer(id)
        for uri in reversed(uris):
            await one.call("touch", era="legacy", uri=uri)
        assert (await noted(one, "notifications/resources/updated"))["params"] == {"uri": uris[0]}
        await works(one, "legacy")
    assert one.notes == []


async def test_a_resource_that_the_server_does_not_watch_is_an_error(running: Running) -> None:
    async with legacy(running.folder) as one:
        wanted = ("file:///a", "file:///refused", "file:///b")
        ids = [one.legacy("resources/subscribe", uri=uri) for uri in wanted]
        assert "result" in await one.answer(ids[0])
        await refusal(one, ids[1], -32602, "file:///refused")
        assert "result" in await one.answer(ids[2])
        await one.call("touch", era="legacy", uri="file:///b")
        assert (await noted(one, "notifications/resources/updated"))["params"]["uri"] == "file:///b"


async def test_a_server_that_offers_subscriptions_and_has_none_says_so(tmp_path: Path) -> None:
    async with daemon(tmp_path, asking("no-listen")), legacy(tmp_path) as one:
        await works(one, "legacy")
        subscribed = one.legacy("resources/subscribe", uri="file:///a")
        await refusal(one, subscribed, -32601, "subscriptions/listen")
        assert "result" in await one.answer(one.legacy("resources/unsubscribe", uri="file:///a"))
        await works(one, "legacy")


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended"])
async def test_a_lost_subscription_comes_back_and_the_client_fetches_again(
    running: Running, *, killed: bool
) -> None:
    async with legacy(running.folder) as one, legacy(running.folder) as other:
        assert "result" in await one.answer(one.legacy("resources/subscribe", uri="file:///a"))
        if killed:
            os.kill(int(text_of(await other.call("pid", era="legacy"))), signal.SIGKILL)
        else:
            await other.call("hang_up", era="legacy")
        updated = await noted(one, "notifications/resources/updated")
        for kind in ("tools", "resources"):
            await noted(one, f"notifications/{kind}/list_changed")

        assert updated["params"] == {"uri": "file:///a"}
        await other.call("touch", era="legacy", uri="file:///a", bound=LATE)
        await noted(one, "notifications/resources/updated")
    assert one.notes == []


async def test_subscriptions_go_on_after_nats_was_away(tmp_path: Path) -> None:
    async with (
        bus(tmp_path) as own,
        daemon(tmp_path / "a", asking(), nats_url=own.natsd.url),
    ):
        one = await own.shim("asks")
        await initialize(one, **OFFERS)
        assert "result" in await one.answer(one.legacy("resources/subscribe", uri="file:///a"))
        own.natsd.restart()
        assert "result" in await one.call("touch", era="legacy", uri="file:///a", bound=LATE)
        await noted(one, "notifications/resources/updated")


async def test_a_client_that_leaves_leaves_no_subscription(running: Running) -> None:
    async with legacy(running.folder) as one:
        await one.answer(one.legacy("resources/subscribe", uri="file:///a"))
    async with client(running.folder, "asks") as other:
        async with asyncio.timeout(LATE):
            while text_of(await other.call("touch", uri="file:///a")) != "0":
                pass


# Which way.


async def test_what_waits_for_the_answer_to_initialize_is_not_lost(running: Running) -> None:
    async with await shim(running.folder, "asks") as one:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO}
        welcome = one.legacy("initialize", **params)
        ids = [one.legacy("tools/call", name="echo", arguments={"text": str(n)}) for n in range(5)]
        given_up = ask(one, "legacy", "echo", text="never")
        cancel(one, given_up)
        pinged = one.legacy("ping")
        await refusal(one, one.legacy("tools/list", id=ids[0]), -32600, "in flight")
        assert "result" in await one.answer(pinged)
        assert "result" in await one.answer(welcome)
        assert [text_of(await one.answer(id)) for id in ids] == list("01234")
        await works(one, "legacy")
        assert one.unasked == []


async def test_a_server_of_both_eras_is_not_translated(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin")}), legacy(tmp_path, "thin") as one:
        listed = await one.answer(one.legacy("tools/list"))

    assert "resultType" in listed["result"]  # as the server wrote it


async def test_a_server_that_is_configured_as_modern_never_sees_initialize(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path / "record")
    servers = {"recorder": {"command": record.command("both"), "era": "modern"}}
    async with daemon(tmp_path, servers), legacy(tmp_path, "recorder") as one:
        await works(one, "legacy")

    assert "initialize" not in [method for _, method, _ in record.lines()]


async def test_two_instances_serve_one_translated_client(tmp_path: Path) -> None:
    servers = asking()
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", servers, nats_url=url) as a:
            one = await own.shim("asks")
            await initialize(one, **OFFERS)
            call = ask(one, "legacy", "elicit")
            question = await asked(one, "elicitation/create")
            async with daemon(tmp_path / "b", servers, nats_url=url):
                await a.stop()
                reply(one, question, ACCEPT)
                response = await one.answer(call, LATE)
                # The state belongs to an instance that is gone: nothing was executed.
                assert response["error"]["data"]["outcome"] == "not-executed"
                assert text_of(await one.call("echo", era="legacy", text="x", bound=LATE)) == "x"
