"""What breaks around a gateway, and what its clients are told."""

import asyncio
from pathlib import Path

import pytest

from tests.gateways import Gateway, gateway, modern_message, raw, raw_post
from tests.natsd import NatsServer
from tests.running import server, text_of

BOUND = 30.0


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
