"""The SDK's client on the bus."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp.types import CreateMessageResult, ElicitResult, TextContent

from mcpnatsd.errors import BrokerAway, Forbidden
from mcpnatsd.transport import NatsClientParameters, NatsServerParameters, nats_client, sdk
from tests.integration.transport.objects import MODES, Object, called, connected, held, serving
from tests.natsd import NatsServer
from tests.waiting import until

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MIB = 1 << 20


def call(id: object, tool: str, **arguments: Any) -> SessionMessage:
    params = {"name": tool, "arguments": arguments, "_meta": META}
    message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
    item = sdk.decode(json.dumps(message).encode())
    assert isinstance(item, SessionMessage)
    return item


def parsed(item: SessionMessage | Exception) -> Any:
    assert isinstance(item, SessionMessage), item
    return json.loads(sdk.encode(item))


# Bad paths.


async def test_without_nats_it_says_so_in_time_and_leaves_nothing() -> None:
    before = held()
    params = NatsClientParameters(
        service_name="x", url="nats://me:secret@127.0.0.1:9", connect_timeout=0.3
    )

    with pytest.raises(BrokerAway, match=r"away at nats://127.0.0.1:9: not there within 0.3 s"):
        async with nats_client(params):
            pass
    assert held() == before


async def test_nats_that_comes_a_little_later_is_waited_for(natsd: NatsServer, prefix: str) -> None:
    natsd.kill()
    params = NatsClientParameters(service_name="x", url=natsd.url, prefix=prefix)
    opening = asyncio.create_task(nats_client(params).__aenter__())
    await asyncio.sleep(0)
    natsd.start()
    context = nats_client(params)
    read, _ = await context.__aenter__()

    assert not read.closed
    await context.__aexit__(None, None, None)
    await opening


async def test_nats_that_refuses_us_is_not_waited_for(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "closed", "authorization { token: right }") as natsd:
        params = NatsClientParameters(
            service_name="x", url=natsd.url, token="wrong", connect_timeout=60
        )
        with pytest.raises(Forbidden, match=r"refuses us.*`token`.*say who we are"):
            async with asyncio.timeout(20), nats_client(params):
                pass


async def test_what_a_server_is_told_is_nothing_for_a_client(nats_url: str) -> None:
    params: Any = NatsServerParameters(service_name="x", url=nats_url)

    with pytest.raises(TypeError, match="give NatsClientParameters"):
        async with nats_client(params):
            pass


async def test_outside_asyncio_it_says_that_it_cannot() -> None:
    opening = nats_client(NatsClientParameters(service_name="x")).__aenter__()

    def in_a_thread() -> None:
        with pytest.raises(RuntimeError, match="asyncio only"):
            opening.send(None)

    await asyncio.to_thread(in_a_thread)


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_a_server_that_nobody_serves_is_named(nats_url: str, prefix: str, mode: str) -> None:
    with pytest.raises((MCPError, ExceptionGroup)) as caught:
        async with connected(nats_url, prefix, name="nobody", mode=mode) as client:
            await client.list_tools()

    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MCPError)
    assert error.error.code == -31001
    assert "nobody" in error.error.message


async def test_what_a_client_does_not_read_is_bounded(nats_url: str, prefix: str) -> None:
    params = NatsClientParameters(service_name="object", url=nats_url, prefix=prefix)
    async with serving(Object().mcp, nats_url, prefix), nats_client(params) as (read, write):
        for number in range(48):
            await write.send(call(number, "echo", text="x" * MIB))
        await until(lambda: len(read._lines) == 48, timeout=30)
        assert read.waiting_bytes < 34 * MIB
        answers = [parsed(await read.receive()) for _ in range(48)]

        refused = [one for one in answers if "error" in one]
        assert {one["error"]["code"] for one in refused} == {-31007}
        assert sorted(one["id"] for one in answers) == list(range(48))


async def test_a_message_over_the_limit_is_answered_and_the_session_goes_on(
    nats_url: str, prefix: str
) -> None:
    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        with pytest.raises(MCPError) as caught:
            await called(client, "echo", text="x" * (33 * MIB))

        assert caught.value.error.code == -31003
        assert await called(client, "add", a=1, b=2) == "3"


async def test_leaving_in_the_midst_of_calls_leaves_no_task_and_no_connection(
    nats_url: str, prefix: str
) -> None:
    server = Object()
    async with serving(server.mcp, nats_url, prefix):
        async with connected(nats_url, prefix, mode="modern") as client:
            await called(client, "who")
        before = held()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_hang(nats_url, prefix))
            await server.hung.wait()
            running.cancel()
        await server.cancelled.wait()
        await until(lambda: held() == before)


async def _hang(nats_url: str, prefix: str) -> None:
    async with connected(nats_url, prefix, mode="modern") as client:
        await client.call_tool("hang", {})


async def test_a_block_that_fails_leaves_nothing(nats_url: str, prefix: str) -> None:
    before = held()
    with pytest.raises(KeyError):
        async with nats_client(NatsClientParameters(service_name="x", url=nats_url, prefix=prefix)):
            raise KeyError
    assert held() == before


async def test_who_has_said_all_gets_its_answers_and_then_the_end(
    nats_url: str, prefix: str
) -> None:
    params = NatsClientParameters(service_name="object", url=nats_url, prefix=prefix)
    async with serving(Object().mcp, nats_url, prefix), nats_client(params) as (read, write):
        await write.send(call("a", "add", a=1, b=2))
        await write.aclose()

        assert [parsed(item)["id"] async for item in read] == ["a"]


# What it is for.


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_either_era_calls_a_tool(nats_url: str, prefix: str, mode: str) -> None:
    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode=mode) as client,
    ):
        assert await called(client, "add", a=1, b=2) == "3"
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_each_of_many_clients_gets_its_own_answers(
    nats_url: str, prefix: str, mode: str
) -> None:
    """Each SDK client counts its ids from the same number on."""

    async def ask(number: int) -> None:
        async with connected(nats_url, prefix, mode=mode) as client:
            texts = [f"{number}.{one}" for one in range(5)]
            answers = [called(client, "echo", text=text) for text in texts]
            assert await asyncio.gather(*answers) == texts

    async with serving(Object().mcp, nats_url, prefix), asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(ask(number))


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_two_megabytes_go_both_ways(nats_url: str, prefix: str, mode: str) -> None:
    text = "ü" * MIB
    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode=mode) as client,
    ):
        assert await called(client, "echo", text=text) == text


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_progress_comes_in_order_and_before_the_answer(
    nats_url: str, prefix: str, mode: str
) -> None:
    seen: list[float] = []

    async def on_progress(progress: float, _total: float | None, _text: str | None) -> None:
        seen.append(progress)

    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode=mode) as client,
    ):
        await client.call_tool("steps", {"count": 5}, progress_callback=on_progress)

        assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_a_cancelled_call_is_cancelled_at_the_server(
    nats_url: str, prefix: str, mode: str
) -> None:
    server = Object()
    async with (
        serving(server.mcp, nats_url, prefix),
        connected(nats_url, prefix, mode=mode) as client,
    ):
        call = asyncio.create_task(client.call_tool("hang", {}))
        await server.hung.wait()
        call.cancel()

        async with asyncio.timeout(10):
            await server.cancelled.wait()
        assert await called(client, "add", a=1, b=2) == "3"


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_a_tool_asks_its_caller(nats_url: str, prefix: str, mode: str) -> None:
    async def elicit(_context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": f"Ann of {params.message}"})

    async def sample(_context: Any, _params: Any) -> CreateMessageResult:
        answer = TextContent(type="text", text="because")
        return CreateMessageResult(role="assistant", content=answer, model="m")

    options = {"elicitation_callback": elicit, "sampling_callback": sample}
    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode=mode, **options) as client,
    ):
        assert await called(client, "ask", question="Who?") == "Who? Ann of Who?"
        assert await called(client, "think", question="Why?") == "Why? because"
