"""Clients of a gateway, and servers of the other era behind it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.e2e.parking import ALL, ASKING, again, answers_of, asks
from tests.gateways import (
    BOTH,
    LEGACY,
    Gateway,
    Session,
    events,
    events_of,
    gateway,
    modern_message,
    tool_call,
)
from tests.natsd import NatsServer
from tests.running import daemon, server, text_of

LATE = 40.0
"""Bound of what waits for an SDK to start."""

INFO = {"name": "old", "version": "1"}
NOTE = "test://note/1"
ASKS = {"asks": {"command": server("asks_modern")}}
REPLIES: dict[str, Any] = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ann"}},
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "4"},
        "model": "m",
    },
    "roots/list": {"roots": []},
}


# Modern clients of a gateway, a legacy server on stdio.


async def posted(web: Gateway, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool as a client that can be asked; return the result."""
    response = await web.modern("asks", "tools/call", name=tool, arguments=arguments, _meta=ASKING)
    return final(response.text)["result"]


def final(text: str) -> dict[str, Any]:
    """Return the last message of a body, be it JSON or a stream."""
    found: dict[str, Any] = json.loads(text) if text.startswith("{") else events_of(text)[-1]
    return found


async def retried(web: Gateway, result: dict[str, Any], tool: str, **arguments: Any) -> Any:
    """POST the retry of a parked call."""
    name = arguments.pop("as_name", "me")
    params = again(result, answers_of(result, name), tool, **arguments)
    return final((await web.modern("asks", "tools/call", **params)).text)


async def test_a_parked_call_goes_on_with_the_next_post(tmp_path: Path) -> None:
    async with gateway(tmp_path, asks()) as web:
        pid = (await posted(web, "pid"))["content"][0]["text"]
        for _ in range(2):
            result = await posted(web, "elicit", text="Who?")
            assert result["resultType"] == "input_required"
            ended = await retried(web, result, "elicit", text="Who?")
            assert text_of(ended) == "Who?: me on Who?"
        assert (await posted(web, "pid"))["content"][0]["text"] == pid


async def test_a_parked_call_may_ask_again_and_on_another_connection(tmp_path: Path) -> None:
    async with gateway(tmp_path, asks()) as web:
        first = await posted(web, "ask_twice")
        async with Gateway(web.daemon, web.port) as other:
            second = (await retried(other, first, "ask_twice"))["result"]
        assert second["resultType"] == "input_required"
        ended = await retried(web, second, "ask_twice")

    assert text_of(ended) == "me on first me on second"


async def test_parked_calls_of_many_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async def one(web: Gateway, name: str) -> str:
        result = await posted(web, "elicit", text=name)
        assert result["resultType"] == "input_required", result
        return text_of(await retried(web, result, "elicit", text=name, as_name=name))

    names = [f"n{number}" for number in range(6)]
    async with gateway(tmp_path, asks()) as web:
        said = await asyncio.gather(*(one(web, name) for name in names))

    assert said == [f"{name}: {name} on {name}" for name in names]


async def test_a_retry_finds_the_instance_that_holds_its_call(
    tmp_path: Path, natsd: NatsServer
) -> None:
    names = [f"n{number}" for number in range(6)]
    async with (
        daemon(tmp_path / "a", asks(), nats_url=natsd.url),
        daemon(tmp_path / "b", asks(), nats_url=natsd.url),
        gateway(tmp_path / "g", {}, nats_url=natsd.url) as web,
    ):
        parked = await asyncio.gather(*(posted(web, "elicit", text=name) for name in names))
        ended = [
            text_of(await retried(web, result, "elicit", text=name, as_name=name))
            for name, result in zip(names, parked, strict=True)
        ]

    assert ended == [f"{name}: {name} on {name}" for name in names]


async def test_a_parked_call_is_of_who_made_it(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann token-of-ann\nbob token-of-bob\n")
    ann, bob = ({"authorization": f"Bearer token-of-{name}"} for name in ("ann", "bob"))
    arguments = {"text": "Who?"}
    async with gateway(tmp_path, asks(), tokens=str(tokens)) as web:
        asked = await web.modern(
            "asks", "tools/call", name="elicit", arguments=arguments, _meta=ASKING, headers=ann
        )
        result = asked.json()["result"]
        params = again(result, answers_of(result), "elicit", **arguments)
        stolen = await web.modern("asks", "tools/call", headers=bob, **params)
        ended = await web.modern("asks", "tools/call", headers=ann, **params)

    assert stolen.json()["error"]["code"] == -32602
    assert text_of(final(ended.text)) == "Who?: me on Who?"


async def test_a_client_that_cannot_be_asked_is_told_so_by_the_tool(tmp_path: Path) -> None:
    async with gateway(tmp_path, asks()) as web:
        assert "error -32601" in text_of((await web.call("asks", "elicit", text="x")).json())


async def test_a_client_that_hangs_up_cancels_at_a_legacy_server(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"py1": peers.command_of("py1")}) as web:
        meta, arguments = {"progressToken": "t"}, {"seconds": 600, "key": "k"}
        body, headers = modern_message("tools/call", name="slow", arguments=arguments, _meta=meta)
        async with web.http.stream("POST", "/mcp/py1", json=body, headers=headers) as response:
            stream = events(response)
            assert (await anext(stream))["data"]["method"] == "notifications/progress"
        async with asyncio.timeout(LATE):
            while text_of((await web.call("py1", "cancelled", key="k")).json()) != "1":
                pass


async def test_a_subscription_over_http_hears_of_a_legacy_server(tmp_path: Path) -> None:
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [NOTE]}
    async with gateway(tmp_path, {"py1": peers.command_of("py1")}) as web:
        body, headers = modern_message("subscriptions/listen", id="mine", notifications=wanted)
        async with web.http.stream("POST", "/mcp/py1", json=body, headers=headers) as response:
            stream = events(response)
            acknowledged = (await anext(stream))["data"]["params"]
            await web.call("py1", "touch", uri=NOTE)
            heard = (await anext(stream))["data"]

    assert acknowledged["notifications"] == wanted
    assert heard["method"] == "notifications/resources/updated"
    assert heard["params"]["uri"] == NOTE


# Legacy clients of a gateway, a modern server on stdio.


async def shake_hands(web: Gateway, **offers: Any) -> Session:
    """Open a session as a client that can be asked."""
    params = {"protocolVersion": LEGACY, "capabilities": offers, "clientInfo": INFO}
    body = {"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}
    response = await web.http.post("/mcp/asks", json=body, headers={"accept": BOTH})
    assert final(response.text)["result"]["protocolVersion"] == LEGACY
    session = Session(web, "asks", response.headers["mcp-session-id"], LEGACY)
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await session.post(note)).status_code == 202
    return session


async def answered(session: Session, message: dict[str, Any]) -> list[dict[str, Any]]:
    """POST a request, answer what is asked on its stream; return all that came on it."""
    came: list[dict[str, Any]] = []
    async with session.stream("POST", message=message) as response:
        if response.headers["content-type"] == "application/json":
            return [json.loads(await response.aread())]
        async for event in events(response):
            if not event.get("data"):
                continue
            came.append(event["data"])
            if "method" in came[-1]:
                result = REPLIES[came[-1]["method"]]
                reply = {"jsonrpc": "2.0", "id": came[-1]["id"], "result": result}
                assert (await session.post(reply)).status_code == 202
    return came


@pytest.mark.parametrize(
    ("tool", "methods"),
    [
        ("elicit", ["elicitation/create"]),
        ("ask_all", ["elicitation/create", "roots/list", "sampling/createMessage"]),
        ("ask_twice", ["elicitation/create"] * 2),
    ],
)
async def test_input_that_is_required_becomes_requests_on_the_stream(
    tmp_path: Path, tool: str, methods: list[str]
) -> None:
    async with gateway(tmp_path, ASKS) as web:
        session = await shake_hands(web, **ALL)
        came = await answered(session, tool_call(tool, id="c", keep="me"))

    assert sorted(one["method"] for one in came[:-1]) == methods
    said = json.loads(text_of(came[-1]))
    assert came[-1]["id"] == "c"
    assert said["arguments"] == {"keep": "me"}
    assert sum(len(answers) for answers in said["answers"]) == len(methods)


async def test_calls_at_once_are_each_asked_and_answered(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    async with gateway(tmp_path, ASKS) as web:
        session = await shake_hands(web, **ALL)
        calls = (answered(session, tool_call("elicit", id=name, keep=name)) for name in names)
        streams = await asyncio.gather(*calls)

    for name, came in zip(names, streams, strict=True):
        assert came[-1]["id"] == name
        assert json.loads(text_of(came[-1]))["arguments"] == {"keep": name}
    assert sum(len(came) - 1 for came in streams) == len(names)


async def test_a_client_that_cannot_be_asked_gets_an_error(tmp_path: Path) -> None:
    async with gateway(tmp_path, ASKS) as web:
        session = await shake_hands(web)
        error = final((await session.call("elicit")).text)["error"]

    assert error["code"] == -32603
    assert "did not offer" in error["message"]


async def test_a_session_hears_of_a_modern_server_on_its_own_stream(tmp_path: Path) -> None:
    async with gateway(tmp_path, ASKS) as web:
        session = await shake_hands(web)
        async with session.stream() as response:
            stream = events(response)
            subscribe = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe"}
            await session.post({**subscribe, "params": {"uri": NOTE}})
            assert text_of(final((await session.call("touch", uri=NOTE)).text)) != "0"
            while not (event := await anext(stream)).get("data"):
                pass

    assert event["data"]["method"] == "notifications/resources/updated"
    assert event["data"]["params"]["uri"] == NOTE


async def test_a_cancel_of_a_legacy_session_reaches_a_modern_server(tmp_path: Path) -> None:
    async with gateway(
        tmp_path, {"asks": {"command": peers.command_of("py2"), "era": "modern"}}
    ) as web:
        session = await shake_hands(web)
        message = tool_call("slow", id="c", token="t", seconds=600, key="k")
        async with session.stream("POST", message=message) as response:
            stream = events(response)
            while not (event := await anext(stream)).get("data"):
                pass
            assert event["data"]["method"] == "notifications/progress"
            params = {"requestId": "c"}
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            assert (await session.post(note)).status_code == 202
            last = [event["data"] async for event in stream][-1]
            assert last["error"]["code"] == -32800
        async with asyncio.timeout(LATE):
            while text_of(final((await session.call("cancelled", key="k")).text)) != "1":
                pass


# What nobody answers.


async def test_a_notification_is_accepted_and_reaches_a_modern_server(tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with gateway(tmp_path, {"asks": server("recorder", str(record))}) as web:
        assert text_of((await web.call("asks", "echo", text="so it runs")).json())
        body, headers = modern_message("notifications/x")
        del body["id"]
        response = await web.http.post("/mcp/asks", json=body, headers=headers)
        async with asyncio.timeout(LATE):
            while "notifications/x" not in record.read_text():
                await asyncio.sleep(0.02)

    assert (response.status_code, response.content) == (202, b"")
