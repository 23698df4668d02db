"""The same judge, at the shim: what `mcpnatsd connect` says on its stdio is served over HTTP.

Three daemons: one has the server, one has a shim as its server, and one serves that over HTTP.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateways import free_port
from tests.judge_http.install import everything_command, install
from tests.judge_http.test_conformance import (
    test_all_scored_scenarios_pass,  # noqa: F401 - it runs here too, on the `url` of this file
)
from tests.running import connect_command, daemon

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> AsyncIterator[str]:
    """Where the everything server is: behind a gateway, a broker, a shim, and a broker again."""
    await asyncio.to_thread(install)
    folder, port = tmp_path_factory.mktemp("judge"), free_port()
    everything = {"everything": {"command": everything_command()}}
    shims = {"shim": {"command": connect_command(folder / "a", "everything")}}
    endpoints = [{"http": f"127.0.0.1:{port}"}]
    async with (
        daemon(folder / "a", everything, nats_url=nats_url, name="a"),
        daemon(folder / "b", shims, nats_url=nats_url, name="b"),
        daemon(folder / "c", {}, nats_url=nats_url, name="c", endpoints=endpoints),
    ):
        yield f"http://localhost:{port}/mcp/shim"
