"""The server of the transport's measurement: one object of the Python SDK.

python sdk_server.py stdio           the SDK's own transport, ends with its stdin
python sdk_server.py http PORT       the SDK's Streamable HTTP, under uvicorn
python sdk_server.py nats URL        `mcpnatsd.transport`, on a nats-server
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine

from mcp.server.mcpserver import MCPServer

NAME = "sdk"
server = MCPServer("bench", log_level="ERROR")


# A function that is not `async` would cost a thread's hop, and say nothing of the transport.
@server.tool(structured_output=False)
async def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool(structured_output=False)
async def big(bytes: int) -> str:
    """Return a large text."""
    return "x" * bytes


async def http(port: str) -> None:
    # Answers as plain JSON: the faster of its two forms.
    await server.run_streamable_http_async(port=int(port), json_response=True)


async def nats(url: str) -> None:
    from mcpnatsd.transport import NatsServerParameters, serve  # noqa: PLC0415 - stdio pays not

    await serve(server, NatsServerParameters(service_name=NAME, url=url))


if __name__ == "__main__":
    role, *where = sys.argv[1:]
    roles: dict[str, Callable[..., Coroutine[None, None, None]]]
    roles = {"stdio": server.run_stdio_async, "http": http, "nats": nats}
    asyncio.run(roles[role](*where))
