"""The event streams of one legacy session: which message goes on which, and what can be resumed.

A stdio server does not say which request a message of its belongs to. Progress names it by its
token; for the rest the newest request in flight is the best guess.
"""

import secrets
from typing import Final

from mcpnatsd.errors import ProtocolError
from mcpnatsd.frontends.gateway.reader import Reader
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.event_stream import EventId, EventStore, SessionEvents, event
from mcpnatsd.protocol.jsonrpc import Key, Notification, Request, Response

MOST_ENDED: Final = 64
"""Streams of one session that are over and may still be asked for."""

MOST_IN_FLIGHT: Final = 1024
"""Requests of one session. Their clients may have gone: a call goes on without a connection."""

_UNRELATED: Final = frozenset({
    "notifications/resources/updated",
    "notifications/resources/list_changed",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
})  # fmt: skip
"""Notifications that belong to no request."""


class Stream:
    """Messages towards a client, numbered, and whoever reads them now."""

    __slots__ = ("_kept", "ended", "given", "id", "last", "reader", "started")

    def __init__(self, kept: SessionEvents, id: str) -> None:  # noqa: A002
        self.id = id
        self.last = 0
        self.started = False
        """Whether it is an event stream. Until then its final response may become plain JSON."""

        self.ended = False
        self.reader: Reader | None = None
        self._kept = kept
        self.given = 0
        """The last event that a reader was given."""

    @property
    def read(self) -> bool:
        """Whether somebody reads it."""
        return self.reader is not None and not self.reader.gone

    def put(self, line: bytes) -> None:
        self.last += 1
        id = EventId(self.id, self.last)  # noqa: A001
        self._kept.keep(id, line)
        if self.reader is not None and not self.reader.gone:
            self.given = self.last
            self.reader.put(event(line, id=id))

    def finish(self, line: bytes) -> None:
        """Take the final response."""
        self.ended = True
        whole = not self.started and self.last == 0
        if not whole:
            self.put(line)
        if self.reader is not None:
            self.reader.close(line if whole else None)

    def attach(self, reader: Reader, after: int | None = None) -> None:
        """Have somebody read it, from behind that event on, or what nobody was given yet."""
        if self.reader is not None:
            self.reader.close()  # the newest reader has it: the other may be long dead
        self.reader = reader
        start = self.given if after is None else after
        for id, line in self._kept.between(self.id, start, self.last):  # noqa: A001
            reader.put(event(line, id=id))
        self.given = self.last
        if self.ended:
            reader.close()

    def detach(self, reader: Reader) -> None:
        """Learn that somebody does not read it any more."""
        if self.reader is reader:
            self.reader = None

    def follows(self, number: int) -> bool:
        """Say whether all is still there that comes behind that event."""
        return self._kept.follows(self.id, number, self.last)

    def forget(self) -> None:
        self._kept.forget(self.id, self.last)
        if self.reader is not None:
            self.reader.close()


class Streams:
    """All streams of a session."""

    def __init__(self, store: EventStore) -> None:
        self._kept = store.session()
        self._by_id: dict[str, Stream] = {}
        self._in_flight: dict[Key, Stream] = {}
        self._by_token: dict[Key, Stream] = {}
        self._tokens: dict[Key, Key] = {}
        self._ended: list[Stream] = []  # a deque takes 600 bytes, and most sessions need none
        self._secret = secrets.token_hex(8)
        self._opened = 0
        self.unrelated = self._new()
        """The stream that a GET opens."""

        self._by_id[self.unrelated.id] = self.unrelated

    @property
    def waiting_bytes(self) -> int:
        apart = [one for one in self._in_flight.values() if not one.started]
        readers = [one.reader for one in (*self._by_id.values(), *apart)]
        return sum([one.waiting_bytes for one in readers if one is not None])

    @property
    def read(self) -> bool:
        """Whether somebody reads any of them."""
        return any(one.read for one in (*self._by_id.values(), *self._in_flight.values()))

    @property
    def full(self) -> bool:
        """Whether too many requests wait for their answers."""
        return len(self._in_flight) >= MOST_IN_FLIGHT

    def awaits(self, key: Key) -> bool:
        return key in self._in_flight

    def open(self, key: Key, token: Key | None) -> Stream:
        """Open the stream of one request."""
        stream = self._in_flight[key] = self._new()
        if token is not None:
            self._by_token[token] = stream
            self._tokens[key] = token
        return stream

    def start(self, stream: Stream) -> None:
        """Make it an event stream, which a client can come back to."""
        stream.started = True
        self._by_id[stream.id] = stream

    def find(self, id: EventId) -> Stream | None:  # noqa: A002
        """Return the stream that can go on behind this event."""
        stream = self._by_id.get(id.stream)
        return stream if stream is not None and stream.follows(id.number) else None

    def settle(self, key: Key, line: bytes) -> None:
        """End a request's stream with its final response."""
        stream = self._in_flight.pop(key, None)
        if stream is None:
            return
        token = self._tokens.pop(key, None)
        if token is not None and self._by_token.get(token) is stream:
            del self._by_token[token]  # a newer request may have taken it
        stream.finish(line)
        if stream.started:
            self._ended.append(stream)
            if len(self._ended) > MOST_ENDED:
                self._drop(self._ended.pop(0))

    def route(self, line: bytes) -> None:
        """Put a message of the server on the stream it belongs to."""
        try:
            message = jsonrpc.decode(line)
        except ProtocolError:
            return
        match message:
            case Response():
                key = jsonrpc.key_of(message.id)
                if key is not None:
                    self.settle(key, line)
            case Notification():
                self._place_of(message).put(line)
            case Request():
                self._newest().put(line)

    def close(self) -> None:
        for stream in {*self._by_id.values(), *self._in_flight.values()}:
            stream.forget()

    def _new(self) -> Stream:
        self._opened += 1
        return Stream(self._kept, f"{self._secret}-{self._opened:x}")

    def _place_of(self, note: Notification) -> Stream:
        if note.method == eras.PROGRESS:
            token = jsonrpc.key_of(jsonrpc.params_of(note.members).get(eras.PROGRESS_TOKEN))
            if token in self._by_token:
                return self._by_token[token]
        if note.method in _UNRELATED and self.unrelated.read:
            return self.unrelated
        return self._newest()

    def _newest(self) -> Stream:
        for stream in reversed(self._in_flight.values()):
            if stream.read:
                return stream
        return self.unrelated

    def _drop(self, stream: Stream) -> None:
        self._by_id.pop(stream.id, None)
        stream.forget()
