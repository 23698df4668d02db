"""The same judge, where the everything server speaks HTTP itself: a gateway, NATS, and a URL."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateways import free_port
from tests.http_servers import process
from tests.judge_http.install import FOLDER, install
from tests.judge_http.test_conformance import (
    test_all_scored_scenarios_pass,  # noqa: F401 - it runs here too, on the `url` of this file
)
from tests.running import daemon

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from mcp_everything_server.server import main
main(["--port", sys.argv[2]])
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> AsyncIterator[str]:
    """Where the everything server is: behind a gateway, a broker, and its own URL."""
    await asyncio.to_thread(install)
    folder, port, own = tmp_path_factory.mktemp("judge"), free_port(), free_port()
    [source] = FOLDER.glob("mcp-*/examples/servers/everything-server")
    servers = {"everything": {"url": f"http://127.0.0.1:{own}/mcp"}}
    endpoints = [{"http": f"127.0.0.1:{port}"}]
    async with (
        process(sys.executable, "-c", PROGRAM, str(source), str(own), port=own),
        daemon(folder / "a", servers, nats_url=nats_url, name="a"),
        daemon(folder / "b", {}, nats_url=nats_url, name="b", endpoints=endpoints),
    ):
        yield f"http://localhost:{port}/mcp/everything"
