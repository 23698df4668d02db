"""Reloads of servers at a URL, with a process a client or one for all; of keys, of certificates."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

from tests import running
from tests.gateways import free_port
from tests.http_servers import peer
from tests.natsd import NatsServer
from tests.reloads import BOUND, THIN, Load, edited
from tests.running import socket_client, text_of
from tests.waiting import until


def unix(folder: Path, server: str) -> dict[str, str]:
    return {"unix": str(folder / f"{server}.sock"), "server": server}


async def test_a_server_moves_from_one_url_to_another_and_not_one_call_fails(
    tmp_path: Path,
) -> None:
    async with peer() as (one, _), peer() as (two, _):
        endpoints = [unix(tmp_path, "web")]
        async with edited(tmp_path, servers={"web": {"url": one}}, endpoints=endpoints) as files:
            client = await socket_client(tmp_path / "web.sock")
            load = Load(client, 50)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                for url in (two, one, two):
                    before = load.answered
                    await until(lambda before=before: load.answered > before + 10, BOUND)
                    files.edit(servers={"web": {"url": url}})
                    assert "~ server web (url)" in await files.reloaded()
                load.stop()

            assert load.failed == []
            await client.close()


async def test_a_token_for_a_url_is_renewed_with_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("wrong")
    async with peer("token") as (url, _):
        web = {"url": url, "headers": {"Authorization": f"Bearer ${{file:{secret}}}"}}
        async with edited(
            tmp_path, servers={"web": web}, endpoints=[unix(tmp_path, "web")]
        ) as files:
            client = await socket_client(tmp_path / "web.sock")
            assert "error" in await client.call("echo", text="x", bound=BOUND)
            secret.write_text("hush")
            await files.daemon.said("~ server web (headers)")

            assert text_of(await client.call("echo", text="x", bound=BOUND)) == "x"
            assert not [line for line in files.daemon.log if "hush" in line]
            await client.close()


async def test_a_client_with_a_process_of_its_own_gets_a_new_one_and_no_error(
    tmp_path: Path,
) -> None:
    def own(value: str) -> dict[str, Any]:
        return {"a": {"command": THIN, "isolation": "session", "env": {"VALUE": value}}}

    async with edited(tmp_path, servers=own("0"), endpoints=[unix(tmp_path, "a")]) as files:
        clients = [await socket_client(tmp_path / "a.sock") for _ in range(3)]
        for number in range(3):
            for client in clients:
                told = await client.call("env", name="VALUE", bound=BOUND)
                assert text_of(told) == str(number)
            files.edit(servers=own(str(number + 1)))
            await files.reloaded()
        for client in clients:
            await client.close()


async def test_sessions_that_share_a_legacy_process_go_on_in_the_new_one(tmp_path: Path) -> None:
    def shared(value: str) -> dict[str, Any]:
        command = running.server("thin", "legacy")
        return {"a": {"command": command, "isolation": "shared", "env": {"VALUE": value}}}

    async with edited(tmp_path, servers=shared("0"), endpoints=[unix(tmp_path, "a")]) as files:
        clients = [await socket_client(tmp_path / "a.sock") for _ in range(3)]
        for client in clients:
            await client.initialize(BOUND)
        files.edit(servers=shared("1"))
        await files.reloaded()

        for client in clients:
            await client_has(client, "1")
            await client.close()


async def client_has(client: Any, value: str) -> None:
    """Wait until a session is in the new process. A call of it never fails."""
    async with asyncio.timeout(BOUND):
        while True:
            told = await client.call("env", era="legacy", name="VALUE", bound=BOUND)
            if text_of(told) == value:
                return


def certificate(folder: Path, name: str) -> bytes:
    """Write a certificate and its key; return it as a client sees it."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return ssl.PEM_cert_to_DER_cert((folder / "cert.pem").read_text())


async def test_a_certificate_is_renewed_with_its_files(tmp_path: Path) -> None:
    first = certificate(tmp_path / "tls", "first")
    second = certificate(tmp_path / "renewed", "second")
    port = free_port()
    tls = {"cert": str(tmp_path / "tls/cert.pem"), "key": str(tmp_path / "tls/key.pem")}
    endpoints = [{"http": f"127.0.0.1:{port}", "tls": tls}]
    async with edited(tmp_path, servers={"a": {"command": THIN}}, endpoints=endpoints) as files:
        assert await asyncio.to_thread(shown, port) == first
        for name in ("key.pem", "cert.pem"):
            shutil.copy(tmp_path / "renewed" / name, tmp_path / "tls" / name)

        await files.daemon.said(f"content of {tmp_path / 'tls/cert.pem'}")
        assert await asyncio.to_thread(shown, port) == second


def shown(port: int) -> bytes:
    """Return the certificate that a listener shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=BOUND)
    return ssl.PEM_cert_to_DER_cert(pem)


async def test_an_nkey_is_renewed_with_its_file_and_nothing_is_lost(tmp_path: Path) -> None:
    seeds = [nkeys.encode_seed(bytes([n] * 32), nkeys.PREFIX_BYTE_USER) for n in (1, 2)]
    users = ", ".join(f"{{ nkey: {public(seed)} }}" for seed in seeds)
    file = tmp_path / "nkey"
    file.write_bytes(seeds[0])
    with NatsServer(tmp_path / "natsd", f"authorization {{ users: [{users}] }}") as natsd:
        nats = {"url": natsd.url, "nkey": str(file)}
        endpoints = [unix(tmp_path, "a")]
        async with edited(
            tmp_path, nats=nats, servers={"a": {"command": THIN}}, endpoints=endpoints
        ) as files:
            load = Load(client := await socket_client(tmp_path / "a.sock"), 100)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await until(lambda: load.answered > 10, BOUND)
                file.write_bytes(seeds[1])
                await files.daemon.said(f"~ nats (content of {file})")
                natsd.reload(f"authorization {{ users: [{{ nkey: {public(seeds[1])} }}] }}")
                before = load.answered
                await until(lambda: load.answered > before + 50, BOUND)
                load.stop()

            assert load.failed == []
            assert (await files.status())["nats"]["connected"]
            assert not [line for line in files.daemon.log if "NATS is away" in line]
            await client.close()


def public(seed: bytes) -> str:
    key = nkeys.from_seed(bytearray(seed)).public_key
    assert isinstance(key, bytes)
    return key.decode()


async def test_a_stop_in_the_midst_of_a_reload_finishes_what_is_open_at_what_is_replaced(
    tmp_path: Path,
) -> None:
    async with peer() as (url, _):
        web = {"web": {"url": url, "start": "eager"}}
        endpoints = [unix(tmp_path, "web")]
        async with edited(tmp_path, servers=web, endpoints=endpoints) as files:
            client = await socket_client(tmp_path / "web.sock")
            await client.call("echo", text="it is there")
            asked = client.modern("tools/call", name="slow", arguments={"seconds": 4})
            away = f"http://127.0.0.1:{free_port()}/mcp"
            files.edit(servers={"web": {"url": away, "start": "eager"}})
            await files.daemon.said("server cannot be started")  # its successor waits to join

            stopping = asyncio.create_task(files.daemon.stop())
            assert text_of(await client.answer(asked)) == "slept"
            assert await stopping == 0
            await client.close()
