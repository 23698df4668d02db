"""One end of a tunnel on the bus: numbered lines out, lines in order, nothing lost.

`protocol.tunnel` counts and decides; this module publishes. Client and server side differ only in
where they publish to, which their owner says.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from mcpnatsd.bus.connection import Connection
from mcpnatsd.errors import BrokerAway
from mcpnatsd.protocol import headers, parts, subjects
from mcpnatsd.protocol.frames import Frame
from mcpnatsd.protocol.parts import Assembler
from mcpnatsd.protocol.tunnel import End

log = logging.getLogger(__name__)


class _Out(NamedTuple):
    """A numbered message as it may have to be published again."""

    tail: str
    body: bytes
    part: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where an end publishes to, and where it wants to be answered."""

    subject: Callable[[str], str]
    """From a tail to a subject."""

    reply: Callable[[], str]


_NOWHERE: Final = Target(lambda _tail: "", str)


def _drop(_line: bytes, _tail: str) -> None:
    """Nobody is there any more."""


class Pipe:
    """What both ends of a tunnel do."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        *,
        limit: int,
        on_line: Callable[[bytes, str], None],
        now: float,
    ) -> None:
        self._connection = connection
        self._target = target
        self._on_line = on_line
        self._limit = limit
        self._assembler = Assembler(limit)
        self._end: End[_Out] = End(now)
        self.hold_acks = False
        """Set while our side does not keep up: the other end's window then fills, and it waits."""

        self.open = True
        """Cleared while nothing can be published yet: messages are numbered and kept."""

    @property
    def full(self) -> bool:
        return self._end.full

    @property
    def idle(self) -> bool:
        """Whether the other end has everything."""
        return self._end.unacked == 0

    @property
    def sent(self) -> int:
        return self._end.sent

    @property
    def received(self) -> int:
        return self._end.received

    def send(self, line: bytes, tail: str = "") -> None:
        """Number a line, keep it until it is acknowledged, publish it if NATS is there."""
        most = self._connection.max_payload
        if parts.fits(len(line), most):
            self._send_one(_Out(tail, line, ""))
            return
        for number, many, piece in parts.cut(line, parts.part_bytes(most)):
            self._send_one(_Out(tail, piece, f"{number}/{many}"))

    def opening(self, line: bytes, tail: str) -> int:
        """Number and keep a line that its owner publishes itself."""
        return self._end.send(_Out(tail, line, ""), len(line))

    def receive(self, seq: int, found: dict[str, str], body: bytes, tail: str, now: float) -> None:
        """Take a numbered message.

        Raises:
            RemoteProtocolError: Its parts do not fit together.
            TooLarge: Its parts grew over the limit.

        What came of that message is forgotten then.
        """
        self._end.heard(now)
        if not self._end.receive(seq, len(body)):
            if self._end.gap(seq, now):
                self.ask_for_rest(now)
            return
        if self._end.ack_due and not self.hold_acks:
            self.beat(now)
        in_parts = headers.PART in found or found.get(headers.FRAME) == Frame.PART
        line = self._whole(found, body) if in_parts else body
        if line is not None:
            self._on_line(line, tail)

    def receive_control(self, found: dict[str, str], now: float) -> None:
        """Take an acknowledgement, or a request to send again."""
        self._end.heard(now)
        if found.get(headers.FRAME) == Frame.RESUME:
            self._send_again(headers.number(found, headers.NEXT) or 1)
        else:
            self._end.receive_ack(headers.number(found, headers.ACK) or 0)
        sent = headers.number(found, headers.SENT) or 0
        if self._end.gap(sent, now):
            self.ask_for_rest(now)

    def beat(self, now: float) -> None:
        """Say what arrived and what was sent; while acks are held, only that we are here."""
        received, sent = self._end.hold(now) if self.hold_acks else self._end.acknowledge(now)
        self._control(Frame.ACK, (headers.ACK, str(received)), (headers.SENT, str(sent)))

    def ask_for_rest(self, now: float) -> None:
        """Ask the other end to go on after what arrived. Its reply subject is made anew."""
        received, sent = self._end.acknowledge(now)
        self._control(Frame.RESUME, (headers.NEXT, str(received + 1)), (headers.SENT, str(sent)))

    def close(self, body: bytes) -> None:
        """Say that the tunnel is over, and why."""
        received, sent = self._end.received, self._end.sent
        pairs = (headers.ACK, str(received)), (headers.SENT, str(sent))
        self._control(Frame.CLOSE, *pairs, body=body)

    def release(self) -> None:
        """Let go of whoever it was for: what refers to itself stays in memory for long."""
        self._target, self._on_line = _NOWHERE, _drop

    def untaken(self, ack: int) -> list[tuple[bytes, str]]:
        """Return our lines, and their tails, that the other end says it never took."""
        self._end.receive_ack(ack)
        kept = [sent.body for sent in self._end.resend_from(ack + 1)]
        return [(out.body, out.tail) for out in kept if out.body and not out.part]

    def void(self, subject: str) -> list[bytes]:
        """Send nothing in place of what NATS does not take on a subject; return those lines.

        Their numbers must still arrive, or the other end waits for them for ever.
        """
        lines, line = [], b""
        for sent in self._end.unacknowledged():
            out = sent.body
            if not out.body or self._target.subject(out.tail).lower() != subject.lower():
                continue
            line += out.body
            number, _, many = out.part.partition("/")
            if number == many:
                lines.append(line)
                line = b""
            self._end.replace(sent.seq, _Out("control", b"", ""))
            self._publish(sent.seq, _Out("control", b"", ""))
        return lines

    def reconnected(self, now: float) -> None:
        self._end.reconnected(now)

    def tick(self, now: float) -> bool:
        """Beat when it is time; say whether the other end is lost."""
        if self._end.beat_due(now):
            self.beat(now)
        return self._end.lost(now)

    def _whole(self, found: dict[str, str], piece: bytes) -> bytes | None:
        """Take one part; return the line that it ends, if it does."""
        assembler, self._assembler = self._assembler, Assembler(self._limit)
        if found.get(headers.FRAME) != Frame.PART:
            return assembler.finish(piece)
        assembler.receive(found.get(headers.PART, ""), piece)
        self._assembler = assembler
        return None

    def _send_one(self, out: _Out) -> None:
        seq = self._end.send(out, len(out.body))
        if self.open:
            self._publish(seq, out)

    def _send_again(self, following: int) -> None:
        for sent in self._end.resend_from(following):
            self._publish(sent.seq, sent.body)

    def _publish(self, seq: int, out: _Out) -> None:
        target = self._target
        with suppress(BrokerAway):  # it is kept: the other end asks for it
            self._connection.publish(
                target.subject(out.tail), out.body, reply=target.reply(), headers=_block(seq, out)
            )

    def _control(self, frame: Frame, *pairs: tuple[str, str], body: bytes = b"") -> None:
        target = self._target
        block = headers.encode([(headers.FRAME, frame), *pairs])
        with suppress(BrokerAway):  # beats go on once NATS is back
            self._connection.publish(
                target.subject(subjects.CONTROL), body, reply=target.reply(), headers=block
            )


def _block(seq: int, out: _Out) -> bytes:
    if not out.part:
        return headers.seq_only(seq)
    pairs = [(headers.SEQ, str(seq)), (headers.PART, out.part)]
    number, _, many = out.part.partition("/")
    if number != many:
        pairs.append((headers.FRAME, str(Frame.PART)))
    return headers.encode(pairs)
