"""Daemons beside servers at URLs that come and go: calls are left to whose server is there."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import client
from tests.gateways import free_port
from tests.http_servers import SDK1, peer
from tests.natsd import NatsServer
from tests.probing import LISTEN, address_of, becomes, drain, probe, starting
from tests.reloads import edited
from tests.running import Running, Shim, daemon, text_of, verb
from tests.waiting import until

LATE = 45.0
"""Bound of what waits for a server that is looked for."""

NOBODY = "nobody serves"
"""What a client is told while no daemon takes requests for a name."""

LEFT = "left to other instances"
BLIND = """
no_auth_user: me
authorization {
  users: [{ user: me, password: me, permissions: { publish: { deny: ["$SRV.>"] } } }]
}
"""


class Gate:
    """A port before a server: shut, nobody listens there, and the server knows nothing of it."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)

    def shut(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(_pumped(reader, back), _pumped(there, writer))


async def _pumped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def gate(to: int) -> AsyncIterator[Gate]:
    one = Gate(to)
    await one.open()
    try:
        yield one
    finally:
        one.shut()


def at(port: int) -> dict[str, Any]:
    return {"far": {"url": f"http://127.0.0.1:{port}/mcp", "start": "eager"}}


@asynccontextmanager
async def sidecar(folder: Path, port: int, natsd: NatsServer) -> AsyncIterator[tuple[Running, str]]:
    """Run a daemon for the server at that port; yield it and where it can be probed."""
    async with daemon(folder, at(port), nats_url=natsd.url, metrics=LISTEN) as running:
        yield running, await address_of(running)


async def answered(one: Shim, times: int) -> None:
    """Call so often; each call must be answered."""
    for number in range(times):
        assert text_of(await one.call("echo", text=str(number))) == str(number)


async def test_no_call_is_lost_to_a_sidecar_that_starts_before_its_server(
    tmp_path: Path, natsd: NatsServer
) -> None:
    early = free_port()
    async with (
        peer(port=(port := free_port())),
        sidecar(tmp_path / "a", port, natsd) as (_, first),
        client(tmp_path / "a", "far") as one,
    ):
        await becomes(first, "/readyz", 200, bound=LATE)
        async with sidecar(tmp_path / "b", early, natsd) as (_, second):
            await answered(one, 50)
            await becomes(second, "/readyz", 503, "far: ", "cannot be reached")
            async with peer(port=early):
                await becomes(second, "/readyz", 200, bound=LATE)
                while "tool_calls_total{" not in (await probe(second, "/metrics")).text:
                    await answered(one, 5)  # until the new one has had its share
                assert (await drain(second)).status == 200
                await answered(one, 10)


async def test_calls_are_left_to_others_while_a_server_is_away(
    tmp_path: Path, natsd: NatsServer
) -> None:
    port, other = free_port(), free_port()
    async with (
        peer(port=other),
        sidecar(tmp_path / "a", other, natsd) as (_, first),
        sidecar(tmp_path / "b", port, natsd) as (troubled, second),
        client(tmp_path / "a", "far") as one,
    ):
        async with peer(port=port):
            for address in (first, second):
                await becomes(address, "/readyz", 200, bound=LATE)
            await answered(one, 20)
        since = len(troubled.log)
        calling = asyncio.create_task(asked_for(one, second))
        await troubled.said("left to other instances", since=since, bound=LATE)
        await calling
        await answered(one, 50)
        async with peer(port=port):
            await becomes(second, "/readyz", 200, bound=LATE)
            await answered(one, 20)


async def asked_for(one: Shim, address: str) -> None:
    """Call until a daemon says that it is not ready; some of these calls may fail."""
    while (await probe(address, "/readyz")).status == 200:
        await one.call("echo", text="a")


async def test_of_a_legacy_server_its_coming_and_going_is_noticed_without_a_client(
    tmp_path: Path, natsd: NatsServer
) -> None:
    port = free_port()
    async with sidecar(tmp_path, port, natsd) as (_, address):
        for _ in range(2):
            await becomes(address, "/readyz", 503, "far: ", "cannot be reached", bound=LATE)
            async with peer(python=SDK1, port=port):
                await becomes(address, "/readyz", 200, bound=LATE)
                async with client(tmp_path, "far", "legacy") as one:
                    assert text_of(await one.call("echo", era="legacy", text="a")) == "a"


async def test_a_lone_sidecar_says_why_it_cannot_answer(tmp_path: Path, natsd: NatsServer) -> None:
    async with (
        sidecar(tmp_path, free_port(), natsd) as (_, address),
        client(tmp_path, "far") as one,
    ):
        await becomes(address, "/readyz", 503, "far: ")
        assert "cannot be reached at http://127.0.0.1" in await refused_by_a_daemon(one)


async def refused_by_a_daemon(one: Shim) -> str:
    """Call until a daemon serves the name; return why it refuses the call."""
    async with asyncio.timeout(LATE):
        while NOBODY in (text := (await one.call("echo", text="a"))["error"]["message"]):
            pass
    assert isinstance(text, str)
    return text


async def test_after_a_short_outage_each_of_two_takes_requests_again(
    tmp_path: Path, natsd: NatsServer
) -> None:
    async with (
        peer(port=(port := free_port())),
        gate(port) as a,
        gate(port) as b,
        sidecar(tmp_path / "a", a.port, natsd) as (first, at_first),
        sidecar(tmp_path / "b", b.port, natsd) as (second, at_second),
        client(tmp_path / "a", "far") as one,
    ):
        for address in (at_first, at_second):
            await becomes(address, "/readyz", 200, bound=LATE)
        for daemon_, address, door in ((second, at_second, b), (first, at_first, a)):
            since = len(daemon_.log)
            door.shut()
            await daemon_.said(LEFT, since=since, bound=LATE)
            await door.open()
            await becomes(address, "/readyz", 200, bound=LATE)
        await answered(one, 10)


async def test_two_whose_one_server_is_away_do_not_leave_requests_to_each_other(
    tmp_path: Path, natsd: NatsServer
) -> None:
    async with (
        peer(port=(port := free_port())),
        gate(port) as door,
        sidecar(tmp_path / "a", door.port, natsd) as (first, at_first),
        sidecar(tmp_path / "b", door.port, natsd) as (second, at_second),
        client(tmp_path / "a", "far") as one,
    ):
        for address in (at_first, at_second):
            await becomes(address, "/readyz", 200, bound=LATE)
        door.shut()
        for address in (at_first, at_second):
            await becomes(address, "/readyz", 503, "cannot be reached", bound=LATE)
        assert "cannot be reached" in await refused_by_a_daemon(one)
        assert sum(LEFT in line for line in [*first.log, *second.log]) <= 1
        await door.open()
        for address in (at_first, at_second):
            await becomes(address, "/readyz", 200, bound=LATE)
        await answered(one, 10)


async def test_one_that_takes_no_requests_yet_is_listed_as_aside(
    tmp_path: Path, natsd: NatsServer
) -> None:
    listed: list[dict[str, Any]] = []
    with socket.socket() as deaf, socket.socket() as first:  # connecting hangs: its queue is full
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())
        served = {"nats": {"url": natsd.url}, "servers": at(deaf.getsockname()[1])}
        async with starting(tmp_path, **served):
            while not listed:
                listed = json.loads((await verb(tmp_path, "list", "--json")).out)

    assert [(one["name"], one["state"]) for one in listed] == [("far", "aside")]


@pytest.mark.parametrize("isolation", ["auto", "session"])
async def test_a_lazy_server_that_a_call_found_away_gets_calls_when_it_is_back(
    tmp_path: Path, natsd: NatsServer, isolation: str
) -> None:
    port, other = free_port(), free_port()
    lazy = {"far": {"url": at(port)["far"]["url"], "isolation": isolation}}
    async with (
        daemon(tmp_path / "b", lazy, nats_url=natsd.url, metrics=LISTEN) as troubled,
        client(tmp_path / "b", "far") as one,
    ):
        address = await address_of(troubled)
        assert "cannot be reached" in await refused_by_a_daemon(one)
        async with peer(port=other), sidecar(tmp_path / "a", other, natsd) as (_, healthy):
            await becomes(healthy, "/readyz", 200, bound=LATE)
            await troubled.said(LEFT, bound=LATE)
            async with peer(port=port):
                await becomes(address, "/readyz", 200, bound=LATE)


async def test_one_that_may_not_see_others_takes_requests_and_says_so_once(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "natsd", BLIND) as natsd:
        async with (
            daemon(tmp_path, at(free_port()), nats_url=natsd.url) as running,
            client(tmp_path, "far") as one,
        ):
            assert "cannot be reached" in await refused_by_a_daemon(one)
            await until(lambda: natsd.said('"$SRV.INFO') >= 3, timeout=LATE)
            assert sum("cannot see other instances" in line for line in running.log) == 1
            assert not any("Traceback" in line for line in running.log)


async def test_no_call_is_lost_when_a_reload_changes_a_server_at_a_url(tmp_path: Path) -> None:
    port = free_port()
    async with (
        peer(port=port),
        edited(tmp_path, servers=at(port), metrics=LISTEN) as files,
        client(tmp_path, "far") as one,
    ):
        await becomes(await address_of(files.daemon), "/readyz", 200, bound=LATE)
        over = asyncio.Event()
        calling = asyncio.create_task(answered_until(one, over))
        for concurrency in range(1, 6):
            changed = {**at(port)["far"], "limits": {"concurrency": concurrency}}
            files.edit(servers={"far": changed})
            assert "far" in await files.reloaded()
        over.set()
        await calling


async def answered_until(one: Shim, over: asyncio.Event) -> None:
    while not over.is_set():
        await answered(one, 1)
