"""One session over several servers, with real servers on a real NATS."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from tests.connections import plain
from tests.integration.frontends.several import EdgeClient, client_of
from tests.natsd import NatsServer
from tests.running import Running, daemon, server, text_of
from tests.waiting import until

LONG = "long_" + "x" * 150
TOOLS_CHANGED = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TASKS = "io.modelcontextprotocol/tasks"


GRANTS = """
no_auth_user: host
authorization { users: [
  { user: host, password: h }
  { user: alice, password: a, permissions: {
    publish: { deny: ["$SRV.>"] }
    subscribe: { deny: ["mcp.evt.>"] }
  } }
  { user: carol, password: c, permissions: { subscribe: { deny: ["mcp.evt.>"] } } }
] }
"""


def various(name: str, kind: str = "") -> list[str]:
    return server("various", name, kind)


def two() -> dict[str, Any]:
    return {"one": various("one"), "two": various("two")}


def error_of(response: dict[str, Any]) -> tuple[int, str]:
    assert "error" in response, response
    return response["error"]["code"], response["error"]["message"]


async def tool(client: EdgeClient, name: str, **arguments: Any) -> str:
    return text_of(await client.call(name, **arguments))


# What is wrong.


async def test_a_name_without_a_server_is_refused_with_the_names_there_are(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        await client.names()
        code, text = error_of(await client.call("who"))
        assert code == -32602
        assert "one, two" in text
        assert error_of(await client.call("three__who"))[0] == -32602


async def test_a_tool_that_the_server_lacks_is_refused_in_the_servers_words(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        assert error_of(await client.call("two__nothing")) == (-32602, "two has no tool nothing")
        failed = await client.call("one__fail")
        assert failed["error"] == {"code": -32000, "message": "it failed", "data": {"at": "one"}}


@pytest.mark.parametrize("frame", ["", "note"])
async def test_a_server_cannot_answer_in_the_place_of_another(
    natsd: NatsServer, tmp_path: Path, frame: str
) -> None:
    forged = b'{"jsonrpc":"2.0","id":"meant","result":{"content":[{"type":"text","text":"no"}]}}'
    head = {"Mcp-Instance": "forger", "Mcp-Seq": "1"}

    async def forge(msg: Msg) -> None:
        if frame:
            await forger.publish(msg.reply, forged, headers={**head, "Mcp-Frame": frame})
        last = {**head, "Mcp-Seq": "2" if frame else "1"}
        await forger.publish(msg.reply, forged, headers=last)

    async with (
        daemon(tmp_path, two(), nats_url=natsd.url),
        plain(natsd.url) as forger,
        client_of(natsd.url, ["one", "bad"]) as client,
    ):
        await forger.subscribe("mcp.req.bad.>", queue="mcpnatsd", cb=forge)
        await forger.flush()
        client.modern("tools/call", id="meant", name="one__sleep", arguments={"seconds": 1})

        assert text_of(await client.call("bad__any")) == "no"
        assert text_of(await client.answer("meant")) == "slept"


async def test_a_cursor_is_refused_as_no_list_has_a_second_page(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        code, text = error_of(await client.answer(client.modern("tools/list", cursor="")))
        assert (code, "one page" in text) == (-32602, True)


@pytest.mark.parametrize("method", ["tasks/get", "x/y", "logging/setLevel"])
async def test_a_method_of_no_server_in_particular_is_refused(
    natsd: NatsServer, method: str
) -> None:
    async with client_of(natsd.url, None) as client:
        code, text = error_of(await client.answer(client.modern(method, taskId="7")))
        assert (code, "tools/call" in text) == (-32601, True)


async def test_a_server_that_is_absent_spoils_nothing_and_is_said_once(
    natsd: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        daemon(tmp_path, two(), nats_url=natsd.url),
        client_of(natsd.url, ["two", "absent"]) as client,
    ):
        with caplog.at_level(logging.WARNING):
            assert "two__who" in await client.names()
            assert "two__who" in await client.names()
        said = [one for one in caplog.records if one.message == "a server is left out"]
        assert [one.__dict__["server"] for one in said] == ["absent"]
        assert error_of(await client.call("absent__who"))[0] == -31001


async def test_without_a_grant_for_discovery_only_chosen_servers_can_be_had(
    natsd: NatsServer, tmp_path: Path
) -> None:
    natsd.write_config(GRANTS)
    natsd.restart()
    alice = {"user": "alice", "password": "a"}
    async with daemon(tmp_path, two(), nats_url=natsd.url):
        async with client_of(natsd.url, None, **alice) as client:
            code, text = error_of(await client.answer(client.modern("tools/list")))
            assert (code, "$srv" in text.lower()) == (-31002, True)
        async with client_of(natsd.url, ["one"], **alice) as client:
            assert "one__who" in await client.names()
            assert await tool(client, "one__who") == "one who"


async def test_when_no_server_answers_the_list_fails(natsd: NatsServer) -> None:
    async with client_of(natsd.url, ["absent", "gone"]) as client:
        code, text = error_of(await client.answer(client.modern("tools/list")))
        assert (code, "absent" in text) == (-31001, True)
        assert error_of(await client.answer(client.modern("server/discover")))[0] == -31001


async def test_bad_servers_do_not_spoil_the_session(natsd: NatsServer, tmp_path: Path) -> None:
    bad = {kind: various(kind, kind) for kind in ("broken", "refuses", "silent")}
    async with (
        daemon(tmp_path, {**bad, "good": various("good", "plain")}, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        names = await client.names()
        assert {name.partition("__")[0] for name in names} == {"good"}
        assert await tool(client, "good__who") == "good who"
        assert await tool(client, "silent__who") == "silent who"
        assert await client.names(bound=8) == names, "a server that is silent is waited for once"


async def test_a_list_that_does_not_end_is_cut_off(
    natsd: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = {"endless": various("endless", "endless"), "good": various("good", "plain")}
    async with (
        daemon(tmp_path, servers, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        names = await client.names()
        assert len([name for name in names if name.startswith("endless__")]) == 400
        assert "good__who" in names
        assert "a list is too long" in caplog.messages


async def test_a_server_that_dies_in_a_call_fails_that_call_only(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        sleeping = client.modern("tools/call", name="two__sleep", arguments={"seconds": 0.5})
        assert error_of(await client.call("one__exit"))[0] == -31004
        assert text_of(await client.answer(sleeping)) == "slept"
        assert await tool(client, "one__who") == "one who"


async def test_a_session_over_nobody_lists_nothing(natsd: NatsServer) -> None:
    async with client_of(natsd.url, None) as client:
        discovered = await client.answer(client.modern("server/discover"))
        assert set(discovered["result"]["capabilities"]) == {"tools", "prompts", "resources"}
        assert await client.listed() == []


async def test_too_many_requests_at_a_time_are_refused_as_busy(
    natsd: NatsServer, tmp_path: Path
) -> None:
    silent = {"one": various("one", "silent")}
    async with (
        daemon(tmp_path, silent, nats_url=natsd.url),
        client_of(natsd.url, ["one"]) as client,
    ):
        for _ in range(256):
            client.modern("tools/list")
        code, text = error_of(await client.answer(client.modern("tools/list")))
        assert (code, "256" in text) == (-31007, True)


# What is listed.


async def test_all_servers_are_one(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        result = (await client.answer(client.modern("server/discover")))["result"]
        assert result["supportedVersions"] == ["2026-07-28"]
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == (
            "complete",
            0,
            "private",
        )
        assert result["capabilities"] == {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True},
            "resources": {"listChanged": True, "subscribe": True},
            "completions": {},
        }
        assert result["instructions"] == "## one\n\nSpeak to one.\n\n## two\n\nSpeak to two."
        info = result["_meta"]["io.modelcontextprotocol/serverInfo"]
        assert info == {"name": "mcpnatsd", "version": "1.2.3"}


async def test_chosen_servers_offer_what_they_offer_and_no_more(
    natsd: NatsServer, tmp_path: Path
) -> None:
    servers = {**two(), "plain": various("plain", "plain")}
    async with (
        daemon(tmp_path, servers, nats_url=natsd.url),
        client_of(natsd.url, ["plain"]) as client,
    ):
        result = (await client.answer(client.modern("server/discover")))["result"]
        assert result["capabilities"] == {"tools": {"listChanged": True}}
        assert {name.partition("__")[0] for name in await client.names()} == {"plain"}
        assert error_of(await client.call("one__who"))[0] == -32602


async def test_the_pages_of_all_servers_are_one_page_in_order(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        tools = await client.listed()
        names = [one["name"] for one in tools]
        assert len(names) == len(set(names)) == 26
        assert [name.partition("__")[0] for name in names] == ["one"] * 13 + ["two"] * 13
        assert names[:2] == ["one__who", "one__under__score"]
        assert tools[0]["title"] == "Who  is it"
        assert tools[0]["description"] == "The who of a test."
        assert [one["name"] for one in await client.listed("prompts")] == [
            "one__greet",
            "two__greet",
        ]


async def test_every_tool_that_is_listed_can_be_called(natsd: NatsServer, tmp_path: Path) -> None:
    servers = {**two(), "one__hub": various("one__hub", "plain")}
    async with (
        daemon(tmp_path, servers, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        names = await client.names()
        long = [name for name in names if "long_" in name]
        assert [len(name) for name in long] == [128] * 3
        assert await tool(client, long[0]) == f"one {LONG}"
        assert await tool(client, "two__under__score") == "two under__score"
        hidden = next(name for name in names if name.startswith("one__hub__tool_"))
        assert await tool(client, hidden) == "one hub__tool"
        assert error_of(await client.call("one__hub__tool"))[1] == "one__hub has no tool tool"


async def test_a_shortened_name_is_understood_by_a_session_that_never_listed(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url):
        async with client_of(natsd.url, None) as client:
            long = next(name for name in await client.names() if "two__long_" in name)
        async with client_of(natsd.url, None) as later:
            assert await tool(later, long) == f"two {LONG}"


async def test_a_server_that_comes_late_is_told_as_a_change(
    natsd: NatsServer, tmp_path: Path
) -> None:
    servers = {"good": various("good", "plain"), "slow": various("slow", "slow")}
    async with (
        daemon(tmp_path, servers, nats_url=natsd.url),
        client_of(natsd.url, ["good", "slow"]) as client,
    ):
        client.listen(toolsListChanged=True)
        await client.note(ACKNOWLEDGED)
        assert "slow__who" not in await client.names()
        await client.note(TOOLS_CHANGED)
        assert "slow__who" in await client.names()


# One server's work.


async def test_progress_a_cancel_and_its_silence_pass(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        asked = client.modern(
            "tools/call", name="one__progress", arguments={"steps": 3}, _meta={"progressToken": "p"}
        )
        assert text_of(await client.answer(asked)) == "3 steps"
        assert [note["params"]["progressToken"] for note in client.notes] == ["p"] * 3

        sleeping = client.modern("tools/call", name="one__sleep", arguments={"seconds": 0.2})
        cancelled = {"requestId": sleeping}
        client.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled})
        assert await tool(client, "one__sleep", seconds=0.6) == "slept"
        assert client.unasked == []
        assert await tool(client, "one__heard") == "['notifications/cancelled']"


async def test_what_a_server_asks_of_the_user_is_answered_to_that_server(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        first = (await client.call("two__ask"))["result"]
        assert first["requestState"] == "state of two"
        again = client.modern(
            "tools/call",
            name="two__ask",
            arguments={},
            requestState=first["requestState"],
            inputResponses={"q": {"action": "decline"}},
        )
        assert (
            text_of(await client.answer(again)) == "two state of two {'q': {'action': 'decline'}}"
        )


async def test_no_server_starts_a_task_that_nobody_could_follow(
    natsd: NatsServer, tmp_path: Path
) -> None:
    offered = {"extensions": {TASKS: {}, "x/y": {}}}
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        meta = {"io.modelcontextprotocol/clientCapabilities": offered}
        asked = client.modern("tools/call", name="one__capabilities", arguments={}, _meta=meta)
        assert text_of(await client.answer(asked)) == "{'extensions': {'x/y': {}}}"


async def test_a_notification_of_an_extension_goes_to_every_server(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        for name in ("one", "two"):
            assert await tool(client, f"{name}__heard") == "[]"
        client.write({"jsonrpc": "2.0", "method": "notifications/x/y", "params": {}})
        for name in ("one", "two"):
            assert await tool(client, f"{name}__heard") == "['notifications/x/y']"


async def test_a_server_of_the_legacy_era_is_one_of_them(natsd: NatsServer, tmp_path: Path) -> None:
    servers = {"new": various("new", "plain"), "old": server("thin", "legacy")}
    async with (
        daemon(tmp_path, servers, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        assert {"new__who", "old__echo"} <= set(await client.names())
        assert await tool(client, "old__echo", text="still here") == "still here"


async def test_prompts_and_completions_go_to_the_server_in_their_name(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        got = await client.answer(client.modern("prompts/get", name="two__greet"))
        assert got["result"]["messages"][0]["content"]["text"] == "two greet"
        argument = {"name": "whom", "value": ""}
        for ref, said in (
            ({"type": "ref/prompt", "name": "two__greet"}, "two greet"),
            ({"type": "ref/resource", "uri": "two:t/{id}"}, "two two:t/{id}"),
        ):
            await client.listed("resources/templates")
            asked = client.modern("completion/complete", ref=ref, argument=argument)
            values = (await client.answer(asked))["result"]["completion"]["values"]
            assert values == [said]


# Resources.


async def read(client: EdgeClient, uri: str) -> dict[str, Any]:
    return await client.answer(client.modern("resources/read", uri=uri))


def content(response: dict[str, Any]) -> str:
    assert "result" in response, response
    text = response["result"]["contents"][0]["text"]
    assert isinstance(text, str)
    return text


async def test_a_resource_is_read_where_it_was_listed_or_found(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        for _ in range(2):
            assert content(await read(client, "two:never listed")) == "two"
        assert await tool(client, "one__heard") == "['two:never listed']"
        await client.listed("resources")
        await client.listed("resources/templates")
        assert content(await read(client, "two:own")) == "two"
        assert content(await read(client, "two:t/5")) == "two"


async def test_a_resource_of_two_servers_is_the_firsts_and_is_said_once(
    natsd: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                uris = [one["uri"] for one in await client.listed("resources")]
                assert uris == ["one:own", "shared:x", "two:own"]
        said = [one for one in caplog.records if "same resource" in one.message]
        assert len(said) == 1
        assert content(await read(client, "shared:x")) == "one"


async def test_a_resource_that_nobody_has_is_an_error_that_says_who_was_asked(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        code, text = error_of(await read(client, "three:x"))
        assert code == -32602
        assert "one: one has no three:x; two: two has no three:x" in text


# Subscriptions.


async def test_a_subscription_is_one_over_all_servers(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        await client.listed("resources")
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["two:own", "one:own"]}
        id = client.listen(**wanted)
        first = await client.read()
        assert first["method"] == ACKNOWLEDGED
        assert first["params"] == {"_meta": {SUBSCRIPTION: id}, "notifications": wanted}
        for name in ("one", "two"):
            client.modern("tools/call", name=f"{name}__change", arguments={})
            changed = await client.note(TOOLS_CHANGED)
            assert changed["_meta"][SUBSCRIPTION] == id
            assert (await client.note(UPDATED))["uri"] == f"{name}:own"


async def test_the_acknowledgement_comes_before_what_an_eager_server_tells(
    natsd: NatsServer, tmp_path: Path
) -> None:
    kinds = ("eager", "hesitant")
    async with (
        daemon(tmp_path, {kind: various(kind, kind) for kind in kinds}, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        client.listen(toolsListChanged=True)
        methods = [(await client.read())["method"] for _ in range(2)]
        assert methods == [ACKNOWLEDGED, TOOLS_CHANGED]


async def test_a_subscription_that_was_cancelled_is_silent(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        id = client.listen(toolsListChanged=True)
        await client.note(ACKNOWLEDGED)
        client.write(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        )
        await client.call("one__change")
        await client.call("one__who")
        assert client.notes == []


async def test_a_servers_end_does_not_end_the_subscription_and_its_return_is_told(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        client.listen(toolsListChanged=True, resourceSubscriptions=["one:own"])
        await client.note(ACKNOWLEDGED)
        for end in ("exit", "hang_up"):
            client.modern("tools/call", name=f"one__{end}", arguments={})
            assert (await client.note(UPDATED))["uri"] == "one:own"
        client.modern("tools/call", name="two__change", arguments={})
        await client.note(TOOLS_CHANGED)
        assert "notifications/cancelled" not in [note.get("method") for note in client.notes]


async def test_a_server_that_appears_is_told_and_can_be_used(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with (
        daemon(tmp_path / "a", {"one": various("one")}, nats_url=natsd.url),
        client_of(natsd.url, None) as client,
    ):
        client.listen(toolsListChanged=True, resourceSubscriptions=["two:own"])
        await client.note(ACKNOWLEDGED)
        async with daemon(tmp_path / "b", {"two": various("two")}, nats_url=natsd.url):
            await client.note(TOOLS_CHANGED)
            assert "two__who" in await client.names()
            assert await tool(client, "two__who") == "two who"
            async with asyncio.timeout(20):
                while UPDATED not in [note["method"] for note in client.notes]:
                    await client.call("two__change")
        await client.note(TOOLS_CHANGED)
        assert "two__who" not in await client.names()


async def test_a_chosen_server_that_comes_later_is_told(natsd: NatsServer, tmp_path: Path) -> None:
    async with client_of(natsd.url, ["later"]) as client:
        client.listen(toolsListChanged=True)
        await client.note(ACKNOWLEDGED)
        async with daemon(tmp_path, {"later": various("later")}, nats_url=natsd.url):
            await client.note(TOOLS_CHANGED)
            assert "later__who" in await client.names()


# NATS.


async def test_the_session_outlives_a_restart_of_nats(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        client.listen(toolsListChanged=True)
        await client.note(ACKNOWLEDGED)
        natsd.kill()
        await until(lambda: not client.connected)
        natsd.start()
        assert await tool(client, "one__who") == "one who"
        client.notes.clear()
        client.modern("tools/call", name="two__change", arguments={})
        await client.note(TOOLS_CHANGED)


async def test_servers_that_came_unheard_are_told_when_the_connection_is_back(
    natsd: NatsServer, tmp_path: Path
) -> None:
    natsd.write_config(GRANTS)
    natsd.restart()
    async with client_of(natsd.url, None, user="carol", password="c") as client:
        client.listen(toolsListChanged=True)
        await client.note(ACKNOWLEDGED)
        async with daemon(tmp_path, two(), nats_url=natsd.url):
            async with client_of(natsd.url, ["two"]) as other:
                assert await tool(other, "two__who") == "two who"
            client.edge._bus.connection._client._transport.abort()  # type: ignore[union-attr]
            await client.note(TOOLS_CHANGED)
            assert "two__who" in await client.names()


async def test_without_nats_a_list_says_so(natsd: NatsServer) -> None:
    async with client_of(natsd.url, None) as client:
        natsd.kill()
        await until(lambda: not client.connected)
        code, text = error_of(await client.answer(client.modern("tools/list")))
        assert (code, "not reachable" in text) == (-31005, True)
        natsd.start()


# Legacy clients.


async def test_a_legacy_client_has_all_servers_too(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url), client_of(natsd.url, None) as client:
        welcome = (await client.initialize())["result"]
        assert welcome["serverInfo"]["name"] == "mcpnatsd"
        assert welcome["capabilities"]["tools"] == {"listChanged": True}
        listed = await client.answer(client.legacy("tools/list"))
        assert "two__who" in [one["name"] for one in listed["result"]["tools"]]
        assert "resultType" not in listed["result"]
        assert text_of(await client.call("two__who", era="legacy")) == "two who"


async def test_nothing_is_left_when_the_session_ends(natsd: NatsServer, tmp_path: Path) -> None:
    async with daemon(tmp_path, two(), nats_url=natsd.url):
        async with client_of(natsd.url, None) as client:
            client.listen(toolsListChanged=True)
            await client.note(ACKNOWLEDGED)
            client.modern("tools/list")
        mine = {asyncio.current_task()}
        await until(lambda: asyncio.all_tasks() - mine <= _of_processes())


def _of_processes() -> set[asyncio.Task[Any]]:
    """The tasks that read what the daemon of a test says."""
    return {one for one in asyncio.all_tasks() if Running._gather.__qualname__ in repr(one)}
