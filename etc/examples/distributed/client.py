"""One session over every server on NATS: `python etc/examples/distributed/client.py`."""

import asyncio
import os

from mcp import Client

from mcpnatsd.transport import NatsClientParameters, nats_client

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
CALLS = 20


async def main() -> None:
    """Show the tools of all servers, and which processes answer many calls."""
    async with Client(nats_client(NatsClientParameters(service_name="*", url=NATS_URL))) as client:
        tools = await client.list_tools()
        print("tools:", ", ".join(tool.name for tool in tools.tools))
        found = await client.call_tool("dictionary__translate", {"word": "tree"})
        print("a tree is", found.structured_content["result"])
        calls = [client.call_tool("adder__add", {"a": 1, "b": n}) for n in range(CALLS)]
        texts = [one.structured_content["result"] for one in await asyncio.gather(*calls)]
        processes = {text.rpartition(" ")[2] for text in texts}
        print(f"{CALLS} sums by {len(processes)} processes")


if __name__ == "__main__":
    asyncio.run(main())
