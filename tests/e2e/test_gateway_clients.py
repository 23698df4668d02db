"""The clients of both SDKs, by each HTTP transport they have."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from mcp import ClientSession
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.types import TextContent

from tests import peers
from tests.gateways import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 60.0
SERVERS = {"modern": "py2", "legacy": "py1"}

TS_SCRIPT = """
const seen = [];
await client.connect(transport);
// Seen on the wire: the SDKs lose the callback of progress that is read together with its answer.
const deliver = transport.onmessage;
transport.onmessage = (message, extra) => {
  if (message.method === 'notifications/progress') seen.push(message.params.progress);
  deliver(message, extra);
};
const onprogress = () => {};
const call = (name, args, options) => CALL;
const echoed = await call('echo', { text: 'né' });
await call('progress', { steps: 3 }, { onprogress });
const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
console.log(JSON.stringify({ echoed: echoed.content[0].text, seen, tools }));
await client.close();
process.exit(0);
"""
TS1 = """
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from
  '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
const client = new Client({ name: 'ts1', version: '1' });
const transport = new TRANSPORT(new URL(process.argv[1]));
""" + TS_SCRIPT.replace("CALL", "client.callTool({ name, arguments: args }, undefined, options)")
TS2 = """
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
const mode = MODE;
const client = new Client({ name: 'ts2', version: '1' }, { versionNegotiation: { mode } });
const transport = new StreamableHTTPClientTransport(new URL(process.argv[1]));
""" + TS_SCRIPT.replace("CALL", "client.callTool({ name, arguments: args }, options)")
PY1 = """
import asyncio, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.client.sse import sse_client

async def main():
    seen = []
    async def note(progress, total, message):
        seen.append(progress)
    async with TRANSPORT(sys.argv[1]) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            echoed = await session.call_tool("echo", {"text": "né"})
            await session.call_tool("progress", {"steps": 3}, progress_callback=note)
            tools = sorted(tool.name for tool in (await session.list_tools()).tools)
    print(json.dumps({"echoed": echoed.content[0].text, "seen": seen, "tools": tools}))

asyncio.run(main())
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("clients")
    servers = {name: peers.command_of(name) for name in SERVERS.values()}
    async with gateway(folder, servers) as found:
        yield found


def node(source: str) -> list[str]:
    return [str(peers.NODE), "--input-type=module", "-e", source]


def python1(transport: str) -> list[str]:
    return [str(peers.SDK1_PYTHON), "-c", PY1.replace("TRANSPORT", transport)]


PROGRAMS: dict[str, tuple[str, str, Callable[[], list[str]]]] = {
    "ts1 http": ("legacy", "mcp", lambda: node(ts1("StreamableHTTPClientTransport"))),
    "ts1 sse": ("legacy", "sse", lambda: node(ts1("SSEClientTransport"))),
    "ts1 ws": ("legacy", "ws", lambda: node(ts1("WebSocketClientTransport"))),
    "ts2 legacy": ("legacy", "mcp", lambda: node(TS2.replace("MODE", "'legacy'"))),
    "ts2 auto": ("modern", "mcp", lambda: node(TS2.replace("MODE", "'auto'"))),
    "ts2 modern": ("modern", "mcp", lambda: node(TS2.replace("MODE", "{ pin: '2026-07-28' }"))),
    "py1 http": ("legacy", "mcp", lambda: python1("streamablehttp_client")),
    "py1 sse": ("legacy", "sse", lambda: python1("sse_client")),
}


def ts1(transport: str) -> str:
    return TS1.replace("TRANSPORT", transport)


async def played(command: list[str], url: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, url, cwd=peers.NPM_ROOT, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    found = json.loads(out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_client_of_an_sdk_works_as_with_its_own_servers(web: Gateway, name: str) -> None:
    era, kind, command = PROGRAMS[name]
    scheme = "ws" if kind == "ws" else "http"
    url = f"{scheme}://127.0.0.1:{web.port}/{kind}/{SERVERS[era]}"

    found = await played(command(), url)

    assert found == {"echoed": "né", "seen": [1, 2, 3], "tools": peers.TOOLS}


@pytest.mark.parametrize(
    ("mode", "era"), [("auto", "modern"), ("2026-07-28", "modern"), ("legacy", "legacy"),
                      ("auto", "legacy"), ("legacy", "modern")],
)  # fmt: skip
async def test_the_newest_python_client_works_in_each_mode(
    web: Gateway, mode: str, era: str
) -> None:
    seen: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        seen.append(progress)

    async with asyncio.timeout(BOUND), Client(f"{web.url}/mcp/{SERVERS[era]}", mode=mode) as client:
        [said] = (await client.call_tool("echo", {"text": "né"})).content
        await client.call_tool("progress", {"steps": 3}, progress_callback=note)
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)

    assert isinstance(said, TextContent)
    assert (said.text, seen, tools) == ("né", [1, 2, 3], peers.TOOLS)


async def test_many_sessions_at_once_get_their_own_answers(web: Gateway) -> None:
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(f"{web.url}/mcp/py2", mode=mode))
            for mode in ("legacy", "auto") * 4
        ]
        answers = await asyncio.gather(
            *(client.call_tool("echo", {"text": str(n)}) for n, client in enumerate(clients))
        )

    assert [one.content[0].text for one in answers] == [str(n) for n in range(8)]  # type: ignore[union-attr]


async def test_the_old_transport_of_the_newest_python_client_works(web: Gateway) -> None:
    async with (
        asyncio.timeout(BOUND),
        sse_client(f"{web.url}/sse/py1") as streams,
        ClientSession(*streams) as session,
    ):
        await session.initialize()
        [said] = (await session.call_tool("echo", {"text": "né"})).content

    assert isinstance(said, TextContent)
    assert said.text == "né"
