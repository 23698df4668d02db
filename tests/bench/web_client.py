"""A raw HTTP client that costs next to nothing: its requests are made beforehand, one epoll waits.

Each client has a connection of its own that is kept alive, and in the legacy era a session of its
own. It sends the next request as soon as it has the answer to the last.
"""

import json
import re
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import perf_counter

from tests.bench.client import (
    BOUND,
    CHUNK,
    INITIALIZED,
    TEXT,
    Era,
    Failed,
    call,
    initialize,
    line,
    within,
)
from tests.running import META

OK = b"HTTP/1.1 200"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SESSION = re.compile(rb"\r\nmcp-session-id: *([^\r]+)", re.IGNORECASE)
LAST_CHUNK = b"\r\n0\r\n\r\n"
REVISIONS: dict[Era, str] = {"modern": "2026-07-28", "legacy": "2025-11-25"}
BODIES = 256
FIRST_ID = 1000
"""Ids of as many digits each: so all bodies are of one length, and have one head."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is reached over HTTP."""

    port: int
    path: str

    def connect(self) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), BOUND)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def post(self, body: bytes, *headers: str) -> bytes:
        """Return the bytes of a POST."""
        head = [
            f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json", "Accept: application/json, text/event-stream",
            f"Content-Length: {len(body)}", *headers,
        ]  # fmt: skip
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def get(self, *headers: str) -> bytes:
        """Return the bytes of a GET of events."""
        host = f"Host: 127.0.0.1:{self.port}"
        head = [f"GET {self.path} HTTP/1.1", host, "Accept: text/event-stream", *headers]
        return "\r\n".join(head).encode() + b"\r\n\r\n"


@cache
def bodies(era: Era) -> list[bytes]:
    more = {"_meta": META} if era == "modern" else {}
    return [
        call(FIRST_ID + number, "echo", {"text": TEXT}, more).rstrip() for number in range(BODIES)
    ]


def modern_headers(method: str, name: str = "") -> list[str]:
    named = [f"Mcp-Name: {name}"] if name else []
    return [f"MCP-Protocol-Version: {REVISIONS['modern']}", f"Mcp-Method: {method}", *named]


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send a request; return all of its answer."""
    connection.sendall(request)
    data = b""
    while not complete(data):
        data += read(connection, data)
    return data


def read(connection: socket.socket, before: bytes = b"") -> bytes:
    if not (data := connection.recv(CHUNK)):
        raise Failed(f"it closed the connection after {before[:300]!r}")
    return data


def complete(data: bytes) -> bool:
    """Tell whether that is a whole answer: by its length, or its last chunk."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if (found := LENGTH.search(data, 0, end)) is not None:
        return len(data) >= end + 4 + int(found[1])
    return data.endswith(LAST_CHUNK) or data.startswith((b"HTTP/1.1 202", b"HTTP/1.1 204"))


def open_session(connection: socket.socket, place: Place) -> str:
    """Shake hands as a legacy client; return the session."""
    answer = ask(connection, place.post(initialize().rstrip()))
    found = SESSION.search(answer)
    if not answer.startswith(OK) or found is None:
        raise Failed(f"no session: {answer[:500]!r}")
    session = found[1].decode()
    ask(connection, place.post(INITIALIZED.rstrip(), *session_headers(session)))
    return session


def session_headers(session: str) -> list[str]:
    return [f"Mcp-Session-Id: {session}", f"MCP-Protocol-Version: {REVISIONS['legacy']}"]


def listen(notifications: dict[str, bool]) -> bytes:
    """Return the body of a modern client that wants to be told."""
    params = {"notifications": notifications, "_meta": META}
    return line(FIRST_ID, "subscriptions/listen", params).rstrip()


class Caller:
    """One client: its requests, and between two of its measurements no connection."""

    def __init__(self, place: Place, era: Era) -> None:
        self._place = place
        self._bodies = bodies(era)
        self._next = 0
        self._headers = modern_headers("tools/call", "echo")
        self._data = b""
        self.sent_at = 0.0
        if era == "legacy":
            with place.connect() as connection:
                self._headers = session_headers(open_session(connection, place))
        one = self._bodies[0]
        self._head = place.post(one, *self._headers).removesuffix(one)

    def connect(self) -> None:
        self.connection = self._place.connect()

    def send(self) -> None:
        body = self._bodies[self._next]
        self._next = (self._next + 1) % BODIES
        self.sent_at = perf_counter()
        self.connection.send(self._head + body)

    def receive(self) -> bool:
        """Read what is there; tell whether that was the end of the answer."""
        data = self._data + read(self.connection, self._data)
        if not complete(data):
            self._data = data
            return False
        if not data.startswith(OK) or b'"error":' in data:
            raise Failed(f"it answered: {data[:500]!r}")
        self._data = b""
        return True

    def close(self) -> None:
        self._data = b""
        self.connection.close()


class Web:
    """Clients of one server."""

    def __init__(self, place: Place, era: Era, most: int) -> None:
        self._callers: list[Caller] = []
        with within(BOUND):
            for _ in range(most):
                self._callers.append(Caller(place, era))
        self.load(0.1, 1)

    def load(self, seconds: float, count: int) -> tuple[list[float], float]:
        """Have that many clients call at the same time; return what each took, and the rate."""
        with within(seconds + BOUND), connected(self._callers[:count]) as waiting:
            return waiting.run(seconds)


class Waiting:
    """Clients whose answers are awaited, all at once."""

    def __init__(self, callers: Sequence[Caller], poll: select.epoll) -> None:
        self._callers = {one.connection.fileno(): one for one in callers}
        self._poll = poll
        for fileno in self._callers:
            poll.register(fileno, select.EPOLLIN)

    def run(self, seconds: float) -> tuple[list[float], float]:
        taken: list[float] = []
        for one in self._callers.values():
            one.send()
        now = began = perf_counter()
        while now - began < seconds or len(taken) < len(self._callers):
            for one in self._answered():
                now = perf_counter()
                taken.append(now - one.sent_at)
                one.send()
        self._drain()
        return sorted(taken), len(taken) / (now - began)

    def _answered(self) -> Iterator[Caller]:
        for fileno, _ in self._poll.poll():
            if (one := self._callers[fileno]).receive():
                yield one

    def _drain(self) -> None:
        left = len(self._callers)
        while left:
            left -= len(list(self._answered()))


@contextmanager
def connected(callers: Sequence[Caller]) -> Iterator[Waiting]:
    """Connect anew each time: servers close what nobody used for some seconds."""
    with select.epoll() as poll:
        try:
            for one in callers:
                one.connect()
            yield Waiting(callers, poll)
        finally:
            for one in callers:
                one.close()


def message_in(answer: bytes) -> object:
    """Return what an answer of plain JSON says."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])
