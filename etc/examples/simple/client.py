"""A client of the simple server: `python etc/examples/simple/client.py`."""

import asyncio
import os

from mcp import Client

from mcpnatsd.transport import NatsClientParameters, nats_client

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")


async def main() -> None:
    """List the tools and call two of them."""
    params = NatsClientParameters(service_name="calculator", url=NATS_URL)
    async with Client(nats_client(params)) as client:
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        for name in ("add", "multiply"):
            result = await client.call_tool(name, {"a": 6, "b": 7})
            print(f"{name}(6, 7) =", result.structured_content["result"])


if __name__ == "__main__":
    asyncio.run(main())
