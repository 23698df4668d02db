"""Server objects of this process on the bus."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from mcp import MCPError
from nats.errors import NoRespondersError

from mcpnatsd.transport import NatsClientParameters, NatsServerParameters, nats_server, sdk, serve
from tests.connections import opened, plain
from tests.integration.transport.objects import Object, called, connected, held, serving, serving_by
from tests.natsd import NatsServer
from tests.waiting import until

MIB = 1 << 20
RESULT = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "tools": [],
    "content": [{"type": "text", "text": "3"}],
    "ttlMs": 0,
    "cacheScope": "private",
}
"""Answers whatever is asked."""


async def code_of(call: Any) -> tuple[int, str]:
    with pytest.raises(MCPError) as caught:
        await call
    return caught.value.error.code, caught.value.error.message


async def off_the_bus(nats_url: str, prefix: str) -> None:
    """Return when NATS itself says that nobody takes requests."""
    async with plain(nats_url) as client, asyncio.timeout(20):
        with suppress(NoRespondersError):
            while True:
                await client.request(f"{prefix}.req.object.ping", b"", timeout=20)


async def info(nats_url: str, name: str) -> dict[str, Any]:
    async with plain(nats_url) as client:
        msg = await client.request(f"$SRV.INFO.mcp-{name}", b"", timeout=5)
    found = json.loads(msg.data)
    assert isinstance(found, dict)
    return found


# Bad paths.


async def test_what_is_no_server_is_refused_before_anything_is_started() -> None:
    before = held()
    with pytest.raises(TypeError, match="no server"):
        await serve("github", NatsServerParameters(service_name="x"))
    assert held() == before


async def test_what_a_client_is_told_is_nothing_for_a_server(nats_url: str) -> None:
    params: Any = NatsClientParameters(service_name="x", url=nats_url)

    with pytest.raises(TypeError, match="give NatsServerParameters"):
        await serve(Object().mcp, params)
    with pytest.raises(TypeError, match="give NatsServerParameters"):
        async with nats_server(params):
            pass


async def test_a_server_that_fails_is_reported_and_the_next_request_has_a_new_one(
    nats_url: str, prefix: str
) -> None:
    lives = 0

    async def body(read: Any, write: Any) -> None:
        nonlocal lives
        lives += 1
        async for item in read:
            message = json.loads(sdk.encode(item))
            if message["method"] == "tools/call" and lives == 1:
                raise ValueError("on purpose")
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": RESULT}
            await write.send(sdk.decode(json.dumps(answer).encode()))

    async with (
        serving(body, nats_url, prefix),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        failed = (-31004, "server 'object' raised ValueError: on purpose")
        assert await code_of(client.call_tool("add", {})) == failed
        assert await called(client, "add") == "3"
        assert lives == 2


async def test_a_lifespan_that_fails_is_what_its_clients_read(nats_url: str, prefix: str) -> None:
    @asynccontextmanager
    async def lifespan(_server: Any) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    server = Object(lifespan=lifespan)
    async with (
        serving(server.mcp, nats_url, prefix),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        code, text = await code_of(client.list_tools())

        assert code == -31004
        assert "raised OSError: no database" in text


async def test_an_answer_over_the_limit_fails_its_call_alone(nats_url: str, prefix: str) -> None:
    async with (
        serving(Object().mcp, nats_url, prefix, output_line_bytes=MIB),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        code, text = await code_of(client.call_tool("echo", {"text": "x" * 2 * MIB}))

        assert code == -31003
        assert "output_line_bytes" in text
        assert await called(client, "add", a=1, b=2) == "3"


async def test_a_call_that_takes_too_long_is_answered_and_cancelled(
    nats_url: str, prefix: str
) -> None:
    server = Object()
    async with (
        serving(server.mcp, nats_url, prefix, call_timeout=0.2),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        assert (await code_of(client.call_tool("hang", {})))[0] == -31008
        async with asyncio.timeout(10):
            await server.cancelled.wait()


# Its end.


async def test_when_it_is_cancelled_open_calls_are_finished(nats_url: str, prefix: str) -> None:
    server = Object()
    async with (
        serving(server.mcp, nats_url, prefix) as served,
        connected(nats_url, prefix, mode="modern") as client,
    ):
        await client.list_tools()
        hanging = asyncio.create_task(called(client, "hang"))
        await server.hung.wait()
        await served.leave()
        assert not served.task.done()
        server.free.set()

        assert await hanging == "free"
        await asyncio.wait([served.task])
        assert served.task.cancelled()


async def test_told_twice_it_does_not_wait_for_open_calls(nats_url: str, prefix: str) -> None:
    server = Object()
    async with (
        serving(server.mcp, nats_url, prefix) as served,
        connected(nats_url, prefix, mode="modern") as client,
    ):
        await client.list_tools()
        hanging = asyncio.create_task(called(client, "hang"))
        await server.hung.wait()
        await served.leave()
        served.task.cancel()

        assert (await code_of(hanging))[0] == -31005
        assert not server.free.is_set()
        await asyncio.wait([served.task])


async def test_a_drain_has_a_bound(nats_url: str, prefix: str) -> None:
    server = Object()
    async with (
        serving(server.mcp, nats_url, prefix, drain_timeout=0.1) as served,
        connected(nats_url, prefix, mode="modern") as client,
    ):
        await client.list_tools()
        hanging = asyncio.create_task(called(client, "hang"))
        await server.hung.wait()
        served.task.cancel()

        assert (await code_of(hanging))[0] == -31005
        await asyncio.wait([served.task])


async def test_a_scope_of_anyio_that_is_cancelled_lets_it_drain(nats_url: str, prefix: str) -> None:
    """Such a scope cancels again at each `await`."""
    server, scope = Object(), anyio.CancelScope()

    async def serve_in_scope() -> None:
        params = NatsServerParameters(service_name="object", url=nats_url, prefix=prefix)
        with scope:
            await serve(server.mcp, params)

    async with (
        serving_by(serve_in_scope, nats_url, prefix) as served,
        connected(nats_url, prefix, mode="modern") as client,
    ):
        await client.list_tools()
        hanging = asyncio.create_task(called(client, "hang"))
        await server.hung.wait()
        scope.cancel()
        await served.down.wait()
        server.free.set()

        assert await hanging == "free"
        await asyncio.wait([served.task])


async def test_what_was_served_leaves_nothing(nats_url: str, prefix: str) -> None:
    before = held()
    async with (
        serving(Object().mcp, nats_url, prefix),
        connected(nats_url, prefix, mode="modern") as one,
        connected(nats_url, prefix, mode="legacy") as two,
    ):
        assert await called(one, "who") == await called(two, "who")

    assert held() == before


# On the bus.


async def test_discovery_shows_what_the_program_says(nats_url: str, prefix: str) -> None:
    name = prefix[:20]
    shown = {
        "service_name": name, "server_id": "one-1", "description": "Adds.", "version": "1.2.3",
        "metadata": {"team": "blue"},
    }  # fmt: skip
    async with (
        serving(Object().mcp, nats_url, prefix, **shown),
        connected(nats_url, prefix, name=name) as client,
    ):
        await client.list_tools()
        found = await info(nats_url, name)

    assert (found["id"], found["description"], found["version"]) == ("one-1", "Adds.", "1.2.3")
    assert found["metadata"]["team"] == "blue"
    assert found["metadata"]["mcp.eras"] == "modern"
    assert found["metadata"]["mcp.tools"] == "7"
    assert {"add", "_tools"} <= {endpoint["name"] for endpoint in found["endpoints"]}


async def test_two_of_one_name_share_the_calls(nats_url: str, prefix: str) -> None:
    async with (
        serving(Object("one").mcp, nats_url, prefix),
        serving(Object("two").mcp, nats_url, prefix),
        connected(nats_url, prefix, mode="modern") as client,
    ):
        seen: set[str] = set()
        async with asyncio.timeout(20):
            while len(seen) < 2:
                seen.add(await called(client, "who"))


async def test_legacy_clients_have_a_lifespan_each_and_modern_ones_share_one(
    nats_url: str, prefix: str
) -> None:
    alive: list[int] = []

    @asynccontextmanager
    async def lifespan(_server: Any) -> AsyncIterator[None]:
        alive.append(1)
        yield
        alive.pop()

    server = Object(lifespan=lifespan)
    async with serving(server.mcp, nats_url, prefix):
        await until(lambda: len(alive) == 1)
        async with (
            connected(nats_url, prefix, mode="modern") as one,
            connected(nats_url, prefix, mode="modern") as two,
        ):
            assert await asyncio.gather(called(one, "who"), called(two, "who")) == ["object"] * 2
            assert len(alive) == 1
            async with (
                connected(nats_url, prefix, mode="legacy") as three,
                connected(nats_url, prefix, mode="legacy") as four,
            ):
                await asyncio.gather(called(three, "who"), called(four, "who"))
                assert len(alive) == 3
        await until(lambda: len(alive) == 1)
    assert alive == []


async def test_a_server_that_comes_before_nats_is_there_when_nats_is(
    natsd: NatsServer, prefix: str
) -> None:
    natsd.kill()
    async with serving(Object().mcp, natsd.url, prefix, wait=False):
        natsd.start()
        async with connected(natsd.url, prefix) as client:
            assert await called(client, "add", a=1, b=2) == "3"


@pytest.mark.parametrize("mode", ["modern", "legacy"])
async def test_both_ends_outlive_a_broker(natsd: NatsServer, prefix: str, mode: str) -> None:
    server = Object()
    async with (
        serving(server.mcp, natsd.url, prefix),
        connected(natsd.url, prefix, mode=mode) as client,
    ):
        hanging = asyncio.create_task(client.call_tool("hang", {}))
        await server.hung.wait()
        await asyncio.to_thread(natsd.restart)
        server.free.set()

        assert (await hanging).content[0].text == "free"  # type: ignore[union-attr]
        assert await called(client, "add", a=1, b=2) == "3"


# One connection.


@asynccontextmanager
async def one_connection(
    server: Object, nats_url: str, prefix: str
) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a server on the streams that `nats_server` hands out. It is there."""
    params = NatsServerParameters(service_name="object", url=nats_url, prefix=prefix)
    low, up = server.mcp._lowlevel_server, asyncio.Event()
    async with opened(nats_url) as connection:
        connection.subscribe(f"{prefix}.evt.object.up", lambda *_: up.set())
        await connection.flush()
        async with nats_server(params) as (read, write):
            running = low.run(read, write, low.create_initialization_options())
            task = asyncio.create_task(running)
            try:
                await up.wait()
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def test_one_connection_stands_for_all_modern_clients(
    nats_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, server = held(), Object()
    async with (
        one_connection(server, nats_url, prefix),
        connected(nats_url, prefix) as one,
        connected(nats_url, prefix, mode="modern") as two,
    ):
        texts = await asyncio.gather(called(one, "echo", text="1"), called(two, "echo", text="2"))
        assert texts == ["1", "2"]
    assert held() == before
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


async def test_a_legacy_client_of_one_connection_is_translated(
    nats_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mcpnatsd")
    async with (
        one_connection(Object(), nats_url, prefix),
        connected(nats_url, prefix, mode="legacy") as client,
    ):
        assert await called(client, "add", a=1, b=2) == "3"
        assert client.protocol_version == "2025-11-25"
    assert "message refused" not in caplog.messages, "nothing was wrong"


async def test_when_its_streams_are_closed_it_is_off_the_bus(nats_url: str, prefix: str) -> None:
    server = Object()
    async with (
        one_connection(server, nats_url, prefix) as running,
        connected(nats_url, prefix, mode="modern") as client,
    ):
        hanging = asyncio.create_task(client.call_tool("hang", {}))
        await server.hung.wait()
        running.cancel()

        assert await code_of(hanging) == (-32000, "Connection closed")  # the SDK's last word
        await off_the_bus(nats_url, prefix)
