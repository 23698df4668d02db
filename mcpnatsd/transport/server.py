"""The server's side: a server object of this process on the bus, without a process of its own.

`serve` gives each connection to the object a pair of streams: all modern clients share one, each
legacy client has its own. `nats_server` hands out a single pair.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from mcpnatsd.backends.launch import Listener
from mcpnatsd.backends.process import Process
from mcpnatsd.config.model import EraChoice, Isolation, Limits, ServerConfig, Start
from mcpnatsd.errors import ProcessDied
from mcpnatsd.transport import sdk
from mcpnatsd.transport.checks import check_kind
from mcpnatsd.transport.client import require_asyncio
from mcpnatsd.transport.host import Host
from mcpnatsd.transport.hosted import Hosted
from mcpnatsd.transport.parameters import NatsServerParameters
from mcpnatsd.transport.sdk import Body
from mcpnatsd.transport.streams import Pair, ReadStream, WriteStream


async def serve(server: object, params: NatsServerParameters) -> None:
    """Serve a server object to every client on the bus, of both eras, until cancelled.

    `server` is an `MCPServer`, a `FastMCP` or a low-level `Server`; or a function that serves one
    connection: it is given the SDK's read and write streams. Each connection enters the server's
    lifespan. When it is cancelled, open requests have `drain_timeout` to finish; cancelled once
    more, it does not wait for them. NATS need not be there yet, and may come and go.

    Raises:
        TypeError: That is no server.
        UsageError: It is not clear which NATS is meant.
        RuntimeError: This is no asyncio.
    """
    check_kind(params, NatsServerParameters)
    body = sdk.body_of(server)
    require_asyncio()
    era = EraChoice.LEGACY if sdk.LINE == 1 else EraChoice.AUTO
    config = _config(params, sdk.name_of(server), era)
    host = Host(config, params, _Connections(body))
    await _in_own_task(host.run())


@asynccontextmanager
async def nats_server(
    params: NatsServerParameters,
) -> AsyncIterator[tuple[ReadStream, WriteStream]]:
    """Put one connection on the bus; yield the streams that a server is run on.

    A pair of streams is one client to the SDK, and here it stands for all of them: legacy clients
    are translated at their edge. With SDK 1 that one client is a legacy session without
    capabilities, so nothing can be asked of anybody. `serve` has no such limits, and it finishes
    the calls that are open when it is cancelled; here they end with the streams.

    Raises:
        UsageError: It is not clear which NATS is meant.
        RuntimeError: This is no asyncio.
    """
    check_kind(params, NatsServerParameters)
    require_asyncio()
    era = EraChoice.LEGACY if sdk.LINE == 1 else EraChoice.MODERN
    isolation = Isolation.SHARED if sdk.LINE == 1 else Isolation.AUTO
    # Who would answer is gone with the streams: there is nothing to wait for.
    params = replace(params, idle_timeout=0.0, drain_timeout=0.0)
    config = _config(params, "one connection", era)
    config = replace(config, isolation=isolation)
    closed = asyncio.Event()
    pair = Pair(on_closed=closed.set)
    host = Host(config, params, _OneConnection(pair), tunnels=False)
    hosting = asyncio.create_task(host.run(), name="mcpnatsd server")
    hosting.add_done_callback(lambda _: pair.over())
    watching = asyncio.create_task(_end_with(closed, hosting))
    try:
        yield pair.read, pair.write
    finally:
        closed.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([hosting, watching])
    if not hosting.cancelled():
        hosting.result()


async def _end_with(closed: asyncio.Event, hosting: asyncio.Task[None]) -> None:
    await closed.wait()
    hosting.cancel()


async def _in_own_task(part: Coroutine[Any, Any, None]) -> None:
    """Run it where only we cancel it: anyio would cancel again and again while it drains."""
    task = asyncio.create_task(part, name="mcpnatsd server")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()  # told twice
                await asyncio.wait([task])
        raise


def _config(params: NatsServerParameters, name: str, era: EraChoice) -> ServerConfig:
    idle_timeout = params.idle_timeout
    if idle_timeout is None:
        idle_timeout = Limits().idle_timeout if era is EraChoice.LEGACY else 0.0
    limits = Limits(
        line_bytes=params.line_bytes,
        output_line_bytes=params.output_line_bytes,
        call_timeout=params.call_timeout,
        idle_timeout=idle_timeout,
        concurrency=params.concurrency,
    )
    return ServerConfig(
        name=params.service_name,
        command=(f"in Python: {name}",),
        era=era,
        start=Start.EAGER,
        limits=limits,
    )


class _Connections:
    """Starts connections to a server object, as many as are asked for."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        return Hosted(self._body, config, listener)


class _OneConnection:
    """Starts the one connection whose streams were handed out."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._started = False

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        if self._started:
            raise ProcessDied(f"server {config.name!r} was one connection, and that is over")
        self._started = True
        return Hosted(None, config, listener, self._pair)
