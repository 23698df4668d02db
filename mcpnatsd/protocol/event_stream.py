"""Server-sent events: how messages look in an event stream, and where a stream goes on."""

from collections import OrderedDict
from typing import Final, NamedTuple

KEEP_ALIVE: Final = b":\n\n"
"""A comment: readers skip it, proxies see that the connection lives."""


class EventId(NamedTuple):
    """Names one event: a client that lost its connection says which was its last."""

    stream: str
    number: int

    def __str__(self) -> str:
        return f"{self.stream}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> "EventId | None":
        """Read an id as clients send it; None when it is not one of ours."""
        stream, _, number = text.rpartition(".")
        plain = number.isascii() and number.isdigit() and len(number) <= 18  # noqa: PLR2004
        return cls(stream, int(number)) if stream and plain else None


def event(line: bytes, name: str = "message", id: EventId | None = None) -> bytes:  # noqa: A002
    """Return one event. A line of JSON has no line breaks, so it is one line of data."""
    if id is None:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), line)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(id).encode(), name.encode(), line)


def priming(id: EventId) -> bytes:  # noqa: A002
    """Return the event that only tells an id, so that a stream can go on before its first message.

    2025-11-25, Streamable HTTP: "an SSE event consisting of an event ID and an empty data field".
    """
    return b"id: %b\ndata: \n\n" % str(id).encode()


class EventStore:
    """Events of all streams that clients may come back for; the oldest go first."""

    def __init__(self, most_bytes: int, most_events: int) -> None:
        self._most_bytes = most_bytes
        self._most_events = most_events
        self._bytes = 0
        self._events: OrderedDict[EventId, bytes] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def keep(self, id: EventId, line: bytes) -> None:  # noqa: A002
        self._events[id] = line
        self._bytes += len(line)
        while self._bytes > self._most_bytes or len(self._events) > self._most_events:
            self._bytes -= len(self._events.popitem(last=False)[1])

    def between(self, stream: str, after: int, last: int) -> list[tuple[EventId, bytes]]:
        """Return what is still there of a stream, from behind one event up to another."""
        first = max(after + 1, last - self._most_events)
        found = (EventId(stream, number) for number in range(first, last + 1))
        return [(one, self._events[one]) for one in found if one in self._events]

    def forget(self, stream: str, last: int) -> None:
        """Forget a stream that nobody can ask for any more."""
        for one, line in self.between(stream, 0, last):
            del self._events[one]
            self._bytes -= len(line)
