"""A client by whichever Python SDK this interpreter has (1.x or 2.x): a script, then one line."""

import argparse
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import mcp
from mcp import ClientSession, StdioServerParameters, stdio_client

BIG_BYTES = 300_000
STEPS = 5
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


class Peer1:
    """SDK 1.x: knows the legacy era only, so the mode says nothing to it."""

    def __init__(self, session: ClientSession, hello: Any) -> None:
        self.client = session
        self.protocol = str(hello.protocolVersion)
        self.server = hello.serverInfo.name

    @classmethod
    @asynccontextmanager
    async def open(cls, server: StdioServerParameters, _mode: str) -> AsyncIterator["Peer1"]:
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            yield cls(session, await session.initialize())

    async def read(self, uri: str) -> str:
        from pydantic import AnyUrl  # noqa: PLC0415 - only this SDK wants one

        return (await self.client.read_resource(AnyUrl(uri))).contents[0].text

    async def cancel_slow(self) -> bool:
        """Say it by hand: this SDK sends no cancel of its own."""
        ours = self.client._request_id
        params = mcp.types.CancelledNotificationParams(requestId=ours)
        cancel = mcp.types.CancelledNotification(method="notifications/cancelled", params=params)
        async with anyio.create_task_group() as group:
            group.start_soon(self._call_slow)
            await anyio.sleep(0.2)
            await self.client.send_notification(mcp.types.ClientNotification(cancel))
            group.cancel_scope.cancel()
        return True

    async def _call_slow(self) -> None:
        with suppress(mcp.McpError):  # 1.x servers answer a cancelled call with an error
            await self.client.call_tool("slow", {"seconds": 30})


class Peer2:
    """SDK 2.x: knows both eras."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.protocol = client.protocol_version
        self.server = client.server_info.name if client.server_info else None

    @classmethod
    @asynccontextmanager
    async def open(cls, server: StdioServerParameters, mode: str) -> AsyncIterator["Peer2"]:
        async with mcp.Client(server, mode=MODES[mode]) as client:
            yield cls(client)

    async def read(self, uri: str) -> str:
        return (await self.client.read_resource(uri)).contents[0].text

    async def cancel_slow(self) -> bool:
        with anyio.move_on_after(0.2) as scope:
            await self.client.call_tool("slow", {"seconds": 30})
        return scope.cancelled_caught


async def text(peer: Any, name: str, arguments: dict[str, Any], **more: Any) -> str:
    return (await peer.client.call_tool(name, arguments, **more)).content[0].text


def is_error(result: Any) -> bool:
    return bool(result.is_error if hasattr(result, "is_error") else result.isError)


async def failure(peer: Any) -> str | None:
    result = await peer.client.call_tool("fail", {})
    return result.content[0].text if is_error(result) else None


async def noticed(peer: Any) -> bool:
    """Wait until the server has seen a cancel."""
    for _ in range(50):
        if int(await text(peer, "cancelled", {})) > 0:
            return True
        await anyio.sleep(0.05)
    return False


async def script(peer: Any) -> dict[str, Any]:
    reports: list[float] = []

    async def on_progress(progress: float, _total: float | None, _message: str | None) -> None:
        reports.append(progress)

    return {
        "echo": await text(peer, "echo", {"text": "grüße 🌍"}),
        "add": await text(peer, "add", {"a": 2, "b": 3}),
        "progressed": await text(peer, "progress", {"steps": STEPS}, progress_callback=on_progress),
        "progress": len(reports),
        "failed": await failure(peer),
        "resource": await peer.read("test://hello"),
        "prompt": (await peer.client.get_prompt("greet", {"name": "Ann"})).messages[0].content.text,
        "big": len(await text(peer, "big", {"bytes": BIG_BYTES})),
        "cancelled": await peer.cancel_slow(),
        "noticed": await noticed(peer),
    }


async def single_call(peer: Any, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await peer.client.call_tool(name, arguments)
    return {"text": result.content[0].text, "is_error": is_error(result)}


async def play(given: argparse.Namespace) -> dict[str, Any]:
    command, *args = given.server
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    peer_class = Peer2 if hasattr(mcp, "Client") else Peer1
    async with peer_class.open(server, given.mode) as peer:
        tools = (await peer.client.list_tools()).tools
        found = {
            "protocol": peer.protocol,
            "server": peer.server,
            "tools": sorted(tool.name for tool in tools),
        }
        if given.call:
            return found | await single_call(peer, given.call, json.loads(given.arguments))
        return found | await script(peer)


def main() -> None:
    parser = argparse.ArgumentParser(description="options, then -- and the server's command")
    parser.add_argument("--mode", choices=MODES, default="auto")
    parser.add_argument("--call")
    parser.add_argument("--arguments", default="{}")
    parser.add_argument("server", nargs="+")
    print(json.dumps(anyio.run(play, parser.parse_args())), flush=True)


if __name__ == "__main__":
    main()
