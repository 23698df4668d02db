"""One exchange from its caller's side: the request, its frames, its end.

A call ends exactly once: with the final response, or with an exception of ours. What is still to
come for it afterwards is dropped.
"""

from enum import Enum, auto
from typing import Protocol

from mcpnatsd.errors import (
    InstanceLost,
    McpnatsdError,
    NoResponders,
    Outcome,
    RemoteProtocolError,
    TooLarge,
)
from mcpnatsd.protocol import headers, jsonrpc, parked
from mcpnatsd.protocol.frames import Frame
from mcpnatsd.protocol.outgoing import Outgoing
from mcpnatsd.protocol.parts import Assembler

MOST_BYTES = 64 * 1024 * 1024
"""Of one frame put together from its parts."""

_NAMELESS = b'{"jsonrpc":"2.0","id":null,'
"""How an instance refuses a request that it has not read: an upload, before its first part."""


class Owner(Protocol):
    """Whoever opened a call, and is told what becomes of it."""

    edge: str
    """128 random bits in hex that name this client in the tokens of its calls."""

    def receive_note(self, call: "Call", line: bytes) -> None: ...

    def receive_final(self, call: "Call", line: bytes) -> None: ...

    def receive_end(self, call: "Call") -> None:
        """Learn that a subscription is over, without a response."""

    def failed(self, call: "Call", fault: McpnatsdError) -> None: ...


class Desk(Protocol):
    """Who keeps a call's clocks, and sees it to its end. The requester is one."""

    def heard(self, call: "Call") -> None: ...

    def refused(self, call: "Call", status: str) -> None: ...

    def finish(self, call: "Call", line: bytes, *, pin: bool) -> None: ...

    def final_incomplete(self, call: "Call") -> None: ...

    def ended(self, call: "Call") -> None: ...

    def fail(self, call: "Call", fault: McpnatsdError) -> None: ...

    def answer_alive(self, call: "Call", reply: str) -> None: ...

    def still_running(self, call: "Call", seq: int) -> None: ...

    def frames_lost(self, call: "Call", many: int) -> None: ...

    def upload(self, call: "Call") -> None: ...


class Phase(Enum):
    HELD = auto()  # NATS is away: nothing was sent yet
    SENT = auto()
    ASKING = auto()  # after a reconnect: does anybody still run it?
    ENDED = auto()


class Call:
    """One request in flight. Made by `Requester.open`, which also keeps its clocks."""

    __slots__ = (
        "_assembler",
        "_desk",
        "alive_reply",
        "asked_again",
        "asked_since",
        "heard_at",
        "holder",
        "instance",
        "opened_at",
        "outgoing",
        "owner",
        "phase",
        "pinned",
        "prefix",
        "refused_at",
        "repeated",
        "replies",
        "sent_on",
        "seq",
        "server",
        "silence",
        "spoke_at",
        "subject",
        "token",
        "told_end",
        "upload_id",
    )

    def __init__(  # noqa: PLR0915  (many things, one line each)
        self, desk: "Desk", server: str, outgoing: Outgoing, owner: Owner, now: float
    ) -> None:
        self._desk = desk
        self._assembler: Assembler | None = None
        self.server = server
        self.outgoing = outgoing
        self.owner = owner
        self.phase = Phase.HELD
        self.token = ""
        self.subject = ""
        self.pinned: str | None = None
        self.holder = ""
        """The only instance that may get it; empty when any may, or when affinity says which."""

        self.prefix = ""
        """Under which it is published: ours, or that of a client in whose place we ask."""

        self.replies: list[str] = []
        self.sent_on = ""
        """The reply subject of the request itself. The others are of questions after it."""

        self.seq = 0
        self.asked_again = False
        self.alive_reply = ""
        """Where the last keep-alive wants its answer."""

        self.told_end = False
        """Whether a frame told of a subscription's end, so that the client knows already."""

        self.instance = ""
        self.upload_id = ""
        """Of the upload that was announced last."""

        self.repeated = False
        self.refused_at: float | None = None
        self.opened_at = now
        self.heard_at = now
        self.spoke_at = now
        self.silence = 0.0
        """Seconds without a word while NATS was there, over the connections before this one."""

        self.asked_since = now

    def receive(self, reply: bytes, body: bytes, block: bytes | None) -> None:
        """Take one frame off the reply subject."""
        if self.phase is Phase.ENDED:
            return
        found = headers.parse_again(block)
        if "" in found:
            self._desk.refused(self, found[""])
            return
        self._desk.heard(self)
        self.silence = 0.0
        self.instance = found.get(headers.INSTANCE, self.instance)
        try:
            self._receive_frame(found, reply, body)
        except (RemoteProtocolError, TooLarge) as fault:
            self._desk.fail(self, fault)

    def is_denied_by(self, kind: str, subject: str, inbox: str) -> bool:
        """Say whether what NATS denies makes this call impossible. It lower-cases the subject."""
        if kind == "subscribe":
            return subject.lower().startswith(inbox.lower())
        return subject.lower() == self.subject.lower()

    def is_asked_on(self, reply: str) -> bool:
        """Say whether a reply subject is that of a question after this call."""
        return reply != self.sent_on and reply in self.replies

    def _receive_frame(self, found: dict[str, str], reply: bytes, body: bytes) -> None:
        frame = found.get(headers.FRAME)
        if frame is None:
            if self._count(found):
                self._take_final(found, body)
        elif frame == Frame.NOTE:
            if self._count(found):
                self._take_note(found, body)
        elif frame == Frame.PART:
            if self._count(found):
                self._take_part(found, body)
        else:
            self._receive_control(frame, found, reply)

    def _receive_control(self, frame: str, found: dict[str, str], reply: bytes) -> None:
        if frame == Frame.ALIVE:
            self._desk.answer_alive(self, reply.decode("latin-1"))
        elif frame == Frame.RUNNING:
            self._desk.still_running(self, headers.number(found, headers.SEQ) or 0)
        elif frame == Frame.UPLOAD:
            self._desk.upload(self)
        elif frame == Frame.END:
            self._desk.ended(self)

    def _count(self, found: dict[str, str]) -> bool:
        """Notice frames that NATS dropped (WIRE.md, "Frames": `allow_responses`).

        Returns whether the call goes on. A subscription that lost a notification does not.
        """
        seq = headers.number(found, headers.SEQ) or 1
        if seq > self.seq + 1:
            self._assembler = None
            self._desk.frames_lost(self, seq - self.seq - 1)
        self.seq = seq
        return self.phase is not Phase.ENDED

    def _take_note(self, found: dict[str, str], body: bytes) -> None:
        whole = self._whole(found, body)
        if whole is not None:
            self.owner.receive_note(self, whole)

    def _take_part(self, found: dict[str, str], piece: bytes) -> None:
        position = found.get(headers.PART, "")
        if position.startswith("1/"):
            self._assembler = Assembler(MOST_BYTES)
        if self._assembler is not None:
            self._assembler.receive(position, piece)
        # Otherwise an earlier part was lost, and with it the frame.

    def _take_final(self, found: dict[str, str], body: bytes) -> None:
        whole = self._whole(found, body)
        if whole is None:
            self._desk.final_incomplete(self)
        elif whole.startswith(_NAMELESS):
            self._desk.fail(self, jsonrpc.reported(whole))
        else:
            self._desk.finish(self, whole, pin=headers.PIN in found)

    def _whole(self, found: dict[str, str], body: bytes) -> bytes | None:
        """Return a frame's whole body; None when a part of it was lost."""
        position = found.get(headers.PART)
        if position is None:
            return body
        assembler, self._assembler = self._assembler, None
        if assembler is None:
            return None if position != "1/1" else body
        return assembler.finish(body)


def nobody_serves(server: str) -> NoResponders:
    return NoResponders(
        f"nobody serves {server!r} on this NATS; `mcpnatsd list` shows what is there"
    )


def holder_gone(call: Call) -> InstanceLost:
    """Return the fault of a request whose state nobody holds any more."""
    text = f"the instance of {call.server!r} that holds this request's state is gone; start over"
    # What a parked call did before it was parked, nobody knows.
    was_parked = b'"' + parked.START.encode() in call.outgoing.line
    return InstanceLost(text, outcome=Outcome.UNKNOWN if was_parked else Outcome.NOT_EXECUTED)


def runner_gone(server: str) -> InstanceLost:
    text = (
        f"the instance of {server!r} that ran this call is gone or out of reach; "
        "whether it ran is unknown"
    )
    return InstanceLost(text, outcome=Outcome.UNKNOWN)
