"""Callers that know NATS and hardly this wire: what they may send, and what they get."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from nats.aio.client import Client

from tests.connections import plain
from tests.natsd import NatsServer
from tests.running import META, daemon, server


@pytest_asyncio.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Client]:
    """Return a connection to a bus with a server that writes down what reaches it."""
    command = server("recorder", str(tmp_path / "seen"))
    with NatsServer(tmp_path / "nats") as nats:
        async with (
            daemon(tmp_path, {"seen": command}, nats_url=nats.url),
            plain(nats.url) as client,
        ):
            await client.request("mcp.req.seen.tools.call.pid", b"", timeout=20)
            yield client


async def reached(bus: Client, folder: Path) -> list[str]:
    """Return the methods that reached the server once all that was published has."""
    await bus.request("mcp.req.seen.tools.call.pid", b"", timeout=20)
    lines = (folder / "seen").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines]


async def test_a_notification_reaches_the_server(bus: Client, tmp_path: Path) -> None:
    await bus.publish(
        "mcp.req.seen.notifications.x", b'{"jsonrpc":"2.0","method":"notifications/x"}'
    )

    assert "notifications/x" in await reached(bus, tmp_path)


async def test_a_notification_on_another_subject_does_not(bus: Client, tmp_path: Path) -> None:
    await bus.publish("mcp.req.seen.tools.list", b'{"jsonrpc":"2.0","method":"notifications/x"}')

    assert "notifications/x" not in await reached(bus, tmp_path)


async def test_a_notification_cannot_bring_a_second_line(bus: Client, tmp_path: Path) -> None:
    """A line within it would be a message of its own, past every grant."""
    call = {"jsonrpc": "2.0", "id": 9, "method": "resources/subscribe", "params": {"uri": "x:y"}}
    body = b'{"jsonrpc":"2.0","method":"notifications/x","params":{"a":[\n%b\n]}}'

    await bus.publish("mcp.req.seen.notifications.x", body % json.dumps(call).encode())

    methods = await reached(bus, tmp_path)
    assert "notifications/x" in methods
    assert "resources/subscribe" not in methods


async def test_a_notification_cannot_cancel_or_call(bus: Client, tmp_path: Path) -> None:
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 1}}
    called = {"method": "tools/call", "params": {"name": "pid", "arguments": {}, "_meta": META}}
    before = len(await reached(bus, tmp_path))

    for subject, body in (
        ("mcp.req.seen.notifications.cancelled", cancel),
        ("mcp.req.seen.tools.call", called),
        ("mcp.req.seen.tools.call.pid", called),
    ):
        await bus.publish(subject, json.dumps({"jsonrpc": "2.0", **body}).encode())

    assert len(await reached(bus, tmp_path)) == before + 1


async def test_an_answer_too_large_for_one_message_is_an_error(bus: Client) -> None:
    params = {"name": "big", "arguments": {"bytes": 3_000_000}, "_meta": META}
    call = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params}

    reply = await bus.request("mcp.req.seen.tools.call.big", json.dumps(call).encode(), timeout=20)

    answer = json.loads(reply.data)
    assert answer["id"] == "a"
    assert answer["error"]["code"] == -31003
