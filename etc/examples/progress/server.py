"""A server that says how far it is: `python etc/examples/progress/server.py`."""

import asyncio
import os
import signal
from contextlib import suppress

from mcp.server.mcpserver import Context, MCPServer

from mcpnatsd import log
from mcpnatsd.transport import NatsServerParameters, serve

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
server = MCPServer("Kitchen")


@server.tool()
async def bake(cakes: int, ctx: Context) -> str:
    """Bake some cakes, one after the other."""
    for cake in range(1, cakes + 1):
        await asyncio.sleep(0.1)
        await ctx.report_progress(cake, cakes, f"cake {cake} is out of the oven")
    return f"{cakes} cakes"


async def main() -> None:
    """Serve until SIGTERM; calls that are open then are finished first."""
    params = NatsServerParameters(service_name="kitchen", url=NATS_URL)
    serving = asyncio.ensure_future(serve(server, params))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    print(f"try: mcpnatsd call --nats {NATS_URL} kitchen bake cakes=9", flush=True)
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    log.set_up()
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
