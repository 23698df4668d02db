"""An endpoint that cannot be opened at the start is shown as such wherever one looks."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.probing import LISTEN, address_of, becomes
from tests.running import BOUND, daemon, server, status, verb


@pytest.fixture
async def taken() -> AsyncIterator[str]:
    """Yield an address that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield f"127.0.0.1:{one.getsockname()[1]}"


async def test_status_and_readiness_say_which_endpoint_is_not_open_and_why(
    tmp_path: Path, taken: str
) -> None:
    endpoints = [{"http": taken}]
    async with daemon(tmp_path, {}, endpoints=endpoints, metrics=LISTEN) as running:
        place, why = f"http://{taken}/mcp/", f"endpoint {taken} cannot be listened on"
        line = await becomes(await address_of(running), "/readyz", 503, "no endpoint is open")
        assert f"{place}: {why}" in line

        [endpoint] = (await status(tmp_path))["endpoints"]
        assert endpoint["http"] == place
        assert why in endpoint["error"]
        page = (await verb(tmp_path, "status")).out
        assert "not open" in page
        assert f"{place}: {why}" in page


async def test_the_greeting_does_not_name_a_closed_endpoint_as_a_place_to_go(
    tmp_path: Path, taken: str
) -> None:
    async with daemon(
        tmp_path, {}, endpoints=[{"http": taken}], stdout=asyncio.subprocess.PIPE
    ) as running:
        assert running.process.stdout is not None
        async with asyncio.timeout(BOUND):
            said = await running.process.stdout.readuntil(b"Ctrl-C")

    assert f"  http://{taken}/mcp/ is not open: endpoint {taken} cannot be" in said.decode()
    assert f" at http://{taken}" not in said.decode()


async def test_an_endpoint_that_opens_later_is_in_trouble_no_more(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    endpoints = [{"http": "127.0.0.1:0", "tokens": str(tokens)}]
    async with daemon(tmp_path, {}, endpoints=endpoints, metrics=LISTEN) as running:
        address = await address_of(running)
        await becomes(address, "/readyz", 503, str(tokens))

        tokens.write_text(f"somebody {'x' * 40}\n", encoding="utf-8")
        tokens.chmod(0o600)
        await becomes(address, "/readyz", 200)
        [endpoint] = (await status(tmp_path))["endpoints"]
        assert endpoint["error"] is None


async def test_a_closed_endpoint_beside_a_server_is_no_reason_not_to_be_ready(
    tmp_path: Path, taken: str
) -> None:
    servers = {"thin": server("thin")}
    async with daemon(tmp_path, servers, endpoints=[{"http": taken}], metrics=LISTEN) as running:
        await becomes(await address_of(running), "/readyz", 200)
