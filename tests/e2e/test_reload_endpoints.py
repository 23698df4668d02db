"""Endpoints that a reload adds, changes and removes, while clients are connected."""

import asyncio
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.reloads import BOUND, THIN, Load, edited
from tests.running import META, socket_client, text_of
from tests.waiting import until

SERVERS = {"a": {"command": THIN}, "b": {"command": THIN}}


def unix(folder: Path, name: str, server: str = "a", **more: Any) -> dict[str, Any]:
    return {"unix": str(folder / f"{name}.sock"), "server": server, **more}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    assert isinstance(port, int)
    return port


def posted(port: int, host: str = "127.0.0.1") -> str:
    """Call the server over HTTP on a connection of its own; return the text of its answer."""
    connection = http.client.HTTPConnection(host, port, timeout=BOUND)
    params = {"name": "echo", "arguments": {"text": "hello"}, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    names = {"Mcp-Method": "tools/call", "Mcp-Name": "echo", "MCP-Protocol-Version": "2026-07-28"}
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/mcp/a", json.dumps(body), {**names, **accepted})
        answer = connection.getresponse()
        found = answer.read()
        assert answer.status == 200, found
        return text_of(json.loads(found))
    finally:
        connection.close()


async def test_an_address_in_use_refuses_the_reload_and_closes_what_was_opened_before_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with edited(tmp_path, servers=SERVERS, endpoints=[unix(tmp_path, "old")]) as files:
            endpoints = [unix(tmp_path, "new"), {"http": f"127.0.0.1:{port}"}]
            files.edit(servers={"b": {"command": THIN}}, endpoints=endpoints)

            assert f"endpoint 127.0.0.1:{port} cannot be listened on" in await files.refused()

            status = await files.status()
            assert [one["unix"] for one in status["endpoints"]] == [str(tmp_path / "old.sock")]
            assert [one["name"] for one in status["servers"]] == ["a", "b"]
            await until(lambda: not (tmp_path / "new.sock").exists())
            caller = await socket_client(tmp_path / "old.sock")
            assert text_of(await caller.call("echo", text="on", bound=BOUND)) == "on"
            await caller.close()


async def test_a_certificate_that_cannot_be_read_refuses_the_reload(tmp_path: Path) -> None:
    async with edited(tmp_path, servers=SERVERS) as files:
        tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        files.edit(endpoints=[{"http": "127.0.0.1:0", "tls": tls}])

        assert f"{tmp_path / 'cert.pem'} cannot be read: no such file" in await files.refused()


async def test_endpoints_come_and_go_and_clients_of_the_others_do_not_notice(
    tmp_path: Path,
) -> None:
    async with edited(tmp_path, servers=SERVERS, endpoints=[unix(tmp_path, "one")]) as files:
        client = await socket_client(tmp_path / "one.sock")
        load = Load(client, 100)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            for _ in range(3):
                files.edit(endpoints=[unix(tmp_path, "one"), unix(tmp_path, "two", "b")])
                assert f"+ endpoint unix:{tmp_path / 'two.sock'}" in await files.reloaded()
                other = await socket_client(tmp_path / "two.sock")
                assert text_of(await other.call("echo", text="two", bound=BOUND)) == "two"
                files.edit(endpoints=[unix(tmp_path, "one")])
                assert f"- endpoint unix:{tmp_path / 'two.sock'}" in await files.reloaded()
                await until(lambda: not (tmp_path / "two.sock").exists())
                await other.close()
            load.stop()

        assert load.failed == []
        assert load.answered
        await client.close()


async def test_an_endpoint_that_is_removed_answers_what_is_open(tmp_path: Path) -> None:
    async with edited(tmp_path, servers=SERVERS, endpoints=[unix(tmp_path, "one")]) as files:
        client = await socket_client(tmp_path / "one.sock")
        asked = client.modern("tools/call", name="sleep", arguments={"seconds": 2})
        async with asyncio.timeout(BOUND):
            while not (await files.status())["servers"][0]["in_flight"]:
                continue
        files.edit(endpoints=[])
        await files.reloaded()

        with pytest.raises(FileNotFoundError):
            await socket_client(tmp_path / "one.sock")
        assert "result" in await client.answer(asked, BOUND)
        async with asyncio.timeout(BOUND):
            assert await client.reader.read() == b""
        await client.close()


async def test_a_socket_may_lead_to_another_server_from_now_on(tmp_path: Path) -> None:
    async with edited(tmp_path, servers=SERVERS, endpoints=[unix(tmp_path, "one")]) as files:
        before = await socket_client(tmp_path / "one.sock")
        first = text_of(await before.call("pid", bound=BOUND))
        files.edit(endpoints=[unix(tmp_path, "one", "b", mode="0660")])

        assert "(server, mode)" in await files.reloaded()

        async with asyncio.timeout(BOUND):
            assert await before.reader.read() == b""  # so it comes again
        after = await socket_client(tmp_path / "one.sock")
        assert text_of(await after.call("pid", bound=BOUND)) != first
        assert (tmp_path / "one.sock").stat().st_mode & 0o777 == 0o660
        await before.close()
        await after.close()


async def test_a_listener_is_configured_otherwise_and_not_one_connection_is_refused(
    tmp_path: Path,
) -> None:
    port = free_port()
    listener = {"http": f"127.0.0.1:{port}"}
    async with edited(tmp_path, servers=SERVERS, endpoints=[listener]) as files:
        stop = asyncio.Event()
        answered: list[str] = []

        async def call() -> None:
            while not stop.is_set():
                answered.append(await asyncio.to_thread(posted, port))

        async with asyncio.TaskGroup() as group:
            calling = [group.create_task(call()) for _ in range(2)]
            for number in range(6):
                many = len(answered)
                files.edit(endpoints=[{**listener, "limits": {"sessions": 10 + number}}])
                assert f"~ endpoint http:127.0.0.1:{port} (limits.sessions" in (
                    await files.reloaded()
                )
                await until(lambda many=many: len(answered) > many + 5, BOUND)
            stop.set()

        assert all(task.exception() is None for task in calling)
        assert set(answered) == {"hello"}


async def test_a_listener_moves_to_an_address_that_holds_its_port(tmp_path: Path) -> None:
    port = free_port()
    async with edited(
        tmp_path, servers=SERVERS, endpoints=[{"http": f"127.0.0.1:{port}"}]
    ) as files:
        files.edit(endpoints=[{"http": f"0.0.0.0:{port}", "hosts": ["127.0.0.1"]}])
        plan = await files.reloaded()

        assert f"+ endpoint http:0.0.0.0:{port}" in plan
        assert f"- endpoint http:127.0.0.1:{port}" in plan
        assert await asyncio.to_thread(posted, port) == "hello"


async def test_the_first_endpoint_may_come_with_a_reload(tmp_path: Path) -> None:
    async with edited(tmp_path, servers=SERVERS) as files:
        files.edit(endpoints=[{"http": "127.0.0.1:0"}])
        assert "+ endpoint http:127.0.0.1:0" in await files.reloaded()

        [opened] = (await files.status())["endpoints"]
        port = int(opened["http"].rpartition(":")[2].partition("/")[0])
        assert await asyncio.to_thread(posted, port) == "hello"
