"""What a daemon answers who probes it: started, ready, healthy, drained are four things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.clients import client
from tests.gateways import free_port
from tests.http_servers import peer
from tests.natsd import NatsServer
from tests.probing import LISTEN, address_of, becomes, drain, probe, sent, starting
from tests.running import BOUND, Running, Shim, daemon, server, status, text_of, verb

LATE = 45.0
"""Bound of what waits for a server that is looked for after a pause."""

SILENT = ["python3", "-c", "import sys; sys.stdin.read()"]
"""Starts, and never says a word."""


async def test_without_nats_it_is_started_and_healthy_but_not_ready(
    tmp_path: Path, natsd: NatsServer
) -> None:
    natsd.kill()
    config = {"nats": {"url": natsd.url}, "servers": {"thin": {"command": server("thin")}}}
    async with starting(tmp_path, **config) as (_, address):
        assert (await probe(address, "/startz")).text.startswith("started: ")
        assert (await probe(address, "/healthz")).status == 200
        await becomes(address, "/readyz", 503, "not ready: NATS is away", " s)")

        natsd.start()
        assert await becomes(address, "/readyz", 200) == "ready: NATS is up, servers: 1\n"

        natsd.kill()
        await becomes(address, "/readyz", 503, "NATS is away")
        assert (await probe(address, "/healthz")).status == 200
        assert (await probe(address, "/startz")).status == 200


async def test_it_is_not_ready_while_an_eager_server_starts_nor_when_it_cannot(
    tmp_path: Path, nats_url: str, prefix: str
) -> None:
    slow = {"command": SILENT, "start": "eager", "limits": {"start_timeout": "3s"}}
    nats = {"url": nats_url, "prefix": prefix}
    async with starting(tmp_path, nats=nats, servers={"slow": slow}) as (_, address):
        await becomes(address, "/readyz", 503, "slow: is starting")
        assert (await probe(address, "/startz")).status == 200

        await becomes(address, "/readyz", 503, "not ready: slow: ", "start_timeout")


async def test_one_server_of_two_that_fails_is_named_and_stops_nothing(tmp_path: Path) -> None:
    bad = {"command": [*server("exits_before_initialize")], "start": "eager"}
    async with daemon(tmp_path, {"good": server("thin"), "bad": bad}, metrics=LISTEN) as running:
        address = await address_of(running)

        line = await becomes(address, "/readyz", 200, "bad: ")
        assert line.startswith("ready: NATS is up, servers: 2; bad: ")


async def test_a_server_at_a_url_that_is_away_makes_it_unready_until_it_is_there(
    tmp_path: Path,
) -> None:
    port = free_port()
    far = {"url": f"http://127.0.0.1:{port}/mcp", "start": "eager"}
    async with starting(tmp_path, nats={"embedded": {}}, servers={"far": far}) as (_, address):
        await becomes(address, "/readyz", 503, "not ready: far: ", "cannot be reached")
        async with peer(port=port):
            await becomes(address, "/readyz", 200, bound=LATE)
        await becomes(address, "/readyz", 503, "far: ", bound=LATE)


async def test_an_address_that_is_taken_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    async with daemon(tmp_path, {}, metrics=LISTEN) as running:
        address = await address_of(running)
        path = tmp_path / "other.yaml"
        path.write_text(f"name: other\nmetrics: {{listen: '{address}'}}\n", encoding="utf-8")

        ended = await verb(tmp_path, "run", "--config", str(path))

    assert ended.code == 78
    assert f"metrics.listen: {address} cannot be listened on" in ended.err


async def test_without_the_key_nothing_listens(tmp_path: Path) -> None:
    async with daemon(tmp_path, {}) as running:
        assert not [line for line in running.log if "metrics listener" in line]


@asynccontextmanager
async def two(folder: Path, natsd: NatsServer) -> AsyncIterator[tuple[Running, Running, str]]:
    """Run two daemons with one server; yield both, and where the first can be probed."""
    servers = {"thin": server("thin")}
    async with (
        daemon(folder / "a", servers, nats_url=natsd.url, metrics=LISTEN) as first,
        daemon(folder / "b", servers, nats_url=natsd.url) as second,
    ):
        yield first, second, await address_of(first)


async def test_a_drain_finishes_what_is_open_and_answers_when_it_has(
    tmp_path: Path, natsd: NatsServer
) -> None:
    servers = {"thin": server("thin")}
    async with daemon(tmp_path, servers, nats_url=natsd.url, metrics=LISTEN) as running:
        address = await address_of(running)
        async with client(tmp_path, "thin") as one:
            asked = one.modern("tools/call", name="sleep", arguments={"seconds": 3})
            await becomes(address, "/metrics", 200, 'mcpnatsd_in_flight{server="thin"} 1')

            draining = asyncio.create_task(drain(address, "POST"))
            await becomes(address, "/readyz", 503, "not ready: draining")
            assert not draining.done()
            assert (await status(tmp_path))["draining"] is True
            refused = await one.call("echo", text="a")
            assert "result" in await one.answer(asked)
            drained = await draining

        assert (drained.status, drained.text) == (200, "drained: nothing is open\n")
        assert refused["error"]["code"] == -31001  # nobody serves it any more
        again = await drain(address)
        assert (again.status, again.text) == (200, "drained: nothing is open\n")
        assert (await probe(address, "/healthz")).status == 200
        assert running.process.returncode is None
        assert await running.stop() == 0


async def test_a_session_moves_and_no_call_fails_while_one_of_two_drains(
    tmp_path: Path, natsd: NatsServer
) -> None:
    async with (
        two(tmp_path, natsd) as (first, second, address),
        client(tmp_path / "b", "thin") as modern,
        client(tmp_path / "b", "thin", "legacy") as legacy,
    ):
        over = asyncio.Event()
        calling = [
            asyncio.create_task(calls(one, era, over))
            for one, era in ((modern, "modern"), (legacy, "legacy"))
        ]
        await becomes(address, "/metrics", 200, 'mcpnatsd_tool_calls_total{server="thin"')
        assert (await drain(address)).status == 200
        assert await first.stop() == 0
        over.set()

        assert all(await asyncio.gather(*calling))
        assert second.process.returncode is None


async def calls(one: Shim, era: str, over: asyncio.Event) -> int:
    """Call one after another until told; fail with the first that is not answered."""
    count = 0
    while not over.is_set() or count == 0:
        assert text_of(await one.call("echo", era=era, text=str(count))) == str(count)
        count += 1
    return count


async def test_who_drained_stays_off_the_bus_whatever_nats_does(
    tmp_path: Path, natsd: NatsServer
) -> None:
    servers = {"thin": server("thin")}
    async with daemon(tmp_path, servers, nats_url=natsd.url, metrics=LISTEN) as running:
        address = await address_of(running)
        await becomes(address, "/readyz", 200)
        natsd.kill()
        await becomes(address, "/readyz", 503, "NATS is away")
        assert (await drain(address)).status == 200
        natsd.start()
        await becomes(address, "/metrics", 200, "mcpnatsd_nats_up 1\n", "mcpnatsd_draining 1\n")

        async with client(tmp_path, "thin") as one:
            refused = await one.call("echo", text="a")
        assert refused["error"]["code"] == -31001
        assert (await probe(address, "/readyz")).text.startswith("not ready: draining")
        await refuses_reload(tmp_path)


async def refuses_reload(folder: Path) -> None:
    """Check that a daemon that drains takes no new configuration over."""
    config = folder / "mcpnatsd.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("thin:", "other:"), encoding="utf-8")
    ended = await verb(folder, "reload")
    assert (ended.code, "stopping" in ended.err) == (1, True), ended


async def test_who_is_not_trusted_cannot_drain(tmp_path: Path) -> None:
    listen = {**LISTEN, "drain_from": ["10.0.0.0/8"]}
    async with daemon(tmp_path, {"thin": server("thin")}, metrics=listen) as running:
        address = await address_of(running)

        refused = await drain(address)
        assert (refused.status, "metrics.drain_from" in refused.text) == (403, True)
        assert (await probe(address, "/readyz")).status == 200


async def test_what_fetches_any_url_cannot_drain(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin")}, metrics=LISTEN) as running:
        address = await address_of(running)

        for method in ("GET", "POST"):
            for said in ({}, {"Mcpnatsd_Drain": ""}, {"Mcpnatsd_Drain": "no"}):
                refused = await probe(address, "/drain", method, **said)
                assert (refused.status, "Mcpnatsd-Drain: yes" in refused.text) == (403, True)
        assert (await probe(address, "/drain?Mcpnatsd-Drain=yes")).status == 403
        assert (await probe(address, "/readyz")).status == 200


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"])
async def test_a_web_page_can_neither_drain_nor_look(tmp_path: Path, listen: str) -> None:
    metrics = {"listen": listen, "drain_from": ["0.0.0.0/0", "::/0"]}
    async with daemon(tmp_path, {"thin": server("thin")}, metrics=metrics) as running:
        address = f"127.0.0.1:{(await address_of(running)).rpartition(':')[2]}"
        for path in ("/drain", "/metrics", "/readyz"):
            for page in (
                {"Origin": "http://evil.example"},
                {"Sec_Fetch_Site": "cross-site"},
                {"Host": "evil.example"},
                {"Host": "evil.example:8222", "Referer": "http://evil.example:8222/"},
                {"Host": "127.0.0.1.evil.example:80"},
                {"Host": "localhost.evil.example"},
            ):
                assert (await probe(address, path, Mcpnatsd_Drain="yes", **page)).status == 403
        # What a browser asks before a page of another origin may send the header.
        preflight = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
        assert (await probe(address, "/drain", "OPTIONS", **preflight)).status == 403

        assert (await probe(address, "/readyz", Sec_Fetch_Site="none")).status == 200
        assert (await probe(address, "/readyz", Host="localhost:8222")).status == 200
        assert (await probe(address, "/readyz", Host="[::1]:8222")).status == 200
        assert (await sent(address, b"GET /readyz HTTP/1.0\r\n\r\n")).status == 200


async def test_a_drain_that_is_told_to_hurry_says_what_was_open(
    tmp_path: Path, natsd: NatsServer
) -> None:
    servers = {"thin": server("thin")}
    async with daemon(tmp_path, servers, nats_url=natsd.url, metrics=LISTEN) as running:
        address = await address_of(running)
        async with client(tmp_path, "thin") as one:
            one.modern("tools/call", name="sleep", arguments={"seconds": 600})
            await becomes(address, "/metrics", 200, 'mcpnatsd_in_flight{server="thin"} 1')
            draining = asyncio.create_task(drain(address))
            await running.said("draining")
            async with asyncio.timeout(BOUND):
                while not any("stopping now" in line for line in running.log):
                    running.process.terminate()  # two signals at once are one
                    await asyncio.sleep(0.05)
                assert await running.process.wait() == 0
            draining.cancel()
    assert any("stopping now" in line and "thin: 1 in flight" in line for line in running.log)
