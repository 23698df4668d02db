"""A verb's own connection to NATS, for as long as the verb runs."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from importlib import metadata

from mcpnatsd import log
from mcpnatsd.bus.client_bus import ClientBus, client_bus
from mcpnatsd.bus.connection import open_connection
from mcpnatsd.config.settings import ClientSettings
from mcpnatsd.errors import BrokerAway, Forbidden, UsageError
from mcpnatsd.protocol.subjects import Prefix

TERMINATED = 128 + signal.SIGTERM

_WHO = (
    "say who you are with --creds, --nkey, --token or --user, "
    "or with MCPNATSD_CREDS, MCPNATSD_USER and their like"
)


@asynccontextmanager
async def open_session(settings: ClientSettings) -> AsyncIterator[ClientBus]:
    """Connect, keep the clocks, and leave with everything cancelled and sent.

    Raises:
        BrokerAway: No nats-server is there.
        Forbidden: It does not like our credentials.
    """
    prefix = Prefix.parse(settings.prefix)
    try:
        connection = await open_connection(settings, name="mcpnatsd verb", wait=True)
    except BrokerAway as fault:
        raise BrokerAway(f"{fault} (from {settings.where})") from None
    except Forbidden as fault:
        raise Forbidden(f"{fault}; {_WHO}") from None
    try:
        bus = await client_bus(connection, prefix)
        clocks = asyncio.create_task(bus.requester.run(), name="requester")
        try:
            yield bus
        finally:
            clocks.cancel()
            await asyncio.wait([clocks])
            bus.requester.stop()
    finally:
        await connection.close()


def version() -> str:
    """Return the version of this program."""
    try:
        return metadata.version("mcpnatsd")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def run(verb: Coroutine[None, None, int]) -> int:
    """Run a verb to its end and return its exit code; SIGINT and SIGTERM cancel it first."""
    try:
        log.set_up(default="CRITICAL")  # what a verb has to say, it says itself
    except UsageError:
        verb.close()
        raise
    return asyncio.run(_until_terminated(verb))


async def _until_terminated(verb: Coroutine[None, None, int]) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # `asyncio.run` made it
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await verb
    except asyncio.CancelledError:
        if terminated:
            return TERMINATED
        raise
