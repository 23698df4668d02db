"""A client by whichever Python SDK this interpreter has (1.x or 2.x): a script, then one line."""

import argparse
import functools
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import mcp
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CreateMessageResult, ElicitResult, TextContent

STEPS = 5
PATIENCE = 10.0
WAYS = ("stdio", "http", "sse", "ws")
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}
McpError: Any = getattr(mcp, "MCPError", None) or mcp.McpError


class Seen:
    """What came in that no answer held."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.updated: list[str] = []
        self.changed = 0
        self._more = anyio.Event()

    def note(self, message: Any) -> None:
        """Take a notification of either SDK."""
        message = getattr(message, "root", message)
        method = getattr(message, "method", "")
        if method == "notifications/resources/updated":
            self.took_update(str(message.params.uri))
        elif method == "notifications/tools/list_changed":
            self.took_change()

    def took_update(self, uri: str) -> None:
        self.updated.append(uri)
        self._more.set()

    def took_change(self) -> None:
        self.changed += 1
        self._more.set()

    async def wait(self, happened: Callable[[], bool]) -> bool:
        """Wait until it has happened; return whether it has."""
        with anyio.move_on_after(PATIENCE):
            while not happened():
                self._more = anyio.Event()
                await self._more.wait()
        return happened()

    async def on_message(self, message: Any) -> None:
        self.note(message)

    async def on_elicit(self, _context: Any, params: Any) -> ElicitResult:
        self.asked.append(params.message)
        return ElicitResult(action="accept", content={"name": "Änn"})

    async def on_sample(self, _context: Any, params: Any) -> CreateMessageResult:
        self.asked.append(params.messages[0].content.text)
        answer = TextContent(type="text", text="forty-two")
        return CreateMessageResult(role="assistant", content=answer, model="peer")

    def callbacks(self) -> dict[str, Any]:
        return {
            "message_handler": self.on_message,
            "elicitation_callback": self.on_elicit,
            "sampling_callback": self.on_sample,
        }


class Peer1:
    """SDK 1.x: knows the legacy era only, so the mode says nothing to it."""

    def __init__(self, session: ClientSession, hello: Any, seen: Seen) -> None:
        self.client = session
        self.seen = seen
        self.protocol = str(hello.protocolVersion)
        self.server = hello.serverInfo.name

    @classmethod
    @asynccontextmanager
    async def open(cls, transport: Any, _mode: str) -> AsyncIterator["Peer1"]:
        seen = Seen()
        if isinstance(transport, StdioServerParameters):
            transport = stdio_client(transport)
        async with (
            transport as streams,
            ClientSession(*streams[:2], **seen.callbacks()) as session,
        ):
            yield cls(session, await session.initialize(), seen)

    async def read(self, uri: str) -> str:
        from pydantic import AnyUrl  # noqa: PLC0415 - only this SDK wants one

        return (await self.client.read_resource(AnyUrl(uri))).contents[0].text

    @asynccontextmanager
    async def watch(self, uri: str) -> AsyncIterator[None]:
        from pydantic import AnyUrl  # noqa: PLC0415

        await self.client.subscribe_resource(AnyUrl(uri))
        yield

    async def cancel_slow(self, key: str) -> bool:
        """Say it by hand: this SDK sends no cancel of its own."""
        ours = self.client._request_id
        params = mcp.types.CancelledNotificationParams(requestId=ours)
        cancel = mcp.types.CancelledNotification(method="notifications/cancelled", params=params)
        async with anyio.create_task_group() as group:
            running = anyio.Event()
            group.start_soon(self._call_slow, key, running)
            with anyio.move_on_after(PATIENCE) as scope:
                await running.wait()
            await self.client.send_notification(mcp.types.ClientNotification(cancel))
            group.cancel_scope.cancel()
        return not scope.cancelled_caught

    async def _call_slow(self, key: str, running: anyio.Event) -> None:
        async def on_progress(*_: Any) -> None:
            running.set()

        arguments = {"seconds": 30, "key": key}
        with suppress(McpError):  # 1.x servers answer a cancelled call with an error
            await self.client.call_tool("slow", arguments, progress_callback=on_progress)


class Peer2:
    """SDK 2.x: knows both eras."""

    def __init__(self, client: Any, seen: Seen) -> None:
        self.client = client
        self.seen = seen
        self.protocol = client.protocol_version
        self.server = client.server_info.name if client.server_info else None

    @classmethod
    @asynccontextmanager
    async def open(cls, transport: Any, mode: str) -> AsyncIterator["Peer2"]:
        seen = Seen()
        async with mcp.Client(transport, mode=MODES[mode], **seen.callbacks()) as client:
            yield cls(client, seen)

    async def read(self, uri: str) -> str:
        return (await self.client.read_resource(uri)).contents[0].text

    def watch(self, uri: str) -> AbstractAsyncContextManager[None]:
        return self._listen(uri) if self.protocol == MODES["modern"] else self._subscribe(uri)

    @asynccontextmanager
    async def _subscribe(self, uri: str) -> AsyncIterator[None]:
        await self.client.subscribe_resource(uri)
        yield

    @asynccontextmanager
    async def _listen(self, uri: str) -> AsyncIterator[None]:
        listen = self.client.listen(tools_list_changed=True, resource_subscriptions=[uri])
        async with listen as events, anyio.create_task_group() as group:
            group.start_soon(self._take, events)
            yield
            group.cancel_scope.cancel()

    async def _take(self, events: Any) -> None:
        async for event in events:
            if hasattr(event, "uri"):
                self.seen.took_update(str(event.uri))
            else:
                self.seen.took_change()

    async def cancel_slow(self, key: str) -> bool:
        with anyio.move_on_after(PATIENCE) as bound, anyio.CancelScope() as scope:

            async def on_progress(*_: Any) -> None:
                scope.cancel()

            arguments = {"seconds": 30, "key": key}
            await self.client.call_tool("slow", arguments, progress_callback=on_progress)
        return scope.cancelled_caught and not bound.cancelled_caught


async def text(peer: Any, name: str, arguments: dict[str, Any], **more: Any) -> str:
    return (await peer.client.call_tool(name, arguments, **more)).content[0].text


def is_error(result: Any) -> bool:
    return bool(result.is_error if hasattr(result, "is_error") else result.isError)


async def failure(peer: Any) -> str | None:
    result = await peer.client.call_tool("fail", {})
    return result.content[0].text if is_error(result) else None


async def refusal(peer: Any) -> int | None:
    """Return the code of the error that reading an unknown resource is answered with."""
    try:
        await peer.read("test://missing")
    except McpError as error:
        return int(error.error.code)
    return None


async def noticed(peer: Any, key: str) -> bool:
    """Wait until the server has seen a cancel."""
    for _ in range(100):
        if int(await text(peer, "cancelled", {"key": key})) > 0:
            return True
        await anyio.sleep(0.05)
    return False


async def names(peer: Any) -> list[str]:
    return sorted(tool.name for tool in (await peer.client.list_tools()).tools)


async def changes(peer: Any, key: str) -> dict[str, Any]:
    """Subscribe, have something changed, and return what came of it."""
    uri, tool = f"test://note/{key}", f"grown_{key}"
    async with peer.watch(uri):
        await text(peer, "touch", {"uri": uri})
        updated = await peer.seen.wait(lambda: uri in peer.seen.updated)
        await text(peer, "grow", {"name": tool})
        changed = await peer.seen.wait(lambda: peer.seen.changed > 0)
        return {"updated": updated, "changed": changed, "grown": tool in await names(peer)}


async def answers(peer: Any) -> dict[str, Any]:
    """Be asked by two tools, and return what they made of it."""
    return {
        "elicited": await text(peer, "ask_user", {"question": "Who?"}),
        "sampled": await text(peer, "ask_model", {"question": "Why?"}),
        "asked": peer.seen.asked,
    }


async def script(peer: Any, big: int) -> dict[str, Any]:
    reports: list[float] = []
    key = uuid.uuid4().hex[:12]

    async def on_progress(progress: float, _total: float | None, _message: str | None) -> None:
        reports.append(progress)

    return {
        "echo": await text(peer, "echo", {"text": "grüße 🌍"}),
        "add": await text(peer, "add", {"a": 2, "b": 3}),
        "progressed": await text(peer, "progress", {"steps": STEPS}, progress_callback=on_progress),
        "progress": list(reports),
        "failed": await failure(peer),
        "refused": await refusal(peer),
        "resource": await peer.read("test://hello"),
        "prompt": (await peer.client.get_prompt("greet", {"name": "Ann"})).messages[0].content.text,
        "big": len(await text(peer, "big", {"bytes": big})),
        "cancelled": await peer.cancel_slow(key),
        "noticed": await noticed(peer, key),
        **await answers(peer),
        **await changes(peer, key),
    }


async def single_call(peer: Any, name: str, arguments: str) -> dict[str, Any]:
    result = await peer.client.call_tool(name, json.loads(arguments))
    texts = [part.text for part in result.content if part.type == "text"]
    return {"text": "\n".join(texts), "is_error": is_error(result)}


def transport_of(given: argparse.Namespace) -> Any:
    """Return what the SDK shall talk through."""
    if given.nats:
        from mcpnatsd.transport import (  # noqa: PLC0415 - only who asks for it
            NatsClientParameters,
            nats_client,
        )

        return nats_client(NatsClientParameters(service_name=given.server[0], url=given.nats))
    if given.over != "stdio":
        return web_transport(given.over, given.server[0])
    command, *args = given.server
    return StdioServerParameters(command=command, args=args, env=dict(os.environ))


def web_transport(kind: str, url: str) -> Any:
    """Return the SDK's own client of a transport that has a URL."""
    if kind == "sse":
        from mcp.client.sse import sse_client  # noqa: PLC0415 - only what is used is loaded

        return sse_client(url)
    if kind == "ws":
        from mcp.client.websocket import websocket_client  # noqa: PLC0415 - 2.x has none

        return websocket_client(url)
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

    return streamable_http_client(url)


async def play(given: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    peer_class = Peer2 if hasattr(mcp, "Client") else Peer1
    with closing_late():
        async with peer_class.open(transport_of(given), given.mode) as peer:
            tools = [name for name in await names(peer) if not name.startswith("grown_")]
            call = functools.partial(single_call, name=given.call, arguments=given.arguments)
            played = await (call(peer) if given.call else script(peer, given.big))
            found |= {"protocol": peer.protocol, "server": peer.server, "tools": tools, **played}
    return found


@contextmanager
def closing_late() -> Iterator[None]:
    """SDK 1.x fails when a notification comes while it closes: nothing is missing by then."""
    try:
        yield
    except* anyio.BrokenResourceError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="options, then -- and the server's command")
    parser.add_argument("--mode", choices=MODES, default="auto")
    parser.add_argument("--call")
    parser.add_argument("--arguments", default="{}")
    parser.add_argument("--big", type=int, default=2_000_000, help="bytes of the large result")
    parser.add_argument("--nats", help="where NATS is: then a server's name stands after --")
    parser.add_argument(
        "--over", choices=WAYS, default="stdio", help="other ways have a URL after --"
    )
    parser.add_argument("server", nargs="+")
    print(json.dumps(anyio.run(play, parser.parse_args())), flush=True)


if __name__ == "__main__":
    main()
