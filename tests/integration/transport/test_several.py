"""The SDK's client on several servers at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import ElicitResult, TextResourceContents

from tests.integration.transport.objects import Object, called, connected, held, serving

ERAS = ["modern", "auto", "legacy"]


def resourceful(name: str) -> MCPServer:
    """Return a server with a resource of its own that can change."""
    server = MCPServer(name, instructions=f"I am {name}.")

    @server.resource(f"{name}://note")
    def note() -> str:
        return f"note of {name}"

    @server.tool()
    async def touch(ctx: Context) -> str:
        await ctx.notify_resource_updated(f"{name}://note")
        return "touched"

    @server.prompt()
    def greet(whom: str) -> str:
        return f"{name} greets {whom}"

    return server


@asynccontextmanager
async def both(nats_url: str, prefix: str) -> AsyncIterator[tuple[Object, Object]]:
    """Serve two objects, `one` and `two`."""
    objects = Object("one"), Object("two")
    async with (
        serving(objects[0].mcp, nats_url, prefix, service_name="one"),
        serving(objects[1].mcp, nats_url, prefix, service_name="two"),
    ):
        yield objects


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools]


@pytest.mark.parametrize("name", ["*", ["one", "two"]])
@pytest.mark.parametrize("era", ERAS)
async def test_one_session_has_the_tools_of_all(
    nats_url: str, prefix: str, era: str, name: str | list[str]
) -> None:
    async with (
        both(nats_url, prefix),
        connected(nats_url, prefix, mode=era, name=name) as client,
    ):
        assert {"one__add", "two__add"} <= set(await names(client))
        assert await called(client, "one__who") == "one"
        assert await called(client, "two__who") == "two"
        if era != "modern":  # who names a revision at once asks nobody who is there
            assert client.server_info is not None
            assert client.server_info.name == "mcpnatsd"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_progress_and_cancel_reach_the_right_server(
    nats_url: str, prefix: str, era: str
) -> None:
    seen: list[float] = []

    async def on_progress(progress: float, _total: float | None, _text: str | None) -> None:
        seen.append(progress)

    async with (
        both(nats_url, prefix) as (one, two),
        connected(nats_url, prefix, mode=era, name="*") as client,
    ):
        await client.call_tool("two__steps", {"count": 3}, progress_callback=on_progress)
        assert seen == [1, 2, 3]
        call = asyncio.create_task(client.call_tool("two__hang", {}))
        async with asyncio.timeout(10):
            await two.hung.wait()
            call.cancel()
            await two.cancelled.wait()
        assert not one.hung.is_set()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_tool_of_one_of_them_asks_the_user(nats_url: str, prefix: str, era: str) -> None:
    async def elicit(_context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": f"Ann of {params.message}"})

    async with (
        both(nats_url, prefix),
        connected(nats_url, prefix, mode=era, name="*", elicitation_callback=elicit) as client,
    ):
        assert await called(client, "two__ask", question="Who?") == "Who? Ann of Who?"


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_resources_and_prompts_of_all_are_there(nats_url: str, prefix: str, era: str) -> None:
    async with (
        serving(resourceful("one"), nats_url, prefix, service_name="one"),
        serving(resourceful("two"), nats_url, prefix, service_name="two"),
        connected(nats_url, prefix, mode=era, name=["two", "one"]) as client,
    ):
        listed = (await client.list_resources()).resources
        assert [str(one.uri) for one in listed] == ["one://note", "two://note"]
        read = (await client.read_resource("two://note")).contents[0]
        assert isinstance(read, TextResourceContents)
        assert read.text == "note of two"
        got = await client.get_prompt("one__greet", {"whom": "Bob"})
        assert "one greets Bob" in str(got.messages[0].content)
        assert client.instructions == "## one\n\nI am one.\n\n## two\n\nI am two."


async def test_a_subscription_hears_all_servers_and_those_that_come_later(
    nats_url: str, prefix: str
) -> None:
    async with (
        serving(resourceful("one"), nats_url, prefix, service_name="one"),
        connected(nats_url, prefix, mode="modern", name="*") as client,
        client.listen(tools_list_changed=True, resource_subscriptions=["one://note"]) as heard,
        asyncio.timeout(20),
    ):
        await called(client, "one__touch")
        assert await anext(aiter(heard)) == ResourceUpdated(uri="one://note")
        async with serving(Object("late").mcp, nats_url, prefix, service_name="late"):
            assert isinstance(await anext(aiter(heard)), ToolsListChanged)
            assert "late__add" in await names(client)


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
async def test_a_legacy_client_is_told_of_changes_too(nats_url: str, prefix: str) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        said.put_nowait(type(message).__name__)

    async with (
        serving(resourceful("one"), nats_url, prefix, service_name="one"),
        connected(nats_url, prefix, mode="legacy", name="*", message_handler=on_message) as client,
        asyncio.timeout(20),
    ):
        await client.subscribe_resource("one://note")
        await called(client, "one__touch")
        while "ResourceUpdated" not in await said.get():
            pass
        async with serving(Object("late").mcp, nats_url, prefix, service_name="late"):
            while "ToolListChanged" not in await said.get():
                pass
            assert "late__add" in await names(client)


async def test_leaving_a_session_over_several_leaves_nothing(nats_url: str, prefix: str) -> None:
    async with both(nats_url, prefix):
        async with connected(nats_url, prefix, mode="modern", name="one") as client:
            await called(client, "who")
        before = held()
        async with (
            connected(nats_url, prefix, mode="modern", name="*") as client,
            client.listen(tools_list_changed=True),
        ):
            await called(client, "two__who")
        assert held() == before
