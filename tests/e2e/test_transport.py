"""The Python transport between real processes: with the daemon, the shim, the verbs, and SDK 1."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.transport.objects import called, connected
from tests.natsd import NatsServer
from tests.peers import TOOLS, play, serving_command
from tests.running import Running, daemon, server, shim, text_of, verb

MODES = ["legacy", "auto", "modern"]
CLIENTS = [("py1", "legacy"), *(("py2", mode) for mode in MODES)]


@asynccontextmanager
async def serving(natsd: NatsServer, sdk: str, way: str = "serve") -> AsyncIterator[Running]:
    """Run the small server of an SDK on NATS, by our transport; on its bus it is `small`."""
    process = await asyncio.create_subprocess_exec(
        *serving_command(sdk, "small", natsd.url, way),
        env=dict(os.environ), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Running(process, natsd.folder)
    try:
        yield running
        await running.stop()
    finally:
        await running.close()


async def listed(natsd: NatsServer, folder: Path) -> dict[str, Any]:
    """Wait until `mcpnatsd list` shows the server; return what it says of it."""
    async with asyncio.timeout(30):
        while True:
            ended = await verb(folder, "list", "--json", "--nats", natsd.url)
            found = json.loads(ended.out or "[]")
            for one in found:
                if one["name"] == "small":
                    assert isinstance(one, dict)
                    return one


async def played(client: str, mode: str, natsd: NatsServer) -> dict[str, Any]:
    options = ("--mode", mode, "--nats", natsd.url)
    return await asyncio.to_thread(play, client, ["small"], *options)


# All that can meet, meets in the judge.
@pytest.mark.parametrize(
    ("sdk", "client", "mode"),
    [("py1", "py1", "legacy"), ("py1", "py2", "modern"), ("py2", "py1", "legacy")],
)
async def test_both_lines_of_the_sdk_meet_over_the_transport(
    natsd: NatsServer, tmp_path: Path, sdk: str, client: str, mode: str
) -> None:
    async with serving(natsd, sdk):
        await listed(natsd, tmp_path)
        found = await played(client, mode, natsd)

    assert found["tools"] == TOOLS
    assert (found["echo"], found["add"], found["big"]) == ("grüße 🌍", "5", 2_000_000)
    assert found["progress"] == [1, 2, 3, 4, 5]
    assert (found["cancelled"], found["noticed"]) == (True, True)
    assert (found["elicited"], found["sampled"]) == ("Who? Änn", "Why? forty-two")
    assert (found["updated"], found["changed"], found["grown"]) == (True, True, True)


@pytest.mark.parametrize("sdk", ["py1", "py2"])
async def test_one_connection_of_either_line_serves_everybody(
    natsd: NatsServer, tmp_path: Path, sdk: str
) -> None:
    async with serving(natsd, sdk, "pair"):
        await listed(natsd, tmp_path)
        for client, mode in CLIENTS:
            options = ("--mode", mode, "--nats", natsd.url, "--call", "add")
            arguments = ("--arguments", '{"a": 2, "b": 3}')
            found = await asyncio.to_thread(play, client, ["small"], *options, *arguments)
            assert found["text"] == "5", (client, mode)


@pytest.mark.parametrize("sdk", ["py1", "py2"])
async def test_the_verbs_see_a_server_of_the_transport(
    natsd: NatsServer, tmp_path: Path, sdk: str
) -> None:
    async with serving(natsd, sdk):
        await listed(natsd, tmp_path)
        nats = ("--nats", natsd.url)
        call = await verb(tmp_path, "call", "small", "add", "a=2", "b=3", *nats)
        info = await verb(tmp_path, "info", "small", *nats)

    assert (call.code, call.out.strip()) == (0, "5"), call.err
    assert info.code == 0, info.err
    assert "ask_user" in info.out


@pytest.mark.parametrize("sdk", ["py1", "py2"])
async def test_a_host_with_a_shim_uses_a_server_of_the_transport(
    natsd: NatsServer, tmp_path: Path, sdk: str
) -> None:
    async with serving(natsd, sdk):
        await listed(natsd, tmp_path)
        async with await shim(tmp_path, "small", "--nats", natsd.url) as client:
            modern = await client.call("add", a=2, b=3)
            assert text_of(modern) == "5"
        async with await shim(tmp_path, "small", "--nats", natsd.url) as client:
            await client.initialize()
            assert text_of(await client.call("add", era="legacy", a=3, b=3)) == "6"


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_of_the_transport_uses_a_daemon(
    natsd: NatsServer, tmp_path: Path, era: str, mode: str
) -> None:
    async with (
        daemon(tmp_path, {"thin": server("thin", era)}, nats_url=natsd.url),
        connected(natsd.url, "mcp", name="thin", mode=mode) as client,
    ):
        assert await called(client, "echo", text="here") == "here"


async def test_a_server_of_the_transport_ends_when_it_is_told_to(
    natsd: NatsServer, tmp_path: Path
) -> None:
    async with serving(natsd, "py2") as running:
        await listed(natsd, tmp_path)
        assert await running.stop(bound=10) == 0, running.log
        ended = await verb(tmp_path, "list", "--json", "--nats", natsd.url)
        assert not json.loads(ended.out or "[]")
