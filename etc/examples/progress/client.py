"""A client that shows how far its call is, and gives up another: `python …/progress/client.py`."""

import asyncio
import os

from mcp import Client

from mcpnatsd.transport import NatsClientParameters, nats_client

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")


async def show(progress: float, total: float | None, message: str | None) -> None:
    """Print one report of the server."""
    print(f"{progress:g} of {total:g}: {message}")


async def main() -> None:
    """Wait for one call, then cancel one."""
    params = NatsClientParameters(service_name="kitchen", url=NATS_URL)
    async with Client(nats_client(params)) as client:
        result = await client.call_tool("bake", {"cakes": 3}, progress_callback=show)
        print("baked:", result.structured_content["result"])
        try:
            async with asyncio.timeout(0.5):
                await client.call_tool("bake", {"cakes": 1000})
        except TimeoutError:
            print("gave up; the server was told to stop baking")


if __name__ == "__main__":
    asyncio.run(main())
