"""A connection that goes nowhere: what is published is kept, what arrives is said by the test."""

from collections.abc import Callable
from typing import NamedTuple, cast

from mcpnatsd.bus.connection import Connection, OnMsg
from mcpnatsd.protocol import headers


class Sent(NamedTuple):
    subject: str
    body: bytes
    reply: str
    headers: dict[str, str]


class Wire:
    """The part of a connection that exchanges need."""

    def __init__(self, max_payload: int = 1 << 20) -> None:
        self.connected = self.up = True
        self.returned = False
        self.inbox = "_INBOX.t."
        self.max_payload = max_payload
        self.sent: list[Sent] = []
        self.watchers: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.denials: list[Callable[[str, str], None]] = []
        self._subs: dict[int, tuple[str, OnMsg]] = {}
        self._made = 0

    @property
    def connection(self) -> Connection:
        return cast("Connection", self)

    def subscribe(self, subject: str, on_msg: OnMsg, _queue: str = "") -> int:
        self._made += 1
        self._subs[self._made] = subject, on_msg
        return self._made

    def unsubscribe(self, sub: int) -> None:
        del self._subs[sub]

    def leave(self, sub: int) -> None:
        """What is on its way arrives all the same."""

    async def flush(self) -> None:
        """Nothing is ever on its way."""

    def publish(
        self, subject: str, body: bytes, *, reply: str = "", headers: bytes | None = None
    ) -> None:
        self.sent.append(Sent(subject, body, reply, parsed(headers)))

    def watch(
        self, *, on_up: Callable[[], None], on_down: Callable[[], None]
    ) -> Callable[[], None]:
        watcher = on_up, on_down
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher)

    def watch_denied(self, on_denied: Callable[[str, str], None]) -> Callable[[], None]:
        self.denials.append(on_denied)
        return lambda: self.denials.remove(on_denied)

    def come_back(self) -> None:
        for on_up, _on_down in list(self.watchers):
            on_up()

    def deny(self, subject: str) -> None:
        for on_denied in self.denials:
            on_denied("publish", subject)

    def arrive(
        self, subject: str, body: bytes = b"", *pairs: tuple[str, str], reply: str = ""
    ) -> None:
        """Have every subscription that covers a subject get a message."""
        for own, on_msg in list(self._subs.values()):
            if own == subject or subject.startswith(own.rstrip(">*")):
                on_msg(subject.encode(), reply.encode(), body, headers.encode(pairs))

    def refuse(self, reply: str) -> None:
        """Say "no responders", as NATS does where it says it."""
        for own, on_msg in list(self._subs.values()):
            if reply.startswith(own.rstrip(">*")):
                on_msg(reply.encode(), b"", b"", b"NATS/1.0 503\r\n\r\n")


def parsed(block: bytes | None) -> dict[str, str]:
    return headers.parse(block)
