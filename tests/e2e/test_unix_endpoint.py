"""A unix socket where many local clients reach one server."""

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.running import Running, SocketClient, daemon, server, socket_client, status, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One daemon with a socket for each of its servers, and one for a server that is nowhere."""
    folder = tmp_path_factory.mktemp("unix")
    servers = {"thin": server("thin"), "old": server("thin", "legacy")}
    servers |= {"py1": peers.command_of("py1"), "py2": peers.command_of("py2")}
    endpoints = [
        {"unix": str(folder / f"{name}.sock"), "server": name} for name in (*servers, "nowhere")
    ]
    async with daemon(folder, servers, endpoints=endpoints) as running:
        yield running


async def connected(bridge: Running, name: str) -> SocketClient:
    return await socket_client(bridge.folder / f"{name}.sock")


async def server_status(bridge: Running, name: str) -> dict[str, Any]:
    everything = await status(bridge.folder)
    [found] = [one for one in everything["servers"] if one["name"] == name]
    return dict(found)


@pytest.mark.parametrize(("name", "era", "many"), [("thin", "modern", 100), ("old", "legacy", 12)])
async def test_many_clients_at_once_are_served(
    bridge: Running, name: str, era: str, many: int
) -> None:
    async def visit(number: int) -> str:
        async with await connected(bridge, name) as client:
            if era == "legacy":
                await client.initialize(BOUND)
            return text_of(await client.call("echo", era=era, bound=BOUND, text=f"n{number}"))

    said = await asyncio.gather(*map(visit, range(many)))

    assert said == [f"n{number}" for number in range(many)]


@pytest.mark.parametrize(("name", "era"), [("thin", "modern"), ("old", "legacy")])
async def test_a_client_that_closed_its_side_still_gets_its_answers(
    bridge: Running, name: str, era: str
) -> None:
    async with await connected(bridge, name) as client:
        if era == "legacy":
            await client.initialize()
        send = client.modern if era == "modern" else client.legacy
        asked = send("tools/call", name="sleep", arguments={"seconds": 0.5})
        client.writer.write_eof()

        assert text_of(await client.answer(asked)) == "slept"
        async with asyncio.timeout(BOUND):
            assert await client.reader.read() == b""


async def test_a_call_whose_client_vanishes_is_cancelled_at_the_server(bridge: Running) -> None:
    async with await connected(bridge, "py2") as witness:
        before = text_of(await witness.call("cancelled", bound=BOUND))
        async with await connected(bridge, "py2") as client:
            client.modern("tools/call", name="slow", arguments={"seconds": 600})
            await taken(bridge, "py2")
        async with asyncio.timeout(BOUND):
            while text_of(await witness.call("cancelled")) == before:
                await asyncio.sleep(0.05)

    assert (await server_status(bridge, "py2"))["in_flight"] == 0


async def test_a_session_whose_client_vanishes_ends_with_its_process(bridge: Running) -> None:
    async with await connected(bridge, "py1") as client:
        await client.initialize(BOUND)
        client.legacy("tools/call", name="slow", arguments={"seconds": 600})
        await taken(bridge, "py1")
        [process] = (await server_status(bridge, "py1"))["processes"]
    async with asyncio.timeout(BOUND):
        while (await server_status(bridge, "py1"))["sessions"]:
            await asyncio.sleep(0.05)

    assert not Path(f"/proc/{process['pid']}").exists()


async def taken(bridge: Running, name: str) -> None:
    """Wait until a server has a call in flight."""
    async with asyncio.timeout(BOUND):
        while not (await server_status(bridge, name))["in_flight"]:
            await asyncio.sleep(0.05)


async def test_a_server_that_is_nowhere_is_said_to_be(bridge: Running) -> None:
    async with await connected(bridge, "nowhere") as client:
        answer = await client.call("echo", text="")

    assert answer["error"]["code"] == -31001
    assert "nowhere" in answer["error"]["message"]


async def test_the_status_counts_the_clients_of_a_socket(bridge: Running) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(await connected(bridge, "thin"))
            await client.answer(client.legacy("ping"))
        endpoints = (await status(bridge.folder))["endpoints"]
        counts = {one["server"]: one["clients"] for one in endpoints}

    assert counts["thin"] >= 3


async def test_only_its_owner_can_open_a_socket(bridge: Running) -> None:
    mode = (bridge.folder / "thin.sock").stat().st_mode

    assert stat.S_IMODE(mode) == 0o600


async def test_a_socket_has_the_mode_of_the_file_and_is_gone_with_the_daemon(
    tmp_path: Path,
) -> None:
    path = tmp_path / "folder of its own" / "thin.sock"
    endpoint = {"unix": str(path), "server": "thin", "mode": "0660"}
    async with daemon(tmp_path, {"thin": server("thin")}, endpoints=[endpoint]) as running:
        await running.said("endpoint open")

        assert stat.S_IMODE(path.stat().st_mode) == 0o660

    assert not path.exists()
    assert running.process.returncode == 0


async def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thin.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(path))
    endpoint = {"unix": str(path), "server": "thin"}
    async with daemon(tmp_path, {"thin": server("thin")}, endpoints=[endpoint]) as running:
        await running.said("endpoint open")
        async with await socket_client(path) as client:
            called = await client.call("echo", text="hi")

    assert text_of(called) == "hi"


async def test_a_file_in_the_way_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    """And whatever else the daemon serves is served."""
    path, other = tmp_path / "notes.txt", tmp_path / "thin.sock"
    path.write_text("mine", encoding="utf-8")
    endpoints = [{"unix": str(one), "server": "thin"} for one in (path, other)]
    async with daemon(tmp_path, {"thin": server("thin")}, endpoints=endpoints) as running:
        await running.said("endpoint open")
        said = await running.said(str(path))
        async with await socket_client(other) as client:
            called = await client.call("echo", text="hi")

    assert "cannot be opened" in said
    assert path.read_text(encoding="utf-8") == "mine"
    assert text_of(called) == "hi"
