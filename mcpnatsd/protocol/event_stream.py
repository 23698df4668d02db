"""Server-sent events: how messages look in an event stream, and where a stream goes on."""

from collections import OrderedDict
from typing import Final, NamedTuple

EVENT_BYTES: Final = 256
"""What keeping an event costs beyond its message."""

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
    """Events of all sessions that clients may come back for, within one bound of memory."""

    def __init__(self, most_bytes: int, most_events: int) -> None:
        """Keep `most_bytes` of all sessions, and `most_events` of each."""
        self.most_events = most_events
        self._most_bytes = most_bytes
        self._bytes = 0
        self._sessions: set[SessionEvents] = set()
        """Those that have any."""

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def session(self) -> "SessionEvents":
        return SessionEvents(self)

    def weigh(self, session: "SessionEvents", more: int) -> None:
        """Learn that a session keeps more bytes, or less."""
        self._bytes += more
        if session.kept_bytes:
            self._sessions.add(session)
        else:
            self._sessions.discard(session)

    def make_room(self, session: "SessionEvents") -> None:
        """Have those lose events that keep most, the session that just put one before others."""
        while self._bytes > self._most_bytes:
            if session.kept_bytes <= self._most_bytes // len(self._sessions):
                session = max(self._sessions, key=lambda one: one.kept_bytes)
            session.drop_oldest()


class SessionEvents:
    """Events of one session's streams; the oldest go first, so what a stream lacks is its start."""

    __slots__ = ("_events", "_store", "kept_bytes")

    def __init__(self, store: EventStore) -> None:
        self.kept_bytes = 0
        self._store = store
        self._events: OrderedDict[EventId, bytes] | None = None  # most sessions keep nothing

    def keep(self, id: EventId, line: bytes) -> None:  # noqa: A002
        if self._events is None:
            self._events = OrderedDict()
        self._events[id] = line
        self._weigh(len(line) + EVENT_BYTES)
        if len(self._events) > self._store.most_events:
            self.drop_oldest()
        self._store.make_room(self)

    def drop_oldest(self) -> None:
        if self._events:
            self._weigh(-len(self._events.popitem(last=False)[1]) - EVENT_BYTES)

    def follows(self, stream: str, after: int, last: int) -> bool:
        """Say whether a stream can go on behind one event: whether all up to the last are there."""
        return after == last or EventId(stream, after + 1) in (self._events or ())

    def between(self, stream: str, after: int, last: int) -> list[tuple[EventId, bytes]]:
        """Return what is still there of a stream, from behind one event up to another."""
        events: dict[EventId, bytes] = self._events or {}
        first = max(after + 1, last - self._store.most_events)
        found = (EventId(stream, number) for number in range(first, last + 1))
        return [(one, events[one]) for one in found if one in events]

    def forget(self, stream: str, last: int) -> None:
        """Forget a stream that nobody can ask for any more."""
        events: dict[EventId, bytes] = self._events or {}
        for one, line in self.between(stream, 0, last):
            del events[one]
            self._weigh(-len(line) - EVENT_BYTES)

    def _weigh(self, more: int) -> None:
        self.kept_bytes += more
        self._store.weigh(self, more)
