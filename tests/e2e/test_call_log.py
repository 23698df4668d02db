"""What the log tells of a call once it is asked to: who, what, how, and no payload."""

from pathlib import Path

from tests.connections import plain
from tests.e2e.clients import BOTH_ERAS, client
from tests.natsd import NatsServer
from tests.running import daemon, server, text_of

DEBUG = {"LOG_LEVEL": "DEBUG"}


@BOTH_ERAS
async def test_a_call_is_told_with_its_server_its_tool_and_no_payload(
    tmp_path: Path, era: str
) -> None:
    servers = {"thin": server("thin", era)}
    async with (
        daemon(tmp_path, servers, variables=DEBUG) as running,
        client(tmp_path, "thin", era) as ours,
    ):
        assert text_of(await ours.call("echo", era=era, text="s3cret")) == "s3cret"
        line = await running.said("request answered server=thin method=tools/call tool=echo")

        assert " ms=" in line
        assert not [one for one in running.log if "s3cret" in one]


async def test_a_call_is_told_with_its_subject_and_the_caller_that_nats_enforces(
    tmp_path: Path,
) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        section = {"url": nats.url, "prefix": "mcp.{user}"}
        servers = {"thin": server("thin", "modern")}
        async with (
            daemon(tmp_path, servers, variables=DEBUG, nats=section) as running,
            plain(nats.url) as bus,
        ):
            subject = "mcp.alice.req.thin.tools.call.pid"
            await bus.request(subject, b"", timeout=20)
            line = await running.said("request answered")

    assert f" tool=pid caller=alice subject={subject} " in line


async def test_a_call_that_failed_is_told_with_its_reason(tmp_path: Path) -> None:
    servers = {"thin": server("thin", "modern")}
    async with (
        daemon(tmp_path, servers, variables=DEBUG) as running,
        client(tmp_path, "thin") as ours,
    ):
        await ours.call("exit", status=3)
        line = await running.said("request failed")

    assert "server=thin method=tools/call tool=exit" in line
    assert 'error="server' in line


async def test_calls_are_not_told_unless_somebody_asks(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin", "modern")}) as running:
        async with client(tmp_path, "thin") as ours:
            await ours.call("pid")
        assert await running.stop() == 0

    assert not [one for one in running.log if "request answered" in one]
