"""Where replies arrive: one subscription for every exchange and tunnel of a connection."""

import logging
import secrets
from typing import Protocol

from mcpnatsd.bus.connection import Connection
from mcpnatsd.errors import Forbidden

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Whoever waits for messages on one reply subject."""

    def receive(self, reply: bytes, body: bytes, block: bytes | None) -> None: ...


class Inbox:
    """Hands each reply to whoever waits for it; what nobody waits for is dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.prefix: str = connection.inbox
        self._length = len(self.prefix)
        self._receivers: dict[bytes, Receiver] = {}
        self._opened = 0
        self._secret = secrets.token_hex(8)
        self._sub = connection.subscribe(f"{self.prefix}*", self._receive)
        self._arrived_on = b""

        self.denied = False
        """Whether NATS does not let us listen here: no reply can ever arrive."""

        connection.watch(on_up=lambda: None, on_down=self._hope)
        connection.watch_denied(self._receive_denial)

    def is_denied_by(self, kind: str, subject: str) -> bool:
        """Say whether what NATS denies is this inbox. NATS' client lower-cases the subject."""
        return kind == "subscribe" and subject.lower().startswith(self.prefix.lower())

    def fault(self) -> Forbidden:
        text = f"NATS does not let this user subscribe {self.prefix!r}: see --inbox-prefix"
        return Forbidden(text)

    def open(self, receiver: Receiver) -> str:
        """Return a fresh reply subject that ends at `receiver`."""
        self._opened += 1
        token = f"{self._secret}{self._opened:x}"
        self._receivers[token.encode()] = receiver
        return self.prefix + token

    def close(self, reply: str) -> None:
        """Forget a reply subject. Doing it twice is no fault."""
        self._receivers.pop(reply[self._length :].encode(), None)

    @property
    def arrived_on(self) -> str:
        """The reply subject of the message that is being received."""
        return self._arrived_on.decode("latin-1")

    def stop(self) -> None:
        self._connection.unsubscribe(self._sub)
        self._receivers.clear()

    def _hope(self) -> None:
        """Start anew with the next connection: permissions may have been changed."""
        self.denied = False

    def _receive_denial(self, kind: str, subject: str) -> None:
        self.denied = self.denied or self.is_denied_by(kind, subject)

    def _receive(self, subject: bytes, reply: bytes, body: bytes, block: bytes | None) -> None:
        receiver = self._receivers.get(subject[self._length :])
        if receiver is not None:
            self._arrived_on = subject
            receiver.receive(reply, body, block)
