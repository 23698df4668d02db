"""A constant load while other servers, and the server itself, are reloaded: not one call fails."""

import asyncio
from pathlib import Path
from typing import Any

from tests import running
from tests.reloads import BOUND, THIN, Edited, Load, edited
from tests.running import socket_client
from tests.waiting import until

RATE = 500
"""Calls a second, over all clients."""

CLIENTS = 4
RELOADS = 25
"""Each adds, changes and removes servers. A soak does it longer."""


def endpoints(folder: Path, *servers: str) -> list[dict[str, Any]]:
    return [{"unix": str(folder / f"{name}.sock"), "server": name} for name in servers]


def others(number: int) -> dict[str, Any]:
    """Return servers of which each reload adds one, changes one and removes one."""
    return {
        f"other{n}": {"command": THIN, "start": "eager", "env": {"NUMBER": str(number // (n + 1))}}
        for n in range(number % 3, number % 3 + 3)
    }


async def loads(folder: Path, server: str) -> list[Load]:
    clients = [await socket_client(folder / f"{server}.sock") for _ in range(CLIENTS)]
    return [Load(client, RATE / CLIENTS) for client in clients]


async def reload_often(files: Edited, servers: dict[str, Any], *, changing: str = "") -> None:
    for number in range(1, RELOADS + 1):
        own = {changing: {"command": THIN, "env": {"NUMBER": str(number)}}} if changing else {}
        files.edit(servers={**servers, **others(number), **own})
        await files.reloaded()


async def test_reloads_of_other_servers_fail_not_one_call(tmp_path: Path) -> None:
    servers = {"steady": {"command": THIN}}
    async with edited(tmp_path, servers=servers, endpoints=endpoints(tmp_path, "steady")) as files:
        running_loads = await loads(tmp_path, "steady")
        async with asyncio.TaskGroup() as group:
            for load in running_loads:
                group.create_task(load.run())
            await reload_often(files, servers)
            for load in running_loads:
                load.stop()

        status = await files.status()
        assert [load.failed for load in running_loads] == [[]] * CLIENTS
        assert sum(load.answered for load in running_loads) > RELOADS
        assert status["reload"]["applied"] >= RELOADS
        assert status["reload"]["refused"] == 0
        assert status["servers"][0]["restarts"] == 0
        for load in running_loads:
            await load.close()


async def test_a_server_that_every_reload_changes_fails_not_one_call(tmp_path: Path) -> None:
    servers = {"busy": {"command": THIN, "env": {"NUMBER": "0"}}}
    async with edited(tmp_path, servers=servers, endpoints=endpoints(tmp_path, "busy")) as files:
        running_loads = await loads(tmp_path, "busy")
        shim = await running.shim(tmp_path, "busy")
        running_loads.append(Load(shim, 50))
        async with asyncio.TaskGroup() as group:
            for load in running_loads:
                group.create_task(load.run())
            await until(lambda: running_loads[0].answered, BOUND)
            await reload_often(files, servers, changing="busy")
            for load in running_loads:
                load.stop()

        assert [load.failed for load in running_loads] == [[]] * len(running_loads)
        assert sum(load.answered for load in running_loads) > RELOADS
        for load in running_loads:
            await load.close()
