"""`mcpnatsd call SERVER TOOL [ARGS…]`: call a tool and print what it returns."""

import asyncio
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.config.settings import ClientSettings
from mcpnatsd.errors import CallTimeout, Reported, UsageError
from mcpnatsd.log import escaped
from mcpnatsd.protocol import eras
from mcpnatsd.protocol.subjects import checked_server
from mcpnatsd.verbs import arguments
from mcpnatsd.verbs.answers import Result
from mcpnatsd.verbs.client import Client, open_client
from mcpnatsd.verbs.session import open_session
from mcpnatsd.verbs.terminal import Waiting, clean_for, complain, dumped, say, say_json, size

DEFAULT_TIMEOUT: Final = 600.0
"""Seconds; the daemon's own `call_timeout` is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    server: str
    tool: str
    words: Sequence[str]
    timeout: float = DEFAULT_TIMEOUT
    as_json: bool = False


async def call(settings: ClientSettings, wanted: Wanted) -> int:
    """Call a tool, show its progress, print its result; 1 when the tool says it failed.

    Raises:
        CallTimeout: It took too long, and was cancelled.
        UsageError: The arguments do not fit, or there is no such tool.
        McpnatsdError: As the server or the bus say.
    """
    checked_server(wanted.server)
    ready = None if arguments.is_pairs(wanted.words) else arguments.parse_object(wanted.words)
    try:
        async with asyncio.timeout(wanted.timeout), open_session(settings) as bus:
            with Waiting(f"mcpnatsd: waiting for {wanted.server} to answer") as waiting:
                result = await _called(bus, wanted, ready, waiting)
    except TimeoutError:
        text = (
            f"{wanted.server} {wanted.tool} took longer than {wanted.timeout:g} s; it was cancelled"
        )
        raise CallTimeout(text) from None
    return shown(result, as_json=wanted.as_json)


async def _called(bus: ClientBus, wanted: Wanted, ready: Result | None, waiting: Waiting) -> Result:
    def show(params: Result) -> None:
        waiting.end()
        complain(progress_line(params))

    async with open_client(bus, wanted.server) as client:
        if ready is None:
            tools = await client.listed(eras.LIST_TOOLS, "tools")
            ready = arguments.parse_pairs(wanted.words, _schema(tools, wanted.tool))
        params = {"name": wanted.tool, "arguments": ready}
        try:
            result = await client.request(eras.CALL_TOOL, params, show)
        except Reported as fault:
            if unknown := await _unknown(client, wanted.tool):
                raise UsageError(unknown) from fault
            raise
        if result.get("isError") and (unknown := await _unknown(client, wanted.tool)):
            raise UsageError(unknown)
        return result


async def _unknown(client: Client, tool: str) -> str:
    """Return what to say when a call failed because there is no such tool; else nothing."""
    try:
        tools = await client.listed(eras.LIST_TOOLS, "tools")
    except Reported:
        return ""
    return no_such_tool(tool, [str(one.get("name", "")) for one in tools])


def no_such_tool(tool: str, names: Sequence[str]) -> str:
    """Return a sentence that names the likeliest other; nothing when the tool is there."""
    if tool in names:
        return ""
    near = difflib.get_close_matches(tool, names, n=1, cutoff=0.5)
    if near:
        return f"there is no tool {tool!r}; did you mean {near[0]!r}?"
    return f"there is no tool {tool!r}; there are: {', '.join(sorted(names)) or 'none at all'}"


def shown(result: Result, *, as_json: bool) -> int:
    """Print a result, and return the exit code that belongs to it."""
    failed = bool(result.get("isError"))
    if as_json:
        say_json(result)
    elif result.get("resultType") == "input_required":
        complain(f"mcpnatsd: {input_required(result)}")
        return 1
    elif failed:
        complain(clean_for(rendered(result) or "the tool failed", terminal=sys.stderr.isatty()))
    elif text := rendered(result):
        say(clean_for(text, terminal=sys.stdout.isatty()))
    return int(failed or result.get("resultType") == "input_required")


def rendered(result: Result) -> str:
    """Return the text of a result; what is no text is named, with its size."""
    content = result.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if content else []
    lines = [_block(block) for block in blocks]
    if not any(block.get("type") == "text" for block in blocks) and "structuredContent" in result:
        lines.append(dumped(result["structuredContent"]))
    return "\n".join(lines)


def progress_line(params: Mapping[str, Any]) -> str:
    """Return what to show of a progress notification: `3/10 resolving`."""
    total, message = params.get("total"), str(params.get("message") or "")
    done = f"{params.get('progress', '')}" + ("" if total is None else f"/{total}")
    return escaped(f"{done} {message}".strip())


def input_required(result: Mapping[str, Any]) -> str:
    """Return what to say when a tool wants to ask its user something."""
    requests = result.get("inputRequests")
    asked = [one for one in requests.values() if isinstance(one, dict)] if requests else []
    methods = ", ".join(sorted({str(one.get("method")) for one in asked})) or "more input"
    return f"the tool asks back ({methods}), which `call` cannot answer; call it from an MCP host"


def _block(block: Result) -> str:
    return _BLOCKS.get(str(block.get("type")), _other)(block)


def _binary(block: Result) -> str:
    encoded = str(block.get("data") or block.get("blob") or "")
    kind = block.get("mimeType") or block.get("type")
    return f"[{block.get('type', 'data')}: {kind}, {size(len(encoded) * 3 // 4)}]"


def _resource(block: Result) -> str:
    inner = block.get("resource")
    if not isinstance(inner, dict):
        return _other(block)
    if "text" in inner:
        return str(inner["text"])
    return f"[resource {inner.get('uri', '')}: {size(len(str(inner.get('blob', ''))) * 3 // 4)}]"


def _other(block: Result) -> str:
    return f"[{block.get('type', 'something')} {block.get('uri', '')}".rstrip() + "]"


_BLOCKS: Final[Mapping[str, Callable[[Result], str]]] = {
    "text": lambda block: str(block.get("text", "")),
    "image": _binary,
    "audio": _binary,
    "resource": _resource,
}


def _schema(tools: Sequence[Result], name: str) -> Result:
    found = next((one.get("inputSchema") for one in tools if one.get("name") == name), None)
    return found if isinstance(found, dict) else {}
