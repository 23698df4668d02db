"""A client whose process is its own, on the instance that holds it."""

import asyncio
import json
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from tests.connections import plain
from tests.natsd import NatsServer
from tests.processes import state
from tests.running import BOUND, daemon, server, shim, status, text_of

ALONE = {
    "modern": {"command": server("thin", "modern"), "isolation": "session"},
    "legacy": {"command": server("thin", "legacy")},
}
"""Servers of which each modern client has a process of its own."""


async def test_a_large_request_reaches_the_process_of_its_client(tmp_path: Path) -> None:
    thin = {"command": server("thin"), "isolation": "session"}
    async with daemon(tmp_path, {"thin": thin}), await shim(tmp_path, "thin") as client:
        first = text_of(await client.call("pid"))

        assert text_of(await client.call("echo", text="x" * 3_000_000, bound=60)) == "x" * 3_000_000
        assert text_of(await client.call("pid")) == first


@pytest.mark.parametrize("era", ALONE)
async def test_a_client_stays_with_its_process_although_there_are_two_instances(
    tmp_path: Path, natsd: NatsServer, era: str
) -> None:
    servers, url = {"thin": ALONE[era]}, natsd.url
    async with (
        daemon(tmp_path / "a", servers, nats_url=url, name="a"),
        daemon(tmp_path / "b", servers, nats_url=url, name="b"),
        await shim(tmp_path / "a", "thin") as client,
    ):
        pids = [text_of(await client.call("pid")) for _ in range(20)]

    assert len(set(pids)) == 1


@pytest.mark.parametrize("era", ALONE)
async def test_the_process_of_a_client_that_left_is_ended(tmp_path: Path, era: str) -> None:
    async def processes() -> int:
        [thin] = (await status(tmp_path))["servers"]
        return len(thin["processes"])

    async with daemon(tmp_path, {"thin": ALONE[era]}), await shim(tmp_path, "thin") as stays:
        await stays.call("pid")
        async with await shim(tmp_path, "thin") as leaves:
            await leaves.call("pid")
            assert await processes() == 2
            leaves.process.stdin.close()
            await leaves.ended()
        async with asyncio.timeout(BOUND):
            while await processes() > 1:
                await asyncio.sleep(0.05)
        pid = text_of(await stays.call("pid"))
        assert text_of(await stays.call("pid")) == pid


async def test_a_client_goes_elsewhere_while_its_drained_instance_still_ends_processes(
    tmp_path: Path, natsd: NatsServer
) -> None:
    stubborn = {"command": server("ignores_sigterm"), "isolation": "session"}
    servers, url = {"thin": {**stubborn, "limits": {"stop_timeout": 4}}}, natsd.url
    async with (
        daemon(tmp_path / "a", servers, nats_url=url, name="a") as first,
        await shim(tmp_path / "a", "thin") as client,
        plain(url) as nats,
    ):
        pid = text_of(await client.call("pid"))
        info = await nats.request("$SRV.INFO.mcp-thin", b"", timeout=BOUND)
        pinned = f"mcp.ses.thin.{json.loads(info.data)['id']}"
        async with daemon(tmp_path / "b", servers, nats_url=url, name="b"):
            first.process.terminate()
            async with asyncio.timeout(BOUND):
                while await is_served(nats, f"{pinned}.{'0' * 32}.ping"):
                    pass

            assert state(int(pid)), "its process has ended: then there is nothing to test"
            assert text_of(await client.call("pid")) != pid
    assert not any("Traceback" in line for line in first.log), first.log


async def is_served(nats: Client, subject: str) -> bool:
    try:
        await nats.request(subject, b"{}", timeout=BOUND)
    except NoRespondersError:
        return False
    return True
