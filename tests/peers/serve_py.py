"""The small Python server on NATS, without a daemon.

Arguments: its name there, where NATS is, and `serve` or `pair`.
"""

import asyncio
import signal
import sys

from server_py import low, server

from mcpnatsd.transport import NatsServerParameters, nats_server, serve


async def pair(params: NatsServerParameters) -> None:
    """Run the server on the one connection that stands for all clients."""
    async with nats_server(params) as (read, write):
        await low.run(read, write, low.create_initialization_options())


async def main(name: str, url: str, way: str) -> None:
    params = NatsServerParameters(service_name=name, url=url)
    running = asyncio.ensure_future(serve(server, params) if way == "serve" else pair(params))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
