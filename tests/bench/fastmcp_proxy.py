"""FastMCP's proxy of a stdio server, as its documentation has it; answers are plain JSON.

python fastmcp_proxy.py PORT COMMAND...
"""

import asyncio
import sys

from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy


async def main(port: str, command: str, *arguments: str) -> None:
    proxy = create_proxy(StdioTransport(command, list(arguments)), name="bench")
    await proxy.run_http_async(
        show_banner=False, host="127.0.0.1", port=int(port), log_level="error", json_response=True
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
