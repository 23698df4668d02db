"""Takes a server's requests off the bus, checked, and keeps every exchange's clock.

The subject is what NATS granted the caller; the body is what the server will act on. Nothing gets
past here unless both name the same server, method and name (WIRE.md, "Integrity").
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mcpnatsd.bus import frames_out
from mcpnatsd.bus.clock import guarded, tick_every
from mcpnatsd.bus.connection import Connection, OnMsg
from mcpnatsd.bus.finals import Finals, Kept
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.served import Backend, Served
from mcpnatsd.bus.uploads import Uploads
from mcpnatsd.errors import BrokerAway, BusError, EraMismatch, McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import eras, frames, headers, incoming, jsonrpc, subjects
from mcpnatsd.protocol.frames import Blocks, Frame
from mcpnatsd.protocol.incoming import PINNED_TOKENS, REQUEST_TOKENS, Incoming

log = logging.getLogger(__name__)

OnTunnel = Callable[[Incoming], None]

_CONTROL: Final = frozenset({Frame.ACK, Frame.RESUME, Frame.CLOSE})


UNNOTICED: Final = 16.0
"""Seconds for which a connection may be dead before its pings tell."""


class Address:
    """Where a server's instance is on the bus."""

    def __init__(self, prefix: subjects.Prefix, server: str, instance: str) -> None:
        self.prefix = prefix
        self.server = server
        self.instance = instance

    @property
    def requests(self) -> str:
        return f"{self.prefix.listening}.req.{self.server}.>"

    @property
    def pinned(self) -> str:
        return f"{self.prefix.listening}.ses.{self.server}.{self.instance}.>"

    @property
    def cancels(self) -> str:
        return subjects.cancel(self.prefix.listening, self.server)


class Responder:
    """The requests of one server, on one instance."""

    def __init__(  # noqa: PLR0913
        self,
        connection: Connection,
        inbox: Inbox,
        address: Address,
        *,
        backend: Backend,
        finals: Finals,
        line_bytes: int,
        version: str,
        on_tunnel: OnTunnel,
        on_done: Callable[[Served, bytes], None],
    ) -> None:
        self.now = asyncio.get_running_loop().time
        self.connection = connection
        self.blocks = Blocks(address.instance)
        self.prefix_tokens = len(address.prefix.tokens)
        self._inbox = inbox
        self._address = address
        self._backend = backend
        self._version = version
        self._on_tunnel = on_tunnel
        self._on_done = on_done
        self._served: dict[str, Served] = {}
        self._single: set[Served] = set()
        """Exchanges of callers without `Mcp-Wire`: they can neither cancel nor ask."""
        self._finals = finals
        self._uploads = Uploads(line_bytes, address.server)
        self._subs: list[int] = []
        self._queue_sub: int | None = None
        self._left_sub: int | None = None
        """Of the queue group that was left: a request may still be on its way."""
        self.closing: McpnatsdError | None = None
        """What is said to whoever comes while what runs here is being ended."""
        self._down_at = self.now()
        self._unwatch: Callable[[], None] = _nothing

    @property
    def in_flight(self) -> int:
        """Requests without an answer, and those of which parts are still to come."""
        return len(self._served) + len(self._single) + len(self._uploads)

    @property
    def joined(self) -> bool:
        """Whether it is in the queue group."""
        return self._queue_sub is not None

    def end_subscriptions(self, reason: str) -> None:
        """End what would hold a drain up for ever: clients listen anew."""
        for served in [one for one in self._served.values() if one.method == eras.LISTEN]:
            params = {"requestId": jsonrpc.value_of(served.id), "reason": reason}
            served.end(jsonrpc.notification(eras.CANCELLED, params))
            if served.on_cancel is not None:
                served.on_cancel(reason)

    def open(self, *, join: bool = True) -> None:
        """Start to listen. What was closed may be opened again."""
        self.closing = None
        self._unwatch = self.connection.watch(on_up=self._on_up, on_down=self._on_down)
        address, subscribe = self._address, self.connection.subscribe
        on_pinned = self._guard(PINNED_TOKENS, self._receive_pinned)
        on_cancel = self._guard(REQUEST_TOKENS, self._receive_cancel)
        self._subs = [subscribe(address.pinned, on_pinned), subscribe(address.cancels, on_cancel)]
        if join:
            self.join()

    def join(self) -> None:
        """Enter the queue group, to get a share of the requests."""
        if self._queue_sub is None:
            on_request = self._guard(REQUEST_TOKENS, self._receive_request)
            self._queue_sub = self.connection.subscribe(
                self._address.requests, on_request, subjects.QUEUE_GROUP
            )

    def leave(self) -> None:
        """Leave the queue group: other instances get the requests. What is open goes on."""
        if self._queue_sub is not None:
            self._forget_left()
            self.connection.leave(self._queue_sub)
            self._queue_sub, self._left_sub = None, self._queue_sub

    async def unpin(self) -> None:
        """Take nothing more that names this instance; return when all that was on its way came."""
        for sub in self._subs[:1]:
            self.connection.leave(sub)
        with suppress(BrokerAway):
            await self.connection.flush()
        self._uploads.forget()

    def close(self) -> None:
        """Stop listening."""
        self.leave()
        self._forget_left()
        self._unwatch()
        for sub in self._subs:
            self.connection.unsubscribe(sub)
        self._subs = []

    def _forget_left(self) -> None:
        if self._left_sub is not None:
            self.connection.unsubscribe(self._left_sub)
            self._left_sub = None

    async def run(self) -> None:
        """Keep the clocks until cancelled: keep-alives, vanished callers, what is kept."""
        await tick_every(1.0, self._tick_all)

    def ended(self, served: Served, line: bytes) -> None:
        """Learn that an exchange is over; its final line is kept for a caller that asks again."""
        if served.alive_reply:
            self._inbox.close(served.alive_reply)
        if served.call:
            self._served.pop(served.call, None)
            if line:
                server = self._address.server
                self._finals.keep(served, line, server=server, now=self.now())
        else:
            self._single.discard(served)
        self._on_done(served, line)

    # From the bus.

    def _guard(self, between: int, receive: Callable[[Incoming], None]) -> OnMsg:
        """Turn what a message is refused for into its answer."""
        prefix = self._address.prefix

        def on_msg(subject: bytes, reply: bytes, body: bytes, block: bytes | None) -> None:
            message = incoming.read(prefix, between, subject, reply, body, block)
            try:
                receive(message)
            except McpnatsdError as fault:
                self.refuse(message, fault)

        return on_msg

    def _receive_request(self, message: Incoming) -> None:
        if not self._admit(message):
            return
        if headers.UPLOAD in message.headers:
            self._offer_upload(message)
        elif headers.TUNNEL in message.headers:
            self._uploads.check(len(message.body))
            self._on_tunnel(message)
        elif message.reply:
            self._receive_exchange(message, self._uploads.finish(message))
        else:
            self._receive_notification(message)

    def _admit(self, message: Incoming) -> bool:
        """Say whether a message is for us to answer.

        Raises:
            RemoteProtocolError: It is in a wire that we do not speak, or its token is too long.
            McpnatsdError: Nothing is taken any more.
        """
        if self.closing is not None:
            raise self.closing
        if len(message.call) > headers.LONGEST_CALL:
            raise RemoteProtocolError(f"{headers.CALL} is over {headers.LONGEST_CALL} characters")
        if message.headers.get(headers.WIRE, headers.WIRE_VERSION) != headers.WIRE_VERSION:
            raise RemoteProtocolError(f"this instance speaks {headers.WIRE} 1 only")
        # Of a refused call its caller was told that nobody runs it: it must not start now.
        return not (message.call and self._finals.is_refused(message.call))

    def _receive_pinned(self, message: Incoming) -> None:
        if headers.SEQ in message.headers or message.frame in _CONTROL:
            self._on_tunnel(message)
        elif not self._admit(message):
            return
        elif headers.UPLOAD in message.headers:
            self._offer_upload(message)
        elif message.frame == Frame.PART:
            self._uploads.receive(message, self.now())
        elif not self._is_second_copy(message):
            self._receive_exchange(message, self._uploads.finish(message))

    def _is_second_copy(self, message: Incoming) -> bool:
        """Say whether this very request is known: two NATS connections may both bring it."""
        first = self._served.get(message.call) or self._finals.get(message.call)
        if first is None:
            return False
        return first.user == message.user and first.reply == message.reply

    def _receive_exchange(self, message: Incoming, body: bytes) -> None:
        body = jsonrpc.single_line(body)
        asked = incoming.asked(message, body, self._backend.tool_names, self._version)
        message.check(asked.request.method, asked.name)
        if message.call in self._served:
            raise RemoteProtocolError("this call is running already")
        served = Served(self, message, asked)
        if served.call:
            self._served[served.call] = served
        else:
            self._single.add(served)
        self._backend.receive_request(served)

    def _receive_notification(self, message: Incoming) -> None:
        """Pass on what wants no answer: one line, and what its subject says.

        A cancel comes on `cxl`: here it could only name somebody else's request.
        """
        self._uploads.check(len(message.body))
        note = incoming.notified(message.body)
        if note is None or note.method == eras.CANCELLED or note.method in subjects.NAMED:
            return
        message.check(note.method, None)
        self._backend.receive_notification(jsonrpc.single_line(jsonrpc.encode(note.members)))

    def _offer_upload(self, message: Incoming) -> None:
        token = self._uploads.offer(message, self.now())
        address, own = self._address, len(self._address.prefix.tokens)
        base = b".".join(message.tokens[:own]).decode()
        subject = subjects.pinned(base, address.server, address.instance, token, message.tail)
        block = self.blocks.plain(Frame.UPLOAD, (headers.SUBJECT, subject))
        self.connection.publish(message.reply, b"", headers=block)

    def _receive_cancel(self, message: Incoming) -> None:
        try:
            body = jsonrpc.split(message.body)
        except McpnatsdError:
            return
        if message.frame == Frame.LEFT:
            client = jsonrpc.text_of(body, "client") or ""
            self._backend.client_left(message.user.decode("latin-1"), client)
            self._finals.left(client, message.user)
            return
        call, reason = jsonrpc.text_of(body, "call"), jsonrpc.text_of(body, "reason") or ""
        if call is None or len(call) > headers.LONGEST_CALL:
            return
        served = self._served.get(call)
        if served is not None and served.user != message.user:
            return  # somebody else's
        if message.frame == Frame.ASK:
            self._answer_ask(call, served, message)
        elif served is not None:
            served.cancelled(reason)
        else:
            self._finals.refuse(call, self.now())

    def _answer_ask(self, call: str, served: Served | None, message: Incoming) -> None:
        if served is not None:
            served.running(message.reply)
            return
        kept = self._finals.get(call)
        if kept is None:
            self._finals.refuse(call, self.now())
        elif kept.user == message.user and kept.server == self._address.server:
            self._send_again(kept, message.reply)

    def _send_again(self, kept: Kept, reply: str) -> None:
        if reply:
            final = self.blocks.final
            frames_out.send(self.connection, self.blocks, reply, kept.line, final, kept.seq)

    def refuse(self, message: Incoming, fault: McpnatsdError) -> None:
        """Answer a message that went no further than here."""
        # A legacy client tries a session first, and is translated when that is refused.
        level = logging.DEBUG if isinstance(fault, EraMismatch) else logging.INFO
        log.log(
            level,
            "message refused",
            extra={
                "server": self._address.server,
                "subject": message.subject,
                "caller": message.user.decode("latin-1") or None,
                "error": str(fault),
            },
        )
        if not message.reply:
            return
        body, block = message.refusal(fault)
        try:
            self.connection.publish(message.reply, body, headers=block)
        except BusError as error:
            log.debug("refusal not sent", extra={"error": str(error)})

    # Clocks.

    def _on_up(self) -> None:
        """Say again what may have gone into a dead socket; a caller that has it drops it.

        Callers ask by themselves only when it was their own connection that broke.
        """
        now = self.now()
        self._finals.reconnected(now)
        for kept in self._finals.since(self._down_at - UNNOTICED, self._address.server):
            self._send_again(kept, kept.reply)
        for served in self._served.values():
            served.running(served.reply)

    def _on_down(self) -> None:
        self._down_at = self.now()

    def _tick_all(self) -> None:
        if not self.connection.up:
            return
        now = self.now()
        guarded(self._finals.expire, now)
        guarded(self._uploads.expire, now)
        for served in list(self._served.values()):
            guarded(self._tick, served, now)

    def _tick(self, served: Served, now: float) -> None:
        if now - served.heard_at >= frames.LOST_AFTER:
            facts = {"server": self._address.server, "method": served.method}
            log.info("caller vanished; its call is cancelled", extra=facts)
            served.cancelled("the caller vanished")
        elif now - served.spoke_at >= frames.ALIVE_AFTER:
            if not served.alive_reply:
                served.alive_reply = self._inbox.open(served)
            served.alive()


def _nothing() -> None:
    """Watch nothing."""
