"""What one client may not do to the others, nor to the machine."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mcpnatsd.backends.bridge import MOST_SESSIONS
from tests.e2e.clients import ask, client, works
from tests.faults import LATE, Record
from tests.running import SocketClient, daemon, server, shim, socket_client, text_of

SHARED = {"isolation": "shared"}


@pytest.mark.parametrize("config", [{}, SHARED], ids=["own", "shared"])
async def test_a_denied_tool_is_not_called_without_an_id_either(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    record = Record(tmp_path / "record")
    rules = {"tools": {"deny": ["record"]}}
    servers = {"recorder": {"command": record.command("legacy"), **rules, **config}}
    async with daemon(tmp_path, servers), client(tmp_path, "recorder", "legacy") as one:
        params = {"name": "record", "arguments": {"text": "slipped through"}}
        one.write({"jsonrpc": "2.0", "method": "tools/call", "params": params})
        await one.call("echo", era="legacy", text="after it")

    assert record.calls() == ["after it"]


async def test_arguments_of_a_command_are_not_told(tmp_path: Path) -> None:
    servers = {"none": ["/no/such/program", "--key", "s3cret"]}
    async with daemon(tmp_path, servers) as running, await shim(tmp_path, "none") as host:
        error = (await host.call("echo", bound=LATE))["error"]

    assert "(/no/such/program)" in error["message"]
    assert "s3cret" not in "".join([error["message"], *running.log])


async def test_a_greeting_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        async with daemon(tmp_path, {"thin": server("thin")}, stdout=writing) as running:
            async with await shim(tmp_path, "thin") as host:
                assert text_of(await host.call("echo", text="up")) == "up"
            assert await running.stop() == 0
    finally:
        os.close(writing)
    assert not [line for line in running.log if "Traceback" in line or "failed" in line]


async def test_only_so_many_sessions_are_open_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "thin.sock"
    endpoints = [{"unix": str(path), "server": "thin"}]
    servers = {"thin": {"command": server("thin", "legacy"), **SHARED}}
    async with daemon(tmp_path, servers, endpoints=endpoints), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await socket_client(path)) for _ in range(MOST_SESSIONS)
        ]
        answers = await asyncio.gather(*(one.initialize(LATE) for one in clients))
        assert all("result" in answer for answer in answers)

        async with await socket_client(path) as late:
            assert (await late.initialize(LATE))["error"]["code"] == -31007
        await works(clients[0], "legacy")


async def test_a_client_that_does_not_read_holds_up_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "thin.sock"
    endpoints = [{"unix": str(path), "server": "thin"}]
    limits = {"output_line_bytes": "8MiB"}
    servers = {"thin": {"command": server("thin", "legacy"), **SHARED, "limits": limits}}
    async with (
        daemon(tmp_path, servers, endpoints=endpoints) as running,
        SocketClient(*await asyncio.open_unix_connection(str(path))) as slow,  # with little room
        client(tmp_path, "thin", "legacy") as other,
    ):
        await slow.initialize()
        for _ in range(24):
            ask(slow, "legacy", "big", bytes=4_000_000)
        await running.said("does not keep up", bound=LATE)

        await works(other, "legacy")
