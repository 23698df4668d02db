"""Discovery as it is answered, over a real nats-server."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from mcpnatsd.bus.service import ServiceResponder
from mcpnatsd.protocol import discovery
from mcpnatsd.protocol.discovery import Description
from mcpnatsd.protocol.statistics import Statistics
from tests.connections import opened, plain
from tests.natsd import NatsServer


@dataclass
class Served:
    """A server to be found: as a bridge describes one."""

    server: str
    instance: str = "K3J9"
    prefix: str = "mcp"
    tools: tuple[str, ...] = ("echo",)
    broken: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    def describe(self) -> Description:
        if self.broken:
            raise ValueError("no description today")
        return Description(
            server=self.server,
            instance=self.instance,
            description="of a test",
            version="1.0.0",
            metadata={discovery.TOOLS: str(len(self.tools)), **self.metadata},
            tools=self.tools,
            started="2026-11-21T04:54:21Z",
            prefix_listening=self.prefix,
            statistics=Statistics(),
        )


@asynccontextmanager
async def serving(url: str, *served: Served) -> AsyncIterator[None]:
    async with opened(url) as connection:
        responder = ServiceResponder(connection)
        for one in served:
            responder.add(one)
        await connection.flush()
        yield


async def asked(client: Client, subject: str) -> dict[str, Any]:
    msg = await client.request(subject, b"{}", timeout=5)
    answer: dict[str, Any] = json.loads(msg.data)
    return answer


async def test_a_service_answers_by_its_name_and_by_its_id(natsd: NatsServer) -> None:
    async with serving(natsd.url, Served("time")), plain(natsd.url) as client:
        for kind in ("PING", "INFO", "STATS"):
            for end in ("", ".mcp-time", ".mcp-time.K3J9"):
                answer = await asked(client, f"$SRV.{kind}{end}")
                assert answer["type"] == f"io.nats.micro.v1.{kind.lower()}_response"
                assert (answer["name"], answer["id"]) == ("mcp-time", "K3J9")


@pytest.mark.parametrize("subject", ["$SRV.INFO.mcp-other", "$SRV.INFO.mcp-time.OTHER"])
async def test_what_is_not_there_has_no_responders(natsd: NatsServer, subject: str) -> None:
    async with serving(natsd.url, Served("time")), plain(natsd.url) as client:
        with pytest.raises(NoRespondersError):
            await client.request(subject, timeout=5)


async def test_services_come_and_go(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection, plain(natsd.url) as client:
        responder = ServiceResponder(connection)
        responder.add(Served("time"))
        responder.add(Served("git"))
        responder.add(replace(Served("git"), instance="NEW"))
        await connection.flush()
        assert (await asked(client, "$SRV.PING.mcp-git"))["id"] == "NEW"
        responder.remove("git")
        responder.remove("git")
        await connection.flush()
        assert (await asked(client, "$SRV.PING"))["name"] == "mcp-time"
        with pytest.raises(NoRespondersError):
            await client.request("$SRV.PING.mcp-git", timeout=5)
        responder.stop()
        await connection.flush()
        with pytest.raises(NoRespondersError):
            await client.request("$SRV.PING", timeout=5)


async def test_every_service_of_the_process_answers(natsd: NatsServer) -> None:
    async with serving(natsd.url, Served("a"), Served("b")), plain(natsd.url) as client:
        sub = await client.subscribe("back")
        await client.publish("$SRV.PING", b"", reply="back")
        names = {json.loads((await sub.next_msg(5)).data)["name"] for _ in range(2)}

    assert names == {"mcp-a", "mcp-b"}


async def test_a_request_without_a_reply_subject_is_ignored(natsd: NatsServer) -> None:
    async with serving(natsd.url, Served("time")), plain(natsd.url) as client:
        await client.publish("$SRV.INFO", b"")
        await client.publish("$SRV.NONSENSE.mcp-time", b"", reply="back")

        assert (await asked(client, "$SRV.PING"))["name"] == "mcp-time"


async def test_a_server_that_cannot_be_described_harms_no_other(
    natsd: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Served("a")
    async with serving(natsd.url, broken, Served("b")), plain(natsd.url) as client:
        broken.broken = True
        assert (await asked(client, "$SRV.INFO"))["name"] == "mcp-b"

    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.message == "a server cannot be described"


async def test_an_answer_fits_whatever_nats_takes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("small")
    many = Served("time", tools=tuple(f"tool_{number}" for number in range(500)))
    with NatsServer(folder, "max_payload: 4096") as server:
        async with serving(server.url, many), plain(server.url) as client:
            info = await asked(client, "$SRV.INFO")

    assert int(info["metadata"]["mcp.endpoints_omitted"]) == 507 - len(info["endpoints"])
