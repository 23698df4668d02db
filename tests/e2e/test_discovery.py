"""What a plain NATS client sees and can do: no line of ours runs on its side."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tests import peers
from tests.connections import plain
from tests.natsd import NatsServer
from tests.running import META, Running, daemon, server, shim, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
CALL = "mcp.req.{}.tools.call.{}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One daemon on a NATS of its own, with servers of both eras and one that may not echo."""
    servers: dict[str, Any] = {name: peers.command_of(name) for name in ("py1", "py2")}
    servers |= {"thin": server("thin"), "old": server("thin", "legacy")}
    servers["guarded"] = {"command": server("thin"), "tools": {"deny": ["ec*"]}}
    servers["guarded-old"] = {**servers["guarded"], "command": server("thin", "legacy")}
    async with daemon(tmp_path_factory.mktemp("discovery"), servers) as running:
        yield running


@asynccontextmanager
async def connected(bridge: Running) -> AsyncIterator[Client]:
    """Open nats-py as anybody may who knows the token."""
    found = json.loads((bridge.folder / "run" / "mcpnatsd.json").read_text(encoding="utf-8"))
    async with plain(found["url"], token=found["token"]) as connection:
        yield connection


async def asked(connection: Client, subject: str, body: bytes = b"", **headers: str) -> Msg:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await connection.request(subject, body, timeout=BOUND, headers=names or None)


async def asked_json(connection: Client, subject: str) -> dict[str, Any]:
    found = json.loads((await asked(connection, subject)).data)
    assert isinstance(found, dict)
    return found


def envelope(name: str, **arguments: object) -> bytes:
    params = {"name": name, "arguments": arguments, "_meta": META}
    body = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params}
    return json.dumps(body).encode()


# ADR-32.


async def test_every_server_answers_a_ping(bridge: Running) -> None:
    async with connected(bridge) as connection:
        inbox = connection.new_inbox()
        sub = await connection.subscribe(inbox)
        await connection.publish("$SRV.PING", reply=inbox)
        answers = [json.loads((await sub.next_msg(BOUND)).data) for _ in range(6)]

    assert {one["name"] for one in answers} == {
        "mcp-py1", "mcp-py2", "mcp-thin", "mcp-old", "mcp-guarded", "mcp-guarded-old",
    }  # fmt: skip
    assert {one["type"] for one in answers} == {"io.nats.micro.v1.ping_response"}
    assert len({one["id"] for one in answers}) == 6  # who groups by it sees six services


async def test_info_names_an_endpoint_for_each_tool(bridge: Running) -> None:
    async with connected(bridge) as connection:
        await asked(connection, CALL.format("thin", "pid"))
        info = await asked_json(connection, "$SRV.INFO.mcp-thin")
        same = await asked_json(connection, f"$SRV.INFO.mcp-thin.{info['id']}")
        subjects = {one["name"]: one["subject"] for one in info["endpoints"]}
        pid = await asked(connection, subjects["pid"])

    assert info["type"] == "io.nats.micro.v1.info_response"
    assert same["endpoints"] == info["endpoints"]
    assert subjects["echo"] == "mcp.req.thin.tools.call.echo"
    assert {one["queue_group"] for one in info["endpoints"]} == {"mcpnatsd"}
    assert info["metadata"]["mcp.wire"] == "1"
    assert info["metadata"]["mcp.eras"] == "modern"
    assert all(isinstance(value, str) for value in info["metadata"].values())
    assert json.loads(pid.data)["content"][0]["text"].isdigit()


async def test_nobody_answers_for_a_service_that_is_not_there(bridge: Running) -> None:
    async with connected(bridge) as connection:
        sub = await connection.subscribe(inbox := connection.new_inbox())
        await connection.publish("$SRV.INFO.mcp-nowhere", reply=inbox)
        answer = await sub.next_msg(BOUND)

    assert answer.headers is not None
    assert answer.headers["Status"] == "503"


@pytest.mark.parametrize(("name", "era"), [("py2", "modern"), ("py1", "legacy")])
async def test_the_counts_are_true_after_50_calls_at_once(
    bridge: Running, name: str, era: str
) -> None:
    async with await shim(bridge.folder, name) as client, connected(bridge) as connection:
        if era == "legacy":
            await client.initialize(BOUND)
        send = client.modern if era == "modern" else client.legacy
        await client.answer(send("tools/list"), BOUND)
        before = await counts(connection, name)
        calls = [("echo", {"text": "hi"})] * 30 + [("fail", {})] * 10
        calls += [("slow", {"seconds": 0.2})] * 10
        ids = [send("tools/call", name=tool, arguments=given) for tool, given in calls]
        failed = [(await client.answer(id, BOUND))["result"].get("isError") for id in ids]
        after = await counts(connection, name)

    assert failed.count(True) == 10
    grown = {tool: after[tool]["num_requests"] - before[tool]["num_requests"] for tool in after}
    assert {tool: n for tool, n in grown.items() if n} == {"echo": 30, "fail": 10, "slow": 10}
    assert {tool: one["num_errors"] for tool, one in after.items() if one["num_errors"]} == {
        "fail": 10
    }
    assert after["fail"]["last_error"]
    assert after["echo"]["last_error"] == ""
    assert after["slow"]["average_processing_time"] >= 190_000_000
    assert after["slow"]["processing_time"] >= 10 * 190_000_000


async def counts(connection: Client, name: str) -> dict[str, dict[str, Any]]:
    """Return what STATS says of each endpoint."""
    stats = await asked_json(connection, f"$SRV.STATS.mcp-{name}")
    assert stats["type"] == "io.nats.micro.v1.stats_response"
    return {one["name"]: one for one in stats["endpoints"]}


# A call by somebody who knows nothing of MCP.


@pytest.mark.parametrize("name", ["thin", "old"])
async def test_bare_arguments_get_a_bare_result(bridge: Running, name: str) -> None:
    async with connected(bridge) as connection:
        answer = await asked(connection, CALL.format(name, "echo"), b'{"text": "hi"}')

    result = json.loads(answer.data)
    assert result["content"] == [{"type": "text", "text": "hi"}]
    assert "jsonrpc" not in result
    assert not answer.headers


@pytest.mark.parametrize(
    ("subject", "body", "code"),
    [
        (CALL.format("thin", "unheard_of"), b"{}", "-32602"),
        (CALL.format("old", "unheard_of"), b"{}", "-32602"),
        (CALL.format("thin", "echo"), b"[1]", "-32600"),
        (CALL.format("thin", "echo"), b"hello", "-32700"),
        (CALL.format("guarded", "echo"), b"{}", "-31002"),
        (CALL.format("guarded-old", "echo"), b"{}", "-31002"),
    ],
)
async def test_a_bare_call_that_fails_says_so_in_the_headers_of_a_service(
    bridge: Running, subject: str, body: bytes, code: str
) -> None:
    async with connected(bridge) as connection:
        answer = await asked(connection, subject, body)

    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] == code
    assert answer.headers["Nats-Service-Error"]


async def test_a_plain_caller_gets_one_message_and_no_progress(bridge: Running) -> None:
    """It is also what crosses a singleton service import."""
    params = {"name": "progress", "arguments": {"steps": 5}, "_meta": {**META, "progressToken": 1}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    async with connected(bridge) as connection:
        sub = await connection.subscribe(inbox := connection.new_inbox())
        await connection.publish(CALL.format("thin", "progress"), body.encode(), reply=inbox)
        final = await sub.next_msg(BOUND)
        await asked(connection, CALL.format("thin", "echo"), envelope("echo"))
        more = sub.pending_msgs

    assert text_of(json.loads(final.data)) == "5 steps"
    assert json.loads(final.data)["id"] == 1
    assert more == 0


# The subject is what NATS granted, the body is what the server acts on.


@pytest.mark.parametrize(
    ("subject", "body", "headers"),
    [
        ("thin.tools.call.echo", envelope("exit"), {}),
        ("thin.tools.call.echo", envelope("echo.more"), {}),
        ("thin.tools.call", envelope("echo"), {}),
        ("thin.tools.list", envelope("echo"), {}),
        ("thin.tools.call.echo", envelope("echo"), {"Mcp_Name": "exit"}),
        ("thin.tools.call.echo", envelope("echo"), {"Mcp_Method": "tools/list"}),
        ("guarded.tools.call.=65cho", envelope("echo"), {}),
        ("guarded-old.tools.call.=65cho", envelope("echo"), {}),
    ],
)
async def test_a_call_whose_parts_disagree_is_refused(
    bridge: Running, subject: str, body: bytes, headers: dict[str, str]
) -> None:
    async with connected(bridge) as connection:
        answer = json.loads((await asked(connection, f"mcp.req.{subject}", body, **headers)).data)

    assert answer["error"]["code"] == -32020
    assert answer["id"] == "a"


@pytest.mark.parametrize("name", ["guarded", "guarded-old"])
async def test_an_encoded_subject_does_not_pass_a_deny(bridge: Running, name: str) -> None:
    """The subject is never decoded: whoever may publish it can call nothing by it."""
    async with connected(bridge) as connection:
        answer = await asked(connection, CALL.format(name, "=65cho"), b'{"text": "passed"}')

    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] in {"-32600", "-31002"}
    assert b"passed" not in answer.data


@pytest.mark.parametrize(
    "body",
    [
        envelope("echo").replace(b'"name": "echo"', b'"name": "echo", "name": "exit"'),
        envelope("echo").replace(b'"name": "echo"', b'"name": "exit", "name": "echo"'),
        envelope("echo").replace(b'"params"', b'"params": {"name": "exit"}, "params"'),
    ],
)
async def test_a_member_that_stands_twice_does_not_call_another_tool(
    bridge: Running, body: bytes
) -> None:
    """Two readers may take different ones: then the server must not see the other."""
    async with connected(bridge) as connection:
        answer = json.loads((await asked(connection, CALL.format("thin", "echo"), body)).data)
        await asked(connection, CALL.format("thin", "echo"), envelope("echo"))

    refused = answer.get("error", {}).get("code") in {-32600, -32020}
    assert refused or text_of(answer) == "", answer


# Events.


async def test_events_tell_of_a_server_that_comes_changes_and_goes(natsd: NatsServer) -> None:
    commands = {"thin": {"command": server("changes_tools"), "era": "modern"}}
    async with plain(natsd.url) as connection:
        sub = await connection.subscribe("mcp.evt.thin.*")
        await connection.flush()
        async with daemon(natsd.folder / "daemon", commands, nats_url=natsd.url):
            up = await event(sub, "up")
            called = await asked(connection, CALL.format("thin", "sleep"), b'{"seconds": 0}')
            changed = await event(sub, "tools")
        down = await event(sub, "down")

    assert b"slept" in called.data
    assert up.data == changed.data == down.data != b""


async def event(sub: Subscription, what: str) -> Msg:
    """Return the next event of that kind."""
    async with asyncio.timeout(BOUND):
        while True:
            msg = await sub.next_msg(BOUND)
            if msg.subject == f"mcp.evt.thin.{what}":
                return msg
