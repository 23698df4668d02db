"""What a client's edge needs of the bus, in one value."""

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import BusError, Forbidden, McpnatsdError
from mcpnatsd.protocol import headers, subjects
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

_USER_INFO = "$SYS.REQ.USER.INFO"


@dataclass(frozen=True, slots=True)
class ClientBus:
    """One connection, its inbox, and who opens exchanges on it."""

    connection: Connection
    inbox: Inbox
    requester: Requester
    prefix: str
    """As this client publishes: its own tokens are filled in."""

    def tell(self, server: str, method: str, line: bytes) -> None:
        """Send a client's notification to whoever takes it. There is no answer to it."""
        subject = subjects.request(self.prefix, server, subjects.tail(method))
        block = headers.encode([(headers.METHOD, headers.safe(method))])
        try:
            self.connection.publish(subject, line, headers=block)
        except (BusError, McpnatsdError) as fault:
            log.debug("notification not sent", extra={"method": method, "error": str(fault)})


async def client_bus(
    connection: Connection, prefix: Prefix, inbox: Inbox | None = None
) -> ClientBus:
    """Put a client's side on a connection. With `{user}` in the prefix it waits for NATS.

    Raises:
        BusError: NATS does not tell who we are.
    """
    inbox = inbox or Inbox(connection)
    own = await _own_prefix(connection, inbox, prefix) if prefix.names_caller else prefix.plain
    return ClientBus(connection, inbox, Requester(connection, inbox, own), own)


class _OneReply:
    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def receive(self, _reply: bytes, body: bytes, _block: bytes | None) -> None:
        if not self.body.done():
            self.body.set_result(body)


async def _own_prefix(connection: Connection, inbox: Inbox, prefix: Prefix) -> str:
    """Ask NATS who we are: it lets each user publish under its own token only."""
    await connection.wait_up()
    answer = _OneReply()
    reply = inbox.open(answer)
    try:
        connection.publish(_USER_INFO, b"", reply=reply)
        async with asyncio.timeout(5):
            told = msgspec.json.decode(await answer.body, type=dict[str, dict[str, object]])
    except TimeoutError:
        raise Forbidden(f"NATS does not answer {_USER_INFO}: this user may not ask it") from None
    except msgspec.DecodeError:
        raise BusError(f"NATS answered {_USER_INFO} with something else") from None
    finally:
        inbox.close(reply)
    data = told.get("data", {})
    return prefix.speaking(account=str(data.get("account", "")), user=str(data.get("user", "")))
