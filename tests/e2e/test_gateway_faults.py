"""What breaks around a gateway, and what its clients are told."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcpnatsd.frontends.output import MOST_WAITING_BYTES
from tests.faults import LATE, bus, serving
from tests.gateways import (
    BOTH,
    LEGACY,
    Gateway,
    Session,
    events,
    events_of,
    free_port,
    gateway,
    modern_message,
    raw,
    raw_post,
    tool_call,
)
from tests.natsd import NatsServer
from tests.processes import resident_bytes
from tests.running import daemon, server, status, text_of

BOUND = 30.0
SLACK = 160 << 20
"""Bytes that a daemon may grow by while one client does not read: what waits for it is kept in
its lines, in their events, and in what the allocator keeps of both."""


async def nothing_open(web: Gateway) -> None:
    async with asyncio.timeout(BOUND):
        while await web.open_requests():
            await asyncio.sleep(0.05)


async def test_a_server_that_dies_is_told_to_each_caller(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        waiting = asyncio.create_task(web.call("thin", "sleep", seconds=600))
        async with asyncio.timeout(BOUND):
            while not await web.open_requests():
                await asyncio.sleep(0.05)
        died = await web.call("thin", "exit", status=3)
        for answer in (died, await waiting):
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == -31004

        assert text_of((await web.call("thin", "echo", text="back")).json()) == "back"


async def test_while_nats_is_away_a_request_waits_and_is_told(
    tmp_path: Path, natsd: NatsServer
) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}, nats_url=natsd.url) as web:
        assert (await web.call("thin", "echo", text="a")).status_code == 200
        natsd.kill()
        await web.daemon.said("NATS is away")
        refused = await web.call("thin", "echo", text="b")
        assert refused.status_code == 502
        assert refused.json()["error"]["data"] == {"outcome": "not-executed"}

        natsd.start()
        async with asyncio.timeout(BOUND):
            while (await web.call("thin", "echo", text="c")).status_code != 200:
                await asyncio.sleep(0.1)


async def test_a_client_that_leaves_while_it_shakes_hands_leaves_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"mute": server("never_reads")}) as web:
        waiting = asyncio.create_task(web.initialize("mute"))
        async with asyncio.timeout(BOUND):
            while not await web.open_requests():
                await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])

        await nothing_open(web)


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST /mcp/thin HTTP/9.9\r\n\r\n",
     b"POST /mcp/thin HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
     b"POST /mcp/thin HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{"],
)  # fmt: skip
async def test_what_is_no_http_is_answered_and_forgotten(tmp_path: Path, garbage: bytes) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        assert (await raw(web.port, garbage)).startswith(b"HTTP/1.1 400")
        assert (await web.call("thin", "echo", text="a")).status_code == 200


async def test_half_a_message_is_nobodys(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        body, headers = modern_message("tools/call", name="echo", arguments={"text": "x" * 1000})
        _, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(raw_post("/mcp/thin", body, headers)[:-500])
        async with asyncio.timeout(BOUND):
            while not await web.open_requests():
                await asyncio.sleep(0.05)
        writer.transport.abort()

        await nothing_open(web)
        assert not [line for line in web.daemon.log if "Traceback" in line]


async def test_requests_on_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        posts = []
        for number in range(5):
            arguments = {"text": f"<{number}>"}
            body, headers = modern_message("tools/call", name="echo", arguments=arguments)
            if number == 4:
                headers["Connection"] = "close"
            posts.append(raw_post("/mcp/thin", body, headers))
        said = await raw(web.port, b"".join(posts))

        assert said.count(b"HTTP/1.1 200") == 5
        found = [said.index(b"<%d>" % number) for number in range(5)]
        assert found == sorted(found)


# Clients that leave, and clients that do not read.


async def test_a_client_that_leaves_in_the_midst_of_a_stream_cancels(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"recorder": recorder(tmp_path)}) as web:
        params = {"name": "tick", "arguments": {"steps": 10_000, "every": 0.05}}
        meta = {"progressToken": "t"}
        body, headers = modern_message("tools/call", **params, _meta=meta)
        path = "/mcp/recorder"
        async with web.http.stream("POST", path, json=body, headers=headers) as response:
            assert (await anext(events(response)))["data"]["params"]["progress"] == 1

        await nothing_open(web)
        async with asyncio.timeout(BOUND):
            while "notifications/cancelled" not in (tmp_path / "record").read_text("utf-8"):
                await asyncio.sleep(0.05)


def recorder(folder: Path, era: str = "both") -> list[str]:
    return server("recorder", str(folder / "record"), era)


async def silent(web: Gateway, path: str, body: Any, headers: dict[str, str]) -> Any:
    """Send a request on a connection that is not read from; return both ends of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=1 << 10)
    writer.write(raw_post(path, body, headers))
    return reader, writer


async def test_a_modern_client_that_does_not_read_costs_its_own_call(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"floods": server("floods")}) as web:
        assert (await web.call("floods", "echo", text="a")).status_code == 200
        before = resident_bytes(web.daemon.pid)
        arguments = {"messages": 256, "bytes": 1 << 20}
        body, headers = modern_message(
            "tools/call", name="flood", arguments=arguments, _meta={"progressToken": "t"}
        )
        reader, writer = await silent(web, "/mcp/floods", body, {**headers, "connection": "close"})
        async with asyncio.timeout(LATE):
            while await in_flight(web):
                assert text_of((await web.call("floods", "echo", text="b")).json()) == "b"
        assert resident_bytes(web.daemon.pid) - before < MOST_WAITING_BYTES + SLACK

        async with asyncio.timeout(LATE):
            said = await reader.read()  # now it does
        assert b'"code":-31007' in said[-1000:]
        assert b"does not read" in said[-1000:]
        writer.close()


async def in_flight(web: Gateway) -> int:
    [found] = (await status(web.daemon.folder))["servers"]
    return int(found["in_flight"])


async def test_a_session_that_does_not_read_has_its_server_wait(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"floods": server("floods", "legacy")}) as web:
        session, other = await web.session("floods"), await web.session("floods")
        before = resident_bytes(web.daemon.pid)
        call = tool_call("flood", token="t", messages=320, bytes=1 << 20)
        headers = {**session.headers, "connection": "close"}
        reader, writer = await silent(web, session.path, call, headers)
        async with asyncio.timeout(LATE):
            grown = 0
            while grown < MOST_WAITING_BYTES:
                assert text_of((await other.call("echo", text="b")).json()) == "b"
                grown = resident_bytes(web.daemon.pid) - before
        for _ in range(20):
            assert text_of((await other.call("echo", text="b")).json()) == "b"
        assert resident_bytes(web.daemon.pid) - before < MOST_WAITING_BYTES + SLACK

        async with asyncio.timeout(LATE):
            said = await reader.read()  # now it does
        assert said.count(b"notifications/progress") == 320
        writer.close()


# Bodies that are none.


async def malformed(web: Gateway, session: Session | None, body: bytes) -> tuple[int, Any]:
    headers = {"accept": BOTH, "content-type": "application/json"}
    path = "/mcp/thin" if session is None else session.path
    headers |= {} if session is None else session.headers
    response = await web.http.post(path, content=body, headers=headers)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"null", -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b"[" * 100_000, -32600),
    ],
)
async def test_a_malformed_body_in_a_session_is_told_and_the_session_goes_on(
    tmp_path: Path, body: bytes, code: int
) -> None:
    async with gateway(tmp_path, {"thin": server("thin", "legacy")}) as web:
        session = await web.session("thin")

        for one in (session, None):
            told, answer = await malformed(web, one, body)
            assert (told, answer["error"]["code"]) == (400, code)
        assert text_of((await session.call("echo", text="a")).json()) == "a"


async def test_a_body_over_the_limit_ends_no_session(tmp_path: Path) -> None:
    limits = {"body_bytes": "64KiB"}
    async with gateway(tmp_path, {"thin": server("thin", "legacy")}, limits=limits) as web:
        session = await web.session("thin")
        refused = await session.call("echo", text="x" * 100_000)

        assert refused.status_code == 413
        assert "65536 bytes" in refused.json()["error"]["message"]
        assert text_of((await session.call("echo", text="a")).json()) == "a"


async def test_a_batch_is_told_what_to_send_instead(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin", "legacy")}) as web:
        session = await web.session("thin", "2025-03-26")
        batch = json.dumps([tool_call("echo", text="a"), tool_call("echo", text="b", id=2)])

        for one in (session, None):
            told, answer = await malformed(web, one, batch.encode())
            assert told == 400
            assert answer["id"] is None
            assert answer["error"]["code"] == -32600
            assert "batch" in answer["error"]["message"]
            assert "one message" in answer["error"]["message"]


async def test_a_session_is_no_modern_request(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}) as web:
        session = await web.session("thin")
        # 2025-11-25, "Protocol Version Header": "it MUST respond with 400 Bad Request".
        for revision in ("2026-07-28", "1999-01-01", "?"):
            session.headers["mcp-protocol-version"] = revision
            refused = await session.call("echo", text="a")
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] in (-32602, -32020)


# Servers that are away.


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_cannot_start_is_told_and_shown(tmp_path: Path, era: str) -> None:
    async with gateway(tmp_path, {"thin": ["/nowhere/at/all"]}) as web:
        ask: Callable[[], Any] = lambda: (  # noqa: E731
            web.initialize("thin") if era == "legacy" else web.call("thin", "echo", text="a")
        )
        refused = await ask()

        assert refused.status_code == 502
        assert refused.json()["error"]["code"] == -31004
        assert "/nowhere/at/all" in refused.json()["error"]["message"]
        [shown] = (await status(tmp_path))["servers"]
        assert shown["state"] == "failing"
        assert "/nowhere/at/all" in shown["error"]


async def test_a_daemon_that_is_killed_behind_a_gateway_can_come_back(tmp_path: Path) -> None:
    async with (
        bus(tmp_path) as own,
        gateway(tmp_path / "web", {}, nats_url=own.natsd.url) as web,
    ):
        async with serving(own) as first:
            session = await web.session("recorder")
            assert (await web.call("recorder", "echo", text="a")).status_code == 200
            assert (await session.call("echo", text="a")).status_code == 200
            first.kill()
            await first.ended()
            away = await web.call("recorder", "echo", text="b")
            assert (away.status_code, away.json()["error"]["code"]) == (503, -31001)
            assert int(away.headers["retry-after"]) > 0
            assert (await web.initialize("recorder")).status_code == 503
        async with serving(own):
            back = await web.call("recorder", "record", text="c")
            assert text_of(back.json()) == "c"
            # The first call finds out that its session is gone, the second one goes on in it.
            told = [final(await session.call("record", text="d", id=n)) for n in (1, 2)]
            assert told[0].get("error", {"code": -31005})["code"] == -31005
            assert text_of(told[1]) == "d"


def final(response: Any) -> Any:
    """Return the response to a request, whichever way it came."""
    if response.headers["content-type"] == "application/json":
        return response.json()
    return events_of(response.text)[-1]


async def test_a_gateway_that_is_killed_is_missed_by_nobody_for_long(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own) as serves:
        port = free_port()
        endpoints = [{"http": f"127.0.0.1:{port}"}]
        settings: dict[str, Any] = {"nats_url": own.natsd.url, "endpoints": endpoints}
        async with (
            daemon(tmp_path / "web", {}, **settings) as running,
            Gateway(running, port) as web,
        ):
            session = await web.session("recorder")
            lost = asyncio.create_task(web.call("recorder", "sleep", seconds=600))
            assert (await web.call("recorder", "echo", text="a")).status_code == 200
            running.kill()
            await running.ended()
            await asyncio.wait([lost])
            assert isinstance(lost.exception(), httpx2.TransportError)

            async with daemon(tmp_path / "web", {}, **settings):
                # The same client goes on, on another connection.
                assert (await web.call("recorder", "echo", text="b")).status_code == 200
                # 2025-11-25, "Session Management": 404, then the client starts a new session.
                assert (await session.call("echo", text="b")).status_code == 404
                again = await web.session("recorder", LEGACY)
                assert text_of((await again.call("echo", text="b")).json()) == "b"
        serves.kill()  # it has the lost call still, until its caller was silent for long
