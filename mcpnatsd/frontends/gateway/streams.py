"""The event streams of one legacy session: which message goes on which, and what can be resumed.

A stdio server does not say which request a message of its belongs to. Progress names it by its
token; for the rest the newest request in flight is the best guess.
"""

import secrets
from collections import deque
from typing import Final

from mcpnatsd.errors import ProtocolError
from mcpnatsd.frontends.gateway.http_request import Arrivals
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.event_stream import EventId, EventStore, event
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

    __slots__ = ("_given", "_store", "arrivals", "ended", "final", "id", "last", "started")

    def __init__(self, store: EventStore) -> None:
        self.id = secrets.token_hex(8)
        self.last = 0
        self.started = False
        """Whether it is an event stream. Until then its final response may become plain JSON."""

        self.final: bytes | None = None
        self.ended = False
        self.arrivals: Arrivals | None = None
        self._store = store
        self._given = 0

    @property
    def read(self) -> bool:
        """Whether somebody reads it."""
        return self.arrivals is not None and not self.arrivals.gone

    def put(self, line: bytes) -> None:
        self.last += 1
        id = EventId(self.id, self.last)  # noqa: A001
        self._store.keep(id, line)
        if self.arrivals is not None and not self.arrivals.gone:
            self._given = self.last
            self.arrivals.put(event(line, id=id))

    def finish(self, line: bytes) -> None:
        """Take the final response."""
        self.ended = True
        if not self.started and self.last == 0:
            self.final = line
        else:
            self.put(line)
        if self.arrivals is not None:
            self.arrivals.close()

    def attach(self, arrivals: Arrivals, after: int | None = None) -> None:
        """Have somebody read it, from behind that event on, or what nobody was given yet."""
        if self.arrivals is not None:
            self.arrivals.close()  # the newest reader has it: the other may be long dead
        self.arrivals = arrivals
        start = self._given if after is None else after
        for id, line in self._store.between(self.id, start, self.last):  # noqa: A001
            arrivals.put(event(line, id=id))
        self._given = self.last
        if self.ended:
            arrivals.close()

    def forget(self) -> None:
        self._store.forget(self.id, self.last)
        if self.arrivals is not None:
            self.arrivals.close()


class Streams:
    """All streams of a session."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._by_id: dict[str, Stream] = {}
        self._in_flight: dict[Key, Stream] = {}
        self._by_token: dict[Key, Stream] = {}
        self._tokens: dict[Key, Key] = {}
        self._ended: deque[Stream] = deque()
        self.unrelated = Stream(store)
        """The stream that a GET opens."""

        self._by_id[self.unrelated.id] = self.unrelated

    @property
    def waiting_bytes(self) -> int:
        streams = {*self._in_flight.values(), *self._by_id.values()}
        return sum(one.arrivals.waiting_bytes for one in streams if one.arrivals is not None)

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
        stream = self._in_flight[key] = Stream(self._store)
        if token is not None:
            self._by_token[token] = stream
            self._tokens[key] = token
        return stream

    def start(self, stream: Stream) -> None:
        """Make it an event stream, which a client can come back to."""
        stream.started = True
        self._by_id[stream.id] = stream

    def find(self, id: str) -> Stream | None:  # noqa: A002
        return self._by_id.get(id)

    def settle(self, key: Key, line: bytes) -> None:
        """End a request's stream with its final response."""
        stream = self._in_flight.pop(key, None)
        if stream is None:
            return
        token = self._tokens.pop(key, None)
        if token is not None:
            self._by_token.pop(token, None)
        stream.finish(line)
        if stream.started:
            self._ended.append(stream)
            if len(self._ended) > MOST_ENDED:
                self._drop(self._ended.popleft())

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
