"""What a running daemon tells systemd: here a socket of the test's is in systemd's place."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.clients import client
from tests.running import BOUND, Running, command, daemon, server, verb

QUICK = {"WATCHDOG_USEC": "200000"}
"""A sign of life each 100 ms, and so a look at the status as often."""


class Manager:
    """The socket where systemd would listen."""

    def __init__(self, path: Path) -> None:
        self.variables = {"NOTIFY_SOCKET": str(path), **QUICK}
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._end.bind(str(path))

    async def told(self, text: str) -> list[str]:
        """Wait for a datagram that has a line which begins so; return its lines."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(BOUND):
            while True:
                lines = (await loop.sock_recv(self._end, 4096)).decode().split("\n")
                if any(line.startswith(text) for line in lines):
                    return lines

    def close(self) -> None:
        self._end.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def rewrite(running: Running, **sections: object) -> None:
    path = running.folder / "mcpnatsd.yaml"
    whole = {"nats": {"embedded": {}}, **sections}
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")


async def test_a_daemon_tells_that_it_serves_how_it_is_and_that_it_ends(
    tmp_path: Path, manager: Manager
) -> None:
    failing = {"command": server("exits_before_initialize"), "start": "eager"}
    servers = {"thin": server("thin", "modern"), "github": failing}
    async with daemon(tmp_path, servers, variables=manager.variables) as running:
        assert (await manager.told("READY=1"))[1].startswith("STATUS=serving 2 servers")
        await manager.told("STATUS=serving 2 servers, no calls, 1 failing: github")
        await manager.told("WATCHDOG=1")

        async with client(tmp_path, "thin") as ours:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                await ours.call("pid")
        (line,) = [one for one in await manager.told("STATUS=serving 2") if "STATUS" in one]
        assert line.endswith(" calls/s, 1 failing: github")

        running.process.terminate()
        ending = await manager.told("STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=15000000" in ending
        assert await running.ended() == 0


async def test_a_reload_is_told_also_when_it_is_refused(tmp_path: Path, manager: Manager) -> None:
    thin = {"command": server("thin", "modern")}
    async with daemon(tmp_path, {"thin": thin}, variables=manager.variables) as running:
        await manager.told("READY=1")

        rewrite(running, servers={"thin": thin, "more": thin})
        await command(tmp_path, "reload")
        assert (await manager.told("RELOADING=1"))[1].startswith("MONOTONIC_USEC=")
        assert "STATUS=serving 2 servers" in "".join(await manager.told("READY=1"))

        rewrite(running, servers={"thin": {"comand": ["x"]}})
        assert (await verb(tmp_path, "reload")).code == 1
        told = ""
        while "; not reloaded: " not in told:  # who watches the files had the first one read too
            told = "".join(await manager.told("READY=1"))
        assert "STATUS=serving 2 servers" in told
        assert "comand" in told


async def test_a_daemon_without_nats_is_ready_and_says_what_it_waits_for(
    tmp_path: Path, manager: Manager
) -> None:
    servers = {"thin": server("thin", "modern")}
    nowhere = "nats://127.0.0.1:1"
    async with daemon(tmp_path, servers, nats_url=nowhere, variables=manager.variables):
        ready = await manager.told("READY=1")

    assert ready[1].startswith("STATUS=NATS is away: ")
    assert ready[1].endswith(", would serve 1 server")
