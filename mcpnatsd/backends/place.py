"""Where on the bus the servers of this process are, and what they share there."""

from dataclasses import dataclass

from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.finals import Finals
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.protocol import subjects


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the bus a bridge is."""

    connection: Connection
    inbox: Inbox
    prefix: subjects.Prefix
    instance: str
    version: str
    """Of this program."""

    finals: Finals
    """Kept for all servers of this process together."""
