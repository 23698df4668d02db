"""nats-py as it is shipped, without MCP: what a request and its reply over NATS cost.

    python natspy.py serve URL [uvloop]    answer until stdin ends
    python natspy.py ask URL [uvloop]      measure as each line of stdin says

A line is `{"seconds": 2, "in_flight": 1, "subject": "echo"}`; so is the answer, with what it took.
"""

import asyncio
import json
import sys
from time import perf_counter
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

REQUEST = b"x" * 200
BIG = b"x" * 500_000


async def serve(connection: Client) -> None:
    async def echo(msg: Msg) -> None:
        await msg.respond(msg.data)

    async def big(msg: Msg) -> None:
        await msg.respond(BIG)

    await connection.subscribe("bench.echo", cb=echo)
    await connection.subscribe("bench.big", cb=big)
    await connection.flush()
    print(json.dumps("serving"), flush=True)
    await next_line()


async def ask(connection: Client) -> None:
    while line := await next_line():
        print(json.dumps(await measured(connection, **json.loads(line))), flush=True)


async def measured(
    connection: Client, *, seconds: float, in_flight: int, subject: str
) -> dict[str, Any]:
    taken: list[float] = []
    began = perf_counter()

    async def one_after_another() -> None:
        while (start := perf_counter()) - began < seconds:
            await connection.request(f"bench.{subject}", REQUEST, timeout=30)
            taken.append(perf_counter() - start)

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    return {"taken": taken if in_flight == 1 else [], "rate": len(taken) / (perf_counter() - began)}


async def next_line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def main(role: str, url: str) -> None:
    connection = await nats.connect(url)
    await {"serve": serve, "ask": ask}[role](connection)
    await connection.close()


if __name__ == "__main__":
    running = main(sys.argv[1], sys.argv[2])
    if sys.argv[3:] == ["uvloop"]:
        import uvloop

        uvloop.run(running)
    else:
        asyncio.run(running)
