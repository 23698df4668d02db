"""What a client sent and no session takes yet, in its order."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mcpnatsd.protocol import jsonrpc, subjects
from mcpnatsd.protocol.jsonrpc import Key, Message, Response
from mcpnatsd.protocol.outgoing import name_of


class Held(NamedTuple):
    """One line, and what must be known of it to send it on."""

    line: bytes
    tail: str
    key: Key | None
    """Of a request."""

    at: float


class HeldLines:
    """A queue that knows its size."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lines: deque[Held] = deque()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._lines)

    def add(self, held: Held) -> None:
        self._lines.append(held)
        self.bytes += len(held.line)

    def put_back(self, held: Held) -> None:
        """Put a line before all others."""
        self._lines.appendleft(held)
        self.bytes += len(held.line)

    def next(self) -> Held:
        """Take the first one out."""
        held = self._lines.popleft()
        self.bytes -= len(held.line)
        return held

    def take_all(self) -> deque[Held]:
        """Return what waits, which then waits no more."""
        held, self._lines, self.bytes = self._lines, deque(), 0
        return held


def tail_of(message: Message) -> str:
    """Return the end of the subject that a message of a session goes to.

    Raises:
        RemoteProtocolError: It must name something and does not.
    """
    if isinstance(message, Response):
        return subjects.RESPONSE
    if message.method not in subjects.NAMED:
        return subjects.tail(message.method)
    return subjects.tail(
        message.method, name_of(message.method, jsonrpc.params_of(message.members))
    )
