"""What an edge needs of the bus, whether one server is behind it or several."""

from typing import Protocol

from mcpnatsd.bus.call import Call, Owner
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.protocol.outgoing import Outgoing


class Opener(Protocol):
    """Whoever opens exchanges. The requester is one, an aggregate of servers another."""

    def open(self, server: str, outgoing: Outgoing, owner: Owner, /) -> Call:
        """Send a request, or hold it; its owner hears of all that follows, but not from here."""

    def cancel(self, call: Call, reason: str = "", /) -> None:
        """Give a call up: its owner hears no more of it, whoever runs it is told."""

    def leave(self, edge: str, /) -> None:
        """Say that a client left: nobody need keep a process for it any longer."""


class EdgeBus(Protocol):
    """One connection, its inbox, and who opens exchanges on it."""

    @property
    def connection(self) -> Connection: ...

    @property
    def inbox(self) -> Inbox: ...

    @property
    def requester(self) -> Opener: ...

    @property
    def prefix(self) -> str: ...

    def tell(self, server: str, method: str, line: bytes, /) -> None:
        """Send a client's notification to whoever takes it. There is no answer to it."""
