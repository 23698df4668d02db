"""A small MCP server on stdio, by whichever Python SDK this interpreter has (1.x or 2.x)."""

import anyio

try:
    from mcp.server.mcpserver import Context, MCPServer
except ImportError:
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("peer-py")
cancels = 0


@server.tool(structured_output=False)
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool(structured_output=False)
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


@server.tool(structured_output=False)
async def slow(seconds: float) -> str:
    """Answer later, unless cancelled."""
    global cancels  # noqa: PLW0603 - one process, one count
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancels += 1
        raise
    return "slept"


@server.tool(structured_output=False)
def cancelled() -> str:
    """Count the slow calls that were cancelled in this process."""
    return str(cancels)


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


@server.resource("test://hello", mime_type="text/plain")
def hello() -> str:
    """Greet nobody in particular."""
    return "hello"


@server.prompt()
def greet(name: str) -> str:
    """Ask for a greeting."""
    return f"Greet {name}."


if __name__ == "__main__":
    server.run("stdio")
