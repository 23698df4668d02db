"""One of several servers on one NATS: `python etc/examples/distributed/server.py NAME`.

NAME is `adder` or `dictionary`. Started twice with one name, the two share its calls.
"""

import argparse
import asyncio
import os
import signal
from contextlib import suppress

from mcp.server.mcpserver import MCPServer

from mcpnatsd import log
from mcpnatsd.transport import NatsServerParameters, serve

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
WORDS = {"cat": "Katze", "dog": "Hund", "tree": "Baum"}


def adder() -> MCPServer:
    """Return a server that adds."""
    server = MCPServer("Adder")

    @server.tool()
    async def add(a: int, b: int) -> str:
        """Add two numbers, and say in which process."""
        return f"{a + b}, by process {os.getpid()}"

    return server


def dictionary() -> MCPServer:
    """Return a server that knows three words."""
    server = MCPServer("Dictionary")

    @server.tool()
    async def translate(word: str) -> str:
        """Translate an English word into German."""
        return WORDS.get(word, "?")

    return server


SERVERS = {"adder": adder, "dictionary": dictionary}


async def main(name: str) -> None:
    """Serve until SIGTERM; calls that are open then are finished first."""
    params = NatsServerParameters(service_name=name, url=NATS_URL, metadata={"example": "yes"})
    serving = asyncio.ensure_future(serve(SERVERS[name](), params))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    print(f"try: mcpnatsd list --nats {NATS_URL}", flush=True)
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    log.set_up()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SERVERS)
    with suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args().name))
