"""What a client's edge needs of the bus, in one value: as ourselves, or as a caller of ours."""

import asyncio
import logging
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from mcpnatsd.bus.call import Call, Owner
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import BusError, Forbidden, McpnatsdError
from mcpnatsd.protocol import headers, subjects
from mcpnatsd.protocol.outgoing import Outgoing
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

_USER_INFO = "$SYS.REQ.USER.INFO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaking:
    """One connection, its inbox, and the name under which it is spoken there."""

    connection: Connection
    inbox: Inbox
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientBus(Speaking):
    """The bus as we are there ourselves."""

    requester: Requester
    users: Prefix
    """The prefix of all users of our account."""

    def speaking_for(self, user: str) -> "ClientBus | CallerBus":
        """Return the bus as a caller whom we let in is there. NATS must let us use that name."""
        if not self.users.names_user:
            return self
        prefix = self.users.speaking(user=user)
        return CallerBus(
            connection=self.connection,
            inbox=self.inbox,
            prefix=prefix,
            requester=CallerRequester(self.requester, prefix),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerBus(Speaking):
    """The bus as one caller is there, over our connection."""

    requester: "CallerRequester"


class CallerRequester:
    """Opens exchanges under a caller's name. The clocks, and all else, are the requester's."""

    __slots__ = ("_prefix", "_requester")

    def __init__(self, requester: Requester, prefix: str) -> None:
        self._requester = requester
        self._prefix = prefix

    def open(self, server: str, outgoing: Outgoing, owner: Owner) -> Call:
        """Send a request, or hold it; its owner hears of all that follows."""
        return self._requester.open(server, outgoing, owner, prefix=self._prefix)

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give a call up. It knows under which name it was sent."""
        self._requester.cancel(call, reason)

    def leave(self, edge: str) -> None:
        """Say that a client left."""
        self._requester.leave(edge, self._prefix)


async def client_bus(
    connection: Connection, prefix: Prefix, inbox: Inbox | None = None
) -> ClientBus:
    """Put a client's side on a connection. With `{user}` in the prefix it waits for NATS.

    Raises:
        BusError: NATS does not tell who we are.
    """
    inbox = inbox or Inbox(connection)
    us = await who_we_are(connection, inbox) if prefix.names_caller else _Us("", "")
    users = prefix.in_account(us.account)
    own = users.speaking(user=us.user)
    requester = Requester(connection, inbox, own)
    return ClientBus(
        connection=connection, inbox=inbox, prefix=own, requester=requester, users=users
    )


class _Us(NamedTuple):
    account: str
    user: str


class _OneReply:
    def __init__(self) -> None:
        self.body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def receive(self, _reply: bytes, body: bytes, _block: bytes | None) -> None:
        if not self.body.done():
            self.body.set_result(body)


async def who_we_are(connection: Connection, inbox: Inbox) -> _Us:
    """Ask NATS who we are: it lets each user publish under its own token only.

    Raises:
        BusError: It does not tell.
    """
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
    return _Us(str(data.get("account", "")), str(data.get("user", "")))
