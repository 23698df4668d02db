"""A small MCP server on stdio, by whichever Python SDK this interpreter has (1.x or 2.x)."""

from typing import Annotated, Any

import anyio
from mcp.server.lowlevel import NotificationOptions
from mcp.types import EmptyResult, SamplingMessage, SubscribeRequestParams, TextContent
from pydantic import BaseModel

try:
    from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

    Resolve = None

MODERN = "2026-07-28"
server = MCPServer("peer-py")
low: Any = server._lowlevel_server if Resolve else server._mcp_server
cancels: dict[str, int] = {}
subscribed: set[str] = set()


class Person(BaseModel):
    """What `ask_user` wants to know."""

    name: str


@server.tool(structured_output=False)
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool(structured_output=False)
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool(structured_output=False)
async def slow(seconds: float, ctx: Context, key: str = "") -> str:
    """Report that it runs, and answer later, unless cancelled."""
    try:
        await ctx.report_progress(0, 1, "running")
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancels[key] = cancels.get(key, 0) + 1
        raise
    return "slept"


@server.tool(structured_output=False)
def cancelled(key: str = "") -> str:
    """Count the slow calls of that key that were cancelled in this process."""
    return str(cancels.get(key, 0))


@server.tool(structured_output=False)
async def progress(steps: int, ctx: Context) -> str:
    """Report each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return "done"


@server.tool(structured_output=False)
def fail() -> str:
    """Fail on purpose."""
    raise ValueError("failed on purpose")


@server.tool(structured_output=False)
def big(bytes: int) -> str:
    """Return that many letters."""
    return "x" * bytes


def message(text: str) -> list[SamplingMessage]:
    return [SamplingMessage(role="user", content=TextContent(type="text", text=text))]


if Resolve:
    # 2.x asks in whichever way the caller's era has.
    def person(question: str) -> Elicit[Person]:
        return Elicit(question, Person)

    def thought(question: str) -> Sample:
        return Sample(message(question), max_tokens=10)

    @server.tool(structured_output=False)
    def ask_user(question: str, who: Annotated[Person, Resolve(person)]) -> str:
        """Ask the client's user, and say what was answered."""
        return f"{question} {who.name}"

    @server.tool(structured_output=False)
    def ask_model(question: str, answer: Annotated[Any, Resolve(thought)]) -> str:
        """Ask the client's model, and say what was answered."""
        return f"{question} {answer.content.text}"

    async def subscribe(_ctx: Any, params: SubscribeRequestParams) -> EmptyResult:
        subscribed.add(str(params.uri))
        return EmptyResult()

    low.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
else:

    @server.tool(structured_output=False)
    async def ask_user(question: str, ctx: Context) -> str:
        """Ask the client's user, and say what was answered."""
        found = await ctx.elicit(question, Person)
        return f"{question} {found.data.name}"

    @server.tool(structured_output=False)
    async def ask_model(question: str, ctx: Context) -> str:
        """Ask the client's model, and say what was answered."""
        found = await ctx.session.create_message(message(question), max_tokens=10)
        return f"{question} {found.content.text}"

    @low.subscribe_resource()
    async def subscribe(uri: Any) -> None:
        subscribed.add(str(uri))


def is_modern(ctx: Any) -> bool:
    return getattr(ctx, "protocol_version", "") == MODERN


@server.tool(structured_output=False)
async def touch(uri: str, ctx: Context) -> str:
    """Say that a resource has changed, to whoever subscribed to it."""
    if is_modern(ctx):
        await ctx.notify_resource_updated(uri)
    elif uri in subscribed:
        await ctx.session.send_resource_updated(uri)
    return "touched"


@server.tool(structured_output=False)
async def grow(name: str, ctx: Context) -> str:
    """Offer one more tool."""
    server.add_tool(lambda: "grown", name=name, description=name)
    if is_modern(ctx):
        await ctx.notify_tools_changed()
    else:
        await ctx.session.send_tool_list_changed()
    return "grown"


@server.resource("test://hello", mime_type="text/plain")
def hello() -> str:
    """Greet nobody in particular."""
    return "hello"


@server.prompt()
def greet(name: str) -> str:
    """Ask for a greeting."""
    return f"Greet {name}."


def declare_changes() -> None:
    """Have `initialize` say that lists change and resources can be subscribed to."""
    options = low.create_initialization_options

    def declared() -> Any:
        made = options(NotificationOptions(tools_changed=True))
        made.capabilities.resources.subscribe = True  # 1.x says False of every server
        return made

    low.create_initialization_options = declared


declare_changes()

if __name__ == "__main__":
    server.run("stdio")
