"""A server of two tools on NATS: `python etc/examples/simple/server.py`."""

import asyncio
import os
import signal
from contextlib import suppress

from mcp.server.mcpserver import MCPServer

from mcpnatsd import log
from mcpnatsd.transport import NatsServerParameters, serve

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
server = MCPServer("Calculator", instructions="Adds and multiplies.")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def main() -> None:
    """Serve until SIGTERM; calls that are open then are finished first."""
    params = NatsServerParameters(
        service_name="calculator", url=NATS_URL, description="Adds and multiplies", version="1.0.0"
    )
    serving = asyncio.ensure_future(serve(server, params))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    print(f"try: mcpnatsd call --nats {NATS_URL} calculator add a=2 b=3", flush=True)
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    log.set_up()
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
