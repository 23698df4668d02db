"""One end of a tunnel: numbered messages, acknowledgements, what to send again.

A tunnel carries a legacy session: an ordered pipe of lines that loses nothing, over core NATS,
which loses what was in flight when a broker restarts (WIRE.md, "Tunnels"). Both ends are this
class. It holds no clock: `now` is an argument, in seconds of a monotonic clock.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Body = TypeVar("Body")

WINDOW_MESSAGES: Final = 1024
WINDOW_BYTES: Final = 16 * 1024 * 1024
"""What may be unacknowledged. Beyond it the sender stops reading its own side."""

ACK_MESSAGES: Final = 64
ACK_BYTES: Final = 1024 * 1024
"""How much may arrive before an acknowledgement goes out without waiting for the next beat."""

BEAT_IDLE: Final = 15.0
BEAT_BUSY: Final = 1.0
"""Seconds between beats: when all is acknowledged, and while something is not."""

LOST_AFTER: Final = 45.0
"""Seconds of silence after which the other end is gone, counted only while we are connected."""


@dataclass(frozen=True, slots=True)
class Sent(Generic[Body]):
    """A message that the other end has not acknowledged."""

    seq: int
    body: Body
    size: int


class End(Generic[Body]):
    """One end. `Body` is whatever its owner needs to publish a message again."""

    def __init__(self, now: float) -> None:
        self.sent = 0
        """The highest number given to a message of ours."""
        self.received = 0
        """The highest number taken without a gap."""
        self._acked_to_them = 0
        self._unacked: deque[Sent[Body]] = deque()
        self._unacked_bytes = 0
        self._bytes_since_ack = 0
        self._beat_at = now
        self._heard_at = now
        self._asked_at: float | None = None

    @property
    def full(self) -> bool:
        """Whether to stop reading our side: the window has no room."""
        return len(self._unacked) >= WINDOW_MESSAGES or self._unacked_bytes >= WINDOW_BYTES

    @property
    def unacked(self) -> int:
        return len(self._unacked)

    def send(self, body: Body, size: int) -> int:
        """Number a message and keep it until it is acknowledged; return its number."""
        self.sent += 1
        self._unacked.append(Sent(self.sent, body, size))
        self._unacked_bytes += size
        return self.sent

    def receive(self, seq: int, size: int) -> bool:
        """Take a message's number; say whether it is the next one, to be passed on.

        A message seen before, or after a gap, is not passed on: the other end sends what is
        missing again, in order.
        """
        if seq != self.received + 1:
            return False
        self.received = seq
        self._bytes_since_ack += size
        return True

    def gap(self, seq: int, now: float) -> bool:
        """Say whether to ask for what is missing, told that `seq` exists. Once a second."""
        if seq <= self.received or (self._asked_at is not None and now < self._asked_at + 1.0):
            return False
        self._asked_at = now
        return True

    @property
    def ack_due(self) -> bool:
        """Whether so much arrived that the other end should hear of it at once."""
        waiting = self.received - self._acked_to_them
        return waiting >= ACK_MESSAGES or (waiting > 0 and self._bytes_since_ack >= ACK_BYTES)

    def acknowledge(self, now: float) -> tuple[int, int]:
        """Return what a beat says: the highest number received, and the highest sent."""
        self._acked_to_them = self.received
        self._bytes_since_ack = 0
        self._beat_at = now
        return self.received, self.sent

    def hold(self, now: float) -> tuple[int, int]:
        """Return what a beat says that shows us alive, but gives the other end no room."""
        self._beat_at = now
        return self._acked_to_them, self.sent

    def receive_ack(self, ack: int) -> None:
        """Forget what the other end has."""
        while self._unacked and self._unacked[0].seq <= ack:
            self._unacked_bytes -= self._unacked.popleft().size

    def resend_from(self, following: int) -> list[Sent[Body]]:
        """Return what to send again, told the number that the other end waits for."""
        self.receive_ack(following - 1)
        return list(self._unacked)

    def unacknowledged(self) -> list[Sent[Body]]:
        """Return what the other end may not have."""
        return list(self._unacked)

    def replace(self, seq: int, body: Body) -> None:
        """Send something else under the number of an unacknowledged message from now on."""
        index = seq - self._unacked[0].seq
        self._unacked[index] = Sent(seq, body, self._unacked[index].size)

    def heard(self, now: float) -> None:
        self._heard_at = now

    def reconnected(self, now: float) -> None:
        """Start the clocks anew: silence while we were away says nothing of the other end."""
        self._heard_at = self._beat_at = now
        self._asked_at = None

    def beat_due(self, now: float) -> bool:
        busy = self._unacked or self.received != self._acked_to_them
        return now - self._beat_at >= (BEAT_BUSY if busy else BEAT_IDLE)

    def lost(self, now: float) -> bool:
        """Whether the other end has been silent for too long."""
        return now - self._heard_at >= LOST_AFTER
