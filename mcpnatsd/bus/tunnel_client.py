"""A legacy session's client end on the bus.

It opens with the client's `initialize`, then is an ordered pipe to one instance. It neither knows
clients nor opens anew by itself: its owner is told when it is over, and why.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from enum import Enum, auto
from typing import Protocol

from mcpnatsd.bus.call import nobody_serves
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.pipe import Pipe, Target
from mcpnatsd.errors import (
    BusError,
    Forbidden,
    InstanceLost,
    McpnatsdError,
    RemoteProtocolError,
    TooLarge,
)
from mcpnatsd.protocol import headers, jsonrpc, subjects
from mcpnatsd.protocol.frames import ASK_FOR, Frame
from mcpnatsd.protocol.tunnel import WINDOW_BYTES

log = logging.getLogger(__name__)

MOST_LINE_BYTES = 64 * 1024 * 1024
OPEN_WITHIN = 4.0
"""Seconds in which an instance says that it has the tunnel. Starting its process comes after."""

RETRY_OPEN = 0.5

HINT_FOR = 4.0
"""Seconds for which an instance that NATS calls absent may come back: longer than it takes to
reconnect."""

RESUME_PAUSE = 1.0
MOST_RESUME_PAUSE = 4.0
"""Seconds between two questions whether the instance goes on: twice as many each time."""

MOST_OLD_LINES = 4
"""Reply subjects on which an answer to an earlier question may still come."""


class TunnelOwner(Protocol):
    """Whoever opened a tunnel, and is told what becomes of it."""

    def receive_line(self, line: bytes) -> None: ...

    def closed(self, fault: McpnatsdError, untaken: list[tuple[bytes, str]]) -> None:
        """Learn that the tunnel is over, and which lines surely never reached the server.

        What else was in flight gets no answer.
        """

    def refused(self, line: bytes, fault: McpnatsdError) -> None:
        """Learn that NATS did not take a line of ours, and that the tunnel goes on."""

    def room(self) -> None:
        """Learn that the window has room again, after `full`."""


class Phase(Enum):
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class Tunnel:
    """The client's end of one tunnel."""

    def __init__(
        self,
        connection: Connection,
        inbox: Inbox,
        prefix: str,
        server: str,
        owner: TunnelOwner,
        *,
        patience: float = 0.0,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.phase = Phase.OPENING
        self.instance = ""
        self._connection = connection
        self._inbox = inbox
        self._prefix = prefix
        self._server = server
        self._owner = owner
        self._patience = patience
        self._id = secrets.token_hex(16)
        self._line_subject = inbox.open(self)
        self._initialize = b""
        self._waiting: list[tuple[bytes, str]] = []
        self._waiting_bytes = 0
        self._old_line_subjects: list[str] = []
        self._resume_pause = RESUME_PAUSE
        now = self._now()
        self._opened_at = self._sent_open_at = self._resumed_at = now
        self._give_up_at: float | None = None
        self._retry_open = False
        self._was_full = False
        self._pipe = Pipe(
            connection,
            Target(self._subject, lambda: self._line_subject),
            limit=MOST_LINE_BYTES,
            on_line=lambda line, _tail: owner.receive_line(line),
            now=now,
        )
        self._unwatch = connection.watch(on_up=self._on_up, on_down=lambda: None)

    @property
    def full(self) -> bool:
        """Whether its owner should stop reading its client."""
        self._was_full = self._pipe.full or self._waiting_bytes >= WINDOW_BYTES
        return self._was_full

    def open(self, initialize: bytes) -> None:
        """Send the client's `initialize`; whichever instance takes it is the session's."""
        self._initialize = initialize
        self._pipe.opening(initialize, "initialize")
        if self._inbox.denied:
            asyncio.get_running_loop().call_soon(self._over, self._inbox.fault())
        self._send_open()

    def send(self, line: bytes, tail: str) -> None:
        """Send a client's line. Before the instance is known it waits."""
        if self.phase is Phase.OPENING:
            self._waiting.append((line, tail))
            self._waiting_bytes += len(line)
        elif self.phase is Phase.OPEN:
            self._pipe.send(line, tail)

    def close(self) -> None:
        """Leave: the instance ends the session and its process."""
        if self.phase is Phase.OPEN:
            self._pipe.close(b"")
        self._end()

    def hold(self, *, yes: bool) -> None:
        """Let the server wait while our client does not read."""
        self._pipe.hold_acks = yes

    def waits(self, now: float) -> float:
        """Return for how many seconds nobody has taken the session; 0 once somebody has."""
        return now - self._opened_at if self.phase is Phase.OPENING else 0.0

    def tick(self, now: float) -> None:
        """Keep the clocks; called about twice a second."""
        if not self._connection.up or self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.OPENING:
            self._tick_opening(now)
        else:
            self._tick_open(now)

    def denied(self, kind: str, subject: str) -> None:
        """Learn of a subject that NATS denies this user."""
        if self._inbox.is_denied_by(kind, subject):
            self._over(self._inbox.fault())
            return
        text = f"NATS does not let this user {kind} {subject!r}: ask for that permission"
        if self.phase is Phase.OPENING:
            own = subjects.request(self._prefix, self._server, "initialize")
        else:
            own = self._subject(subjects.CONTROL)
        if subject.lower() == own.lower():
            self._over(Forbidden(text))
        elif self.phase is Phase.OPEN:
            for line in self._pipe.void(subject):
                self._owner.refused(line, Forbidden(text))

    def receive(self, _reply: bytes, body: bytes, block: bytes | None) -> None:
        """Take whatever arrives on the server→client line."""
        if self.phase is Phase.CLOSED:
            return
        seq = headers.seq_of(block)
        found = {} if seq is not None else headers.parse(block)
        if seq is None:
            seq = headers.number(found, headers.SEQ)
        try:
            if seq is not None:
                self._pipe.receive(seq, found, body, "", self._now())
            else:
                self._receive_control(found, body)
        except (RemoteProtocolError, TooLarge) as fault:
            self._over(fault)

    def _receive_control(self, found: dict[str, str], body: bytes) -> None:
        if "" in found:
            self._refused(found[""])
            return
        frame = found.get(headers.FRAME, "")
        if frame == Frame.OPENED:
            self._opened(found.get(headers.INSTANCE, ""))
        elif frame == Frame.CLOSE:
            self._receive_close(found, body)
        elif frame in (Frame.ACK, Frame.RESUME):
            self._receive_sign(found, answer=frame == Frame.ACK)
        elif not frame and self.phase is Phase.OPENING:
            self._over(jsonrpc.reported(body))

    def _receive_sign(self, found: dict[str, str], *, answer: bool) -> None:
        """Take an `ack` or a `resume`: the instance lives.

        It may have come back after us and not have heard our `resume`: then it knows none but an
        old line, and would even say `close` on that. So it is told the new one.
        """
        self._give_up_at = None
        if self._old_line_subjects:
            self._pipe.beat(self._now())
        if answer:
            self._close_old_lines(keep=0)
        self._pipe.receive_control(found, self._now())
        self._tell_room()

    def _receive_close(self, found: dict[str, str], body: bytes) -> None:
        missing = (headers.number(found, headers.SENT) or 0) > self._pipe.received
        if missing and self.phase is Phase.OPEN:
            self._pipe.ask_for_rest(self._now())
            return
        ack = headers.number(found, headers.ACK)
        untaken = self._pipe.untaken(ack) if ack is not None else []
        if self.phase is Phase.OPEN:
            self._pipe.close(b"")
        self._over(jsonrpc.reported(body), untaken)

    def _opened(self, instance: str) -> None:
        if self.phase is not Phase.OPENING:
            return
        if not subjects.is_server_name(instance):  # it becomes a token of a subject, as that does
            self._over(RemoteProtocolError("an instance opened the tunnel under no proper id"))
            return
        self.phase, self.instance = Phase.OPEN, instance
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for line, tail in waiting:
            self._pipe.send(line, tail)

    def _refused(self, status: str) -> None:
        """Take "no responders". While opening it is an answer; later it is only a hint."""
        if status != headers.NO_RESPONDERS:
            return
        now = self._now()
        if self.phase is Phase.OPEN:
            self._doubt(now, HINT_FOR)
        elif now - self._opened_at >= self._patience and not self._returning:
            self._over(nobody_serves(self._server))
        else:
            self._retry_open = True

    @property
    def _returning(self) -> bool:
        return self._connection.returned_within(OPEN_WITHIN)

    def _tell_room(self) -> None:
        if self._was_full and not self._pipe.full:
            self._was_full = False
            self._owner.room()

    # Clocks.

    def _on_up(self) -> None:
        now = self._now()
        self._pipe.reconnected(now)
        if self.phase is Phase.OPENING:
            self._opened_at = now
            self._open_anew()
        elif self.phase is Phase.OPEN:
            self._give_up_at = None
            self._doubt(now, ASK_FOR)

    def _doubt(self, now: float, patience: float) -> None:
        """Ask the instance to go on, less and less often, until it answers or patience ends."""
        if self._give_up_at is None:
            self._give_up_at = now + patience
            self._resume_pause = RESUME_PAUSE
            self._resume(now)

    def _tick_opening(self, now: float) -> None:
        silent = now - self._sent_open_at
        if self._retry_open and silent >= RETRY_OPEN:
            self._send_open()
        elif silent >= OPEN_WITHIN:
            self._over(nobody_serves(self._server))

    def _tick_open(self, now: float) -> None:
        if self._give_up_at is not None and now >= self._give_up_at:
            self._over(_lost(self._server))
        elif self._give_up_at is not None and now - self._resumed_at >= self._resume_pause:
            self._resume_pause = min(2 * self._resume_pause, MOST_RESUME_PAUSE)
            self._resume(now)
        elif self._pipe.tick(now):
            self._over(_lost(self._server))

    def _resume(self, now: float) -> None:
        """Ask the instance to go on. A reconnect voids old reply subjects: it gets a new one.

        A slow answer to the question before comes on the old one, which stays open for it.
        """
        self._resumed_at = now
        self._old_line_subjects.append(self._line_subject)
        self._close_old_lines(keep=MOST_OLD_LINES)
        self._line_subject = self._inbox.open(self)
        self._pipe.ask_for_rest(now)

    def _close_old_lines(self, *, keep: int) -> None:
        while len(self._old_line_subjects) > keep:
            self._inbox.close(self._old_line_subjects.pop(0))

    def _open_anew(self) -> None:
        """Open under another id: whoever took the first one, unheard, finds its client gone."""
        self._id = secrets.token_hex(16)
        self._inbox.close(self._line_subject)
        self._line_subject = self._inbox.open(self)
        self._send_open()

    def _send_open(self) -> None:
        pairs = [
            (headers.WIRE, headers.WIRE_VERSION),
            (headers.TUNNEL, self._id),
            (headers.SEQ, "1"),
            (headers.METHOD, "initialize"),
        ]
        subject = subjects.request(self._prefix, self._server, "initialize")
        self._sent_open_at, self._retry_open = self._now(), False
        try:
            self._connection.publish(
                subject,
                self._initialize,
                reply=self._line_subject,
                headers=headers.encode(pairs),
            )
        except BusError as fault:
            log.debug("tunnel not opened yet", extra={"error": str(fault)})
        except TooLarge as fault:
            asyncio.get_running_loop().call_soon(self._over, fault)

    def _subject(self, tail: str) -> str:
        return subjects.pinned(self._prefix, self._server, self.instance, self._id, tail)

    def _over(self, fault: McpnatsdError, untaken: Iterable[tuple[bytes, str]] = ()) -> None:
        if self.phase is not Phase.CLOSED:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._end()
            self._owner.closed(fault, [*untaken, *waiting])

    def _end(self) -> None:
        self.phase = Phase.CLOSED
        self._unwatch()
        self._pipe.release()
        self._inbox.close(self._line_subject)
        self._close_old_lines(keep=0)


def _lost(server: str) -> InstanceLost:
    return InstanceLost(
        f"the instance that held this session of {server!r} is gone or out of reach; "
        "whether what was in flight ran is unknown"
    )
