"""Opens exchanges on the bus and sees each one to its end.

It knows nothing of clients: whoever opens a call is its owner, and hears of every frame. The
requester keeps the clocks: it waits for a connection, notices an instance that fell silent, and
after a reconnect asks who still runs what.
"""

import asyncio
import logging
import secrets

import msgspec

from mcpnatsd.bus.call import Call, Owner, Phase, holder_gone, nobody_serves, runner_gone
from mcpnatsd.bus.clients import Clients
from mcpnatsd.bus.clock import guarded, tick_every
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.errors import (
    BrokerAway,
    BusError,
    Forbidden,
    InstanceLost,
    McpnatsdError,
    RemoteProtocolError,
    TooLarge,
)
from mcpnatsd.protocol import eras, frames, headers, parts, subjects
from mcpnatsd.protocol.affinity import Affinity
from mcpnatsd.protocol.frames import Frame
from mcpnatsd.protocol.outgoing import Outgoing, affinity_of_result

log = logging.getLogger(__name__)

HOLD_FOR = 10.0
"""Seconds that a request waits for a connection before it fails legibly."""

HOLD_DISCOVER_FOR = 7.0
"""Likewise of `server/discover`, which Python clients give up after 10 s."""

AWAY_FOR = 600.0
"""Seconds for which a call that was sent outlives an outage of NATS."""

GRACE = 15.0
"""Seconds after a reconnect in which "no responders" may only mean: not back yet."""

FIRST_CONTACT = 4.0
"""Seconds until a server that never spoke counts as absent: `nats sub ">"` hides that nobody is."""


class Requester:
    """One per connection. `run` keeps the clocks; everything else is synchronous."""

    def __init__(self, connection: Connection, inbox: Inbox, prefix: str) -> None:
        self.inbox = inbox
        self.prefix = prefix
        self._now = asyncio.get_running_loop().time
        self._connection = connection
        self._opened = 0
        self._calls: dict[Call, None] = {}  # in order, for what NATS was not there for
        self._affinity = Affinity()
        self._may_answer = True
        """Whether NATS lets this user answer keep-alives."""

        self._known: set[str] = set()
        self.clients = Clients()
        self._up_at = self._now() if connection.up else -GRACE
        self._down_at = self._now()
        self._unwatch = connection.watch(on_up=self._on_up, on_down=self._on_down)
        self._unwatch_denied = connection.watch_denied(self._on_denied)

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def open(
        self, server: str, outgoing: Outgoing, owner: Owner, *, holder: str = "", prefix: str = ""
    ) -> Call:
        """Send a request, or hold it until NATS is there; its owner hears of all that follows."""
        call = Call(self, server, outgoing, owner, self._now())
        call.holder, call.prefix = holder, prefix or self.prefix
        self._calls[call] = None
        self.clients.asked(owner.edge, server)
        if self.inbox.denied:
            asyncio.get_running_loop().call_soon(self.fail, call, self.inbox.fault())
        elif self._connection.connected:
            self._send(call)
        return call

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give a call up: its owner hears no more of it, whoever runs it is told."""
        if call.phase is Phase.ENDED:
            return
        told = call.phase is not Phase.HELD
        self._end(call)
        if told and self._connection.connected:
            self._publish_cancel(call, reason)

    def leave(self, edge: str, prefix: str = "") -> None:
        """Say that a client left: nobody need keep a process for it any longer."""
        body = msgspec.json.encode({"client": edge})
        block = headers.encode([(headers.FRAME, Frame.LEFT)])
        for server in self.clients.forget(edge):
            self._publish(subjects.cancel(prefix or self.prefix, server), body, "", block)

    def stop(self) -> None:
        """Cancel what is open."""
        self._unwatch()
        self._unwatch_denied()
        for call in list(self._calls):
            self.cancel(call, "the caller is stopping")
        for client in self.clients.names():
            self.leave(client)

    async def run(self) -> None:
        """Keep the clocks until cancelled."""
        await tick_every(0.5, self._tick_all)

    # What a call reports.

    def heard(self, call: Call) -> None:
        call.heard_at = call.spoke_at = self._now()
        self._known.add(call.server)

    def final_incomplete(self, call: Call) -> None:
        """Ask once more for a final response of which a part was lost: it is kept a minute."""
        if call.asked_again:
            text = f"parts of the answer of {call.server!r} were lost on the way, twice; it did run"
            self.fail(call, InstanceLost(text))
            return
        call.asked_again = True
        call.phase, call.asked_since = Phase.ASKING, self._now()
        self._ask(call)

    def finish(self, call: Call, line: bytes, *, pin: bool) -> None:
        call.pinned = call.instance if pin and frames.is_instance(call.instance) else None
        self.clients.answered(call.owner.edge, call.server, call.pinned)
        state = affinity_of_result(line)
        if state is not None and frames.is_instance(call.instance):
            self._affinity.remember(call.server, state, call.instance)
        self._end(call)
        call.owner.receive_final(call, line)

    def ended(self, call: Call) -> None:
        call.told_end = True
        self._end(call)
        call.owner.receive_end(call)

    def fail(self, call: Call, fault: McpnatsdError) -> None:
        if call.phase is Phase.ENDED:
            return
        self._end(call)
        call.owner.failed(call, fault)

    def refused(self, call: Call, status: str) -> None:
        """Take a status of NATS itself in place of a frame."""
        if status != headers.NO_RESPONDERS or call.seq or call.phase is not Phase.SENT:
            return
        if call.server in self._known and call.is_asked_on(self.inbox.arrived_on):
            return  # nobody heard the question; the call may have run before
        if call.pinned and not call.holder and call.outgoing.affinity is None:
            call.pinned = None
            self.clients.answered(call.owner.edge, call.server, None)
            self._send(call)
            return
        if self._now() - self._up_at < self._grace(call):
            call.refused_at = self._now()  # whoever serves it may be on the way back
            return
        self.fail(call, holder_gone(call) if call.pinned else nobody_serves(call.server))

    def _grace(self, call: Call) -> float:
        """Return for how long after a reconnect nobody there may only mean: not back yet."""
        if not self._connection.returned:
            return 0.0
        return GRACE if call.server in self._known else FIRST_CONTACT

    def answer_alive(self, call: Call, reply: str) -> None:
        call.phase, call.alive_reply = Phase.SENT, reply
        if not reply or not self._connection.connected:
            return
        if self._may_answer:
            self._connection.publish(reply, b"")
        else:
            self._ask(call)  # it shows as well that we are here

    def still_running(self, call: Call, seq: int) -> None:
        """Learn that an instance runs the call, and how many frames it has sent."""
        call.phase = Phase.SENT
        self._close_older(call)
        if seq > call.seq:
            self.frames_lost(call, seq - call.seq)
            call.seq = seq

    def _close_older(self, call: Call) -> None:
        """Drop the reply subjects before the one that is in use: nothing more comes there."""
        if self.inbox.arrived_on not in call.replies:
            return
        used = call.replies.index(self.inbox.arrived_on)
        for reply in call.replies[:used]:
            self.inbox.close(reply)
        del call.replies[:used]

    def frames_lost(self, call: Call, many: int) -> None:
        """Say that NATS dropped frames; a subscription that lost one is over."""
        log.warning(
            "frames were lost; is `allow_responses` or `response_type: stream` missing?",
            extra={"server": call.server, "method": call.outgoing.method, "frames": many},
        )
        if call.outgoing.method == eras.LISTEN and call.phase is not Phase.ENDED:
            self._end(call)
            self._publish_cancel(call, "notifications were lost")
            call.owner.receive_end(call)

    def upload(self, call: Call) -> None:
        """Send the request in parts to the instance that will take it.

        What that instance says of itself becomes one token of a subject, or nothing.

        Raises:
            RemoteProtocolError: It does not say who it is.
        """
        if not call.upload_id or not self._connection.connected:
            return
        if not frames.is_instance(call.instance):
            raise RemoteProtocolError(f"an instance of {call.server!r} does not say who it is")
        subject = call.subject = subjects.pinned(
            call.prefix, call.server, call.instance, call.upload_id, call.outgoing.tail
        )
        line, reply = call.outgoing.line, call.replies[-1]
        for number, many, piece in parts.cut(line, parts.part_bytes(self._connection.max_payload)):
            extra = [(headers.PART, f"{number}/{many}")]
            if number < many:
                extra.append((headers.FRAME, str(Frame.PART)))
            block = call.outgoing.header_block(call.token, extra)
            self._connection.publish(subject, piece, reply=reply, headers=block)

    # Sending.

    def _send(self, call: Call) -> None:
        try:
            self._send_request(call)
        except BrokerAway:
            call.phase = Phase.HELD
        except (BusError, TooLarge) as fault:
            asyncio.get_running_loop().call_soon(self.fail, call, fault)

    def _send_request(self, call: Call) -> None:
        outgoing = call.outgoing
        self._opened += 1
        call.token = f"{call.owner.edge}.{self._opened:x}"
        call.subject = self._subject(call)
        reply = call.sent_on = self._reply_to(call)
        if parts.fits(len(outgoing.line), self._connection.max_payload):
            block = outgoing.header_block(call.token)
            self._connection.publish(call.subject, outgoing.line, reply=reply, headers=block)
        else:
            self._ask_to_upload(call, reply)
        call.phase = Phase.SENT
        call.refused_at, call.heard_at = None, self._now()

    def _ask_to_upload(self, call: Call, reply: str) -> None:
        size = len(call.outgoing.line)
        many = parts.count(size, parts.part_bytes(self._connection.max_payload))
        call.upload_id = secrets.token_hex(16)
        extra = ((headers.UPLOAD, f"{size}, {many}"), (headers.TUNNEL, call.upload_id))
        block = call.outgoing.header_block(call.token, extra)
        self._connection.publish(call.subject, b"", reply=reply, headers=block)

    def _subject(self, call: Call) -> str:
        outgoing, server = call.outgoing, call.server
        if call.holder:
            call.pinned = call.holder
        elif outgoing.affinity is not None:
            call.pinned = self._affinity.instance_of(server, outgoing.affinity)
        else:
            call.pinned = self.clients.holder(call.owner.edge, server)
        if call.pinned:
            token = secrets.token_hex(16)
            return subjects.pinned(call.prefix, server, call.pinned, token, outgoing.tail)
        return subjects.request(call.prefix, server, outgoing.tail)

    def _reply_to(self, call: Call) -> str:
        reply = self.inbox.open(call)
        call.replies.append(reply)
        return reply

    def _publish_cancel(self, call: Call, reason: str) -> None:
        body = msgspec.json.encode({"call": call.token, "reason": reason})
        self._tell_instances(call, Frame.CANCEL, body, "")

    def _tell_instances(self, call: Call, frame: Frame, body: bytes, reply: str) -> None:
        block = headers.encode([(headers.FRAME, frame), (headers.CALL, call.token)])
        self._publish(subjects.cancel(call.prefix, call.server), body, reply, block)

    def _publish(self, subject: str, body: bytes, reply: str, block: bytes) -> None:
        try:
            self._connection.publish(subject, body, reply=reply, headers=block)
        except BrokerAway:
            log.debug("not told: NATS is away", extra={"subject": subject})

    # Clocks.

    def _on_up(self) -> None:
        now = self._up_at = self._now()
        for call in list(self._calls):
            call.heard_at = now
            if call.phase is Phase.HELD:
                self._send(call)
            else:
                call.phase, call.asked_since = Phase.ASKING, now
                self._ask(call)

    def _on_down(self) -> None:
        now = self._down_at = self._now()
        for call in self._calls:
            call.opened_at = now  # a held request waits anew from here
            call.silence += now - max(call.spoke_at, self._up_at)

    def _tick_all(self) -> None:
        now = self._now()
        for call in list(self._calls):
            guarded(self._tick, call, now)

    def _tick(self, call: Call, now: float) -> None:
        if call.phase is Phase.HELD:
            discovers = call.outgoing.method == eras.DISCOVER
            if now - call.opened_at >= (HOLD_DISCOVER_FOR if discovers else HOLD_FOR):
                self.fail(call, BrokerAway("NATS is not reachable; the request was not sent"))
        elif not self._connection.up:
            self._tick_away(call, now)
        elif call.silence and call.silence + now - self._up_at >= frames.LOST_AFTER:
            self._lost(call)  # each outage begins the other clocks anew
        elif call.phase is Phase.ASKING:
            self._tick_asking(call, now)
        else:
            self._tick_sent(call, now)

    def _tick_away(self, call: Call, now: float) -> None:
        """Let the clocks stand still while NATS is away, but not for ever."""
        if not self._connection.connected and now - self._down_at >= AWAY_FOR:
            text = f"NATS has been away for {AWAY_FOR:.0f} s; whether the call ran is unknown"
            self.fail(call, InstanceLost(text))

    def _tick_sent(self, call: Call, now: float) -> None:
        silent = now - call.heard_at
        if call.refused_at is not None:
            self._send(call)
        elif silent >= frames.LOST_AFTER:
            self._lost(call)
        elif silent >= frames.SILENT_AFTER:
            self._tick_silent(call, now)
        elif silent >= 1.0 and call.server not in self._known:
            self._tick_first_contact(call, silent)

    def _tick_silent(self, call: Call, now: float) -> None:
        """Ask, with a fresh reply subject: NATS may have closed the old one without a word."""
        if now - call.asked_since >= frames.ASK_SILENT_EVERY:
            call.asked_since = now
            self._ask(call)

    def _tick_first_contact(self, call: Call, silent: float) -> None:
        if silent >= FIRST_CONTACT:
            self.fail(call, nobody_serves(call.server))
        else:
            self._ask(call)

    def _tick_asking(self, call: Call, now: float) -> None:
        if now - call.asked_since >= frames.ASK_FOR:
            self._lost(call)
        elif now - call.heard_at >= 1.0:
            call.heard_at = now
            self._ask(call)

    def _ask(self, call: Call) -> None:
        body = msgspec.json.encode({"call": call.token})
        self._tell_instances(call, Frame.ASK, body, self._reply_to(call))

    def _lost(self, call: Call) -> None:
        if call.outgoing.repeatable and not call.repeated:
            call.repeated, call.seq, call.silence = True, 0, 0.0
            self._send(call)
            return
        refused = call.refused_at is not None
        self.fail(call, nobody_serves(call.server) if refused else runner_gone(call.server))

    def _on_denied(self, kind: str, subject: str) -> None:
        for call in list(self._calls):
            if kind == "publish" and subject.lower() == call.alive_reply.lower():
                # `allow_responses` is missing for this user.
                self._may_answer = False
                self._ask(call)
            if call.is_denied_by(kind, subject, self.inbox.prefix):
                text = f"NATS does not let this user {kind} {subject!r}: ask for that permission"
                self.fail(call, Forbidden(text))

    def _end(self, call: Call) -> None:
        call.phase = Phase.ENDED
        self._calls.pop(call, None)
        for reply in call.replies:
            self.inbox.close(reply)
