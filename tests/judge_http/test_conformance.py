"""MCP's own judge: its conformance suite, through HTTP and NATS, against its everything server.

Two daemons: one has the server on stdio, the other serves it over HTTP.
"""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.gateways import free_port
from tests.judge_http.install import everything_command, install, suite_command
from tests.running import daemon

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 280.0
SCORED = {"2026-07-28": 37, "2025-11-25": 30}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> AsyncIterator[str]:
    """Where the everything server is, behind a gateway and a broker."""
    await asyncio.to_thread(install)
    folder, port = tmp_path_factory.mktemp("judge"), free_port()
    servers = {"everything": {"command": everything_command()}}
    endpoints = [{"http": f"127.0.0.1:{port}"}]
    async with (
        daemon(folder / "a", servers, nats_url=nats_url, name="a"),
        daemon(folder / "b", {}, nats_url=nats_url, name="b", endpoints=endpoints),
    ):
        yield f"http://localhost:{port}/mcp/everything"


@pytest.mark.parametrize("revision", SCORED)
async def test_all_scored_scenarios_pass(url: str, revision: str, tmp_path: Path) -> None:
    arguments = ("server", "--url", url, "--requirements", revision, "-o", str(tmp_path / "out"))
    report = tmp_path / "report.txt"
    with report.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *suite_command(*arguments), stdout=stream, stderr=subprocess.STDOUT
        )
        async with asyncio.timeout(BOUND):
            code = await process.wait()
    said = report.read_text(encoding="utf-8", errors="replace")

    assert passed(said) == SCORED[revision], said[-6000:]
    assert code == 0, said[-6000:]


def passed(said: str) -> int:
    """Return how many scored scenarios passed, as the summary of the suite says."""
    summary, _, unscored = said.partition("=== SUMMARY")[2].partition("Not scored for")
    left_out = set(re.findall(r"^ *[✓✗] ([\w-]+)", unscored, re.MULTILINE))
    found = re.findall(r"^✓ ([\w-]+): ", summary, re.MULTILINE)
    return len(set(found) - left_out)
