"""Clients and servers of the same era, through `mcpnatsd connect`: as if we were not there."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.running import (
    META,
    Running,
    Shim,
    connect_command,
    daemon,
    server,
    shim,
    socket_client,
    text_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = ("py1", "py2", "ts1", "ts2")
DUAL_ERA = ("py2", "ts2")
LEGACY_ONLY = ("py1", "ts1")
PUBLISHED = ("everything", "memory", "time", "git")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One daemon for the module, with every server of it."""
    folder = tmp_path_factory.mktemp("same")
    (folder / "shared").mkdir()
    servers: dict[str, Any] = {name: peers.command_of(name) for name in (*SMALL, *PUBLISHED)}
    servers["filesystem"] = peers.command_of("filesystem", str(folder / "shared"))
    servers |= {"thin": server("thin"), "old": server("thin", "legacy")}
    endpoints = [{"unix": str(folder / f"{name}.sock"), "server": name} for name in ("thin", "old")]
    async with daemon(folder, servers, endpoints=endpoints) as running:
        yield running


async def play(bridge: Running, client: str, name: str, *options: str) -> dict[str, Any]:
    """Play a client's script through the bridge."""
    command = connect_command(bridge.folder, name)
    return await asyncio.to_thread(peers.play, client, command, *options)


async def findings(
    bridge: Running, client: str, mode: str, servers: Sequence[str]
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return what a client finds at each server through the bridge, and directly."""
    two = asyncio.Semaphore(2)

    async def both(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        async with two:
            bridged = await play(bridge, client, name, "--mode", mode)
            return bridged, await asyncio.to_thread(peers.direct, client, name, mode)

    found = await asyncio.gather(*map(both, servers))
    return dict(zip(servers, found, strict=True))


@pytest.mark.parametrize(
    ("client", "mode", "servers"),
    [
        *((client, "legacy", SMALL) for client in SMALL),
        *((client, "modern", DUAL_ERA) for client in DUAL_ERA),
        *((client, "auto", DUAL_ERA) for client in DUAL_ERA),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_client_finds_what_it_finds_without_us(
    bridge: Running, client: str, mode: str, servers: Sequence[str]
) -> None:
    for name, (bridged, direct) in (await findings(bridge, client, mode, servers)).items():
        assert bridged == as_through_us(direct), f"{client} at {name}, {mode}"


def as_through_us(direct: dict[str, Any]) -> dict[str, Any]:
    """A cancelled call is answered by 1.x servers only, and not by us."""
    return direct | {"late": 0} if "late" in direct else direct


@pytest.mark.parametrize("client", DUAL_ERA)
async def test_a_client_that_probes_finds_every_server_modern(bridge: Running, client: str) -> None:
    """A legacy server is translated: the client has no reason to fall back to its older era."""
    for name, (bridged, direct) in (await findings(bridge, client, "auto", LEGACY_ONLY)).items():
        assert direct["protocol"] == "2025-11-25"
        expected = as_through_us(direct) | {"protocol": peers.MODERN}
        assert bridged == expected, f"{client} at {name}"


@pytest.mark.parametrize(
    ("name", "client", "tool", "arguments", "expected"),
    [
        ("everything", "ts2", "echo", {"message": "hi"}, "hi"),
        ("memory", "ts1", "read_graph", {}, "entities"),
        ("filesystem", "py1", "list_allowed_directories", {}, "{folder}/shared"),
        ("time", "py2", "get_current_time", {"timezone": "UTC"}, "UTC"),
        ("git", "py2", "git_status", {"repo_path": "{folder}/shared"}, "No commits yet"),
    ],
)
async def test_a_published_server_is_called(
    bridge: Running, name: str, client: str, tool: str, arguments: dict[str, str], expected: str
) -> None:
    folder = str(bridge.folder)
    subprocess.run(["git", "init", "--quiet", f"{folder}/shared"], check=True)
    given = json.dumps({key: text.format(folder=folder) for key, text in arguments.items()})

    found = await play(bridge, client, name, "--call", tool, "--arguments", given)

    assert tool in found["tools"]
    assert expected.format(folder=folder) in found["text"]
    assert not found["is_error"]


@pytest.mark.parametrize("name", ["thin", "old", "py1"])
async def test_a_host_may_discover_and_then_initialize_anyway(bridge: Running, name: str) -> None:
    """Some hosts send both: `server/discover` decides nothing, and a legacy server is described."""
    async with await shim(bridge.folder, name) as host:
        discovered = await host.answer(host.modern("server/discover"))
        welcome = await host.initialize()
        called = await host.call("echo", era="legacy", text="hi")

    assert peers.MODERN in discovered["result"]["supportedVersions"]
    assert welcome["result"]["protocolVersion"] == "2025-11-25"
    assert text_of(called) == "hi"


async def test_a_modern_host_of_a_legacy_server_need_not_know(bridge: Running) -> None:
    async with await shim(bridge.folder, "old") as host:
        answered = await host.call("echo", text="hi")

    assert text_of(answered) == "hi"
    assert answered["result"]["resultType"] == "complete"


async def test_a_legacy_client_gets_the_servers_own_bytes(bridge: Running) -> None:
    """A tunnel changes nothing: members of extensions and their order stay."""
    async with await shim(bridge.folder, "old") as host:
        await host.initialize()
        listed = await host.answer(host.legacy("tools/list"))

    assert list(listed) == ["jsonrpc", "id", "result"]
    assert list(listed["result"]) == ["resultType", "tools", "ttlMs", "cacheScope"]


# Many clients with the same ids.


async def open_clients(stack: AsyncExitStack, bridge: Running, name: str, era: str) -> list[Shim]:
    """Open four shims and a connection to the unix socket, ready to call."""
    clients = [await shim(bridge.folder, name) for _ in range(4)]
    clients.append(await socket_client(bridge.folder / f"{name}.sock"))
    for client in clients:
        await stack.enter_async_context(client)
    if era == "legacy":
        await asyncio.gather(*(client.initialize() for client in clients))
    return clients


def report(client: Shim, era: str, id: int | str, steps: int) -> None:
    """Ask for a number of progress reports under a token that is the request's id."""
    meta = {"progressToken": id, **(META if era == "modern" else {})}
    client.legacy("tools/call", id=id, name="progress", arguments={"steps": steps}, _meta=meta)


def steps_of(number: int, id: int | str) -> int:
    """Return a number of steps that differs between neighbours, and between clients."""
    return 1 + (int(id) * 3 + number * 7) % 11 + (20 if isinstance(id, str) else 0)


def reports(notes: Sequence[dict[str, Any]]) -> Counter[tuple[int | str, int]]:
    """Count progress notifications by their token and their total."""
    params = [note["params"] for note in notes if note["method"] == "notifications/progress"]
    return Counter((one["progressToken"], one["total"]) for one in params)


@pytest.mark.parametrize(("name", "era"), [("thin", "modern"), ("old", "legacy")])
async def test_clients_with_equal_ids_get_their_own_answers(
    bridge: Running, name: str, era: str
) -> None:
    """200 calls at once under 40 ids: `7` and `"7"` are two, and `0` is one."""
    ids: list[int | str] = [*range(20), *map(str, range(20))]
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, bridge, name, era)
        for id in ids:
            for number, client in enumerate(clients):
                report(client, era, id, steps_of(number, id))
        for number, client in enumerate(clients):
            answers = [await client.answer(id) for id in ids]
            wanted = {id: steps_of(number, id) for id in ids}

            assert [text_of(one) for one in answers] == [f"{wanted[id]} steps" for id in ids]
            assert reports(client.notes) == {(id, wanted[id]): wanted[id] for id in ids}
            assert client.unasked == []


async def test_two_waiting_callers_with_one_id_are_not_mixed_up(bridge: Running) -> None:
    """The answers come in the opposite order of the questions, and each goes home."""
    async with await shim(bridge.folder, "thin") as ann, await shim(bridge.folder, "thin") as bob:
        ann.modern("tools/call", id=1, name="sleep", arguments={"seconds": 0.5})
        bob.modern("tools/call", id=1, name="echo", arguments={"text": "bob's"})

        assert text_of(await bob.answer(1)) == "bob's"
        assert text_of(await ann.answer(1)) == "slept"
