"""A client whose process is its own, on the instance that holds it."""

import asyncio
from pathlib import Path

import pytest

from tests.natsd import NatsServer
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
