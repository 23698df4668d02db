"""Who is on the bus, asked of a real nats-server."""

import asyncio
import time
from dataclasses import replace

import pytest

from mcpnatsd.bus.directory import Instance, instances, survey
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.errors import BrokerAway, Forbidden
from tests.connections import opened
from tests.integration.bus.test_service import Served, serving
from tests.natsd import NatsServer


async def surveyed(
    url: str, prefix: str, server: str | None = None, *, counts: bool = False
) -> list[Instance]:
    async with opened(url) as connection:
        inbox = Inbox(connection)
        return await survey(connection, inbox, prefix=prefix, server=server, counts=counts)


async def test_instances_come_by_server_and_id(nats_url: str, prefix: str) -> None:
    ours = Served("time", prefix=prefix), Served("git", prefix=prefix)
    there = replace(ours[0], instance="AAAA", tools=(), metadata={"mcp.tools": ""})
    async with serving(nats_url, *ours), serving(nats_url, there):
        found = await surveyed(nats_url, prefix)

    assert [(one.server, one.id, one.tools) for one in found] == [
        ("git", "K3J9", 1),
        ("time", "AAAA", None),
        ("time", "K3J9", 1),
    ]


async def test_what_an_instance_says_is_kept(nats_url: str, prefix: str) -> None:
    metadata = {
        "mcp.eras": "modern,legacy",
        "mcp.revisions": "2026-07-28,2025-11-25",
        "mcp.state": "asleep",
        "mcp.identity": "f00",
        "mcp.hostname": "here",
    }
    async with serving(nats_url, Served("time", prefix=prefix, metadata=metadata)):
        found = await surveyed(nats_url, prefix)

    assert found == [
        Instance(
            server="time",
            id="K3J9",
            version="1.0.0",
            description="of a test",
            eras=("modern", "legacy"),
            revisions=("2026-07-28", "2025-11-25"),
            state="asleep",
            tools=1,
            identity="f00",
            hostname="here",
        )
    ]


async def test_one_server_can_be_asked_alone(nats_url: str, prefix: str) -> None:
    ours = Served(f"a{prefix}", prefix=prefix), Served(f"b{prefix}", prefix=prefix)
    async with serving(nats_url, *ours):
        found = await surveyed(nats_url, prefix, f"b{prefix}")

    assert [one.server for one in found] == [f"b{prefix}"]


async def test_what_they_have_done_comes_when_asked(nats_url: str, prefix: str) -> None:
    async with serving(nats_url, Served("time", prefix=prefix)):
        [found] = await surveyed(nats_url, prefix, counts=True)

    assert (found.requests, found.errors) == (0, 0)


async def test_an_installation_with_another_prefix_is_another(nats_url: str, prefix: str) -> None:
    async with serving(nats_url, Served("time", prefix=prefix)):
        assert await surveyed(nats_url, f"{prefix}.other") == []
        assert await surveyed(nats_url, f"x{prefix}") == []


async def test_a_caller_finds_those_that_listen_to_any_caller(nats_url: str, prefix: str) -> None:
    async with serving(nats_url, Served("time", prefix=f"{prefix}.*")):
        assert len(await surveyed(nats_url, f"{prefix}.ann")) == 1


async def test_an_empty_bus_is_known_at_once(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        before = time.monotonic()
        found = await survey(connection, Inbox(connection), prefix="mcp", wait=10)

    assert found == []
    assert time.monotonic() - before < 5


async def test_a_silent_listener_is_not_waited_for_long(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection, opened(natsd.url) as silent:
        silent.subscribe(">", lambda *_: None)
        await silent.flush()
        async with asyncio.timeout(5):
            assert await survey(connection, Inbox(connection), prefix="mcp", wait=0.1) == []


async def test_without_nats_it_says_so(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        inbox = Inbox(connection)
        await connection.close()
        with pytest.raises(BrokerAway):
            await survey(connection, inbox, prefix="mcp")


@pytest.mark.parametrize("denied", ["publish: { deny: '$SRV.>' }", "subscribe: { deny: '>' }"])
async def test_a_user_who_may_not_ask_is_told_so(
    tmp_path_factory: pytest.TempPathFactory, denied: str
) -> None:
    user = f"{{ user: ann, password: pw, permissions: {{ {denied} }} }}"
    config = f"authorization {{ users: [ {user} ] }}"
    with NatsServer(tmp_path_factory.mktemp("denied"), config) as server:
        async with opened(server.url, user="ann", password="pw") as connection:
            inbox = Inbox(connection)
            with pytest.raises(Forbidden, match="ask for that permission"):
                await survey(connection, inbox, prefix="mcp", wait=5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"type": "io.nats.micro.v1.info_response", "name": "other", "id": "1"}',
        b'{"type": "io.nats.micro.v1.info_response", "metadata": {"mcp.wire": "1"}}',
        b'{"metadata": null}',
        b'{"metadata": []}',
        b'{"metadata": {"mcp.wire": 1, "mcp.server": 2}}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_ours_or_no_sense_is_left_out(body: bytes) -> None:
    assert instances([body], "mcp") == []


def test_odd_values_are_taken_as_unknown() -> None:
    body = (
        b'{"type": "io.nats.micro.v1.info_response", "id": 7, "endpoints": [1], "metadata": '
        b'{"mcp.wire": "1", "mcp.prefix": "mcp", "mcp.server": "a", "mcp.tools": "many"}}'
    )
    [found] = instances([body, body.replace(b"info", b"stats")], "mcp")

    assert (found.id, found.tools, found.requests, found.version) == ("", None, 0, "")
