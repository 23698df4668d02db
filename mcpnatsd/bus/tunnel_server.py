"""A legacy session's server end on the bus, and the table of them.

Each message of the client is checked against the subject it came on, as every request is, and
passed on byte for byte.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.pipe import Pipe, Target
from mcpnatsd.errors import (
    BusError,
    InstanceLost,
    McpnatsdError,
    Mismatch,
    RemoteProtocolError,
    TooLarge,
)
from mcpnatsd.protocol import eras, headers, jsonrpc, subjects
from mcpnatsd.protocol.frames import Blocks, Frame
from mcpnatsd.protocol.incoming import REQUEST_TOKENS, Incoming
from mcpnatsd.protocol.jsonrpc import Message, Notification, Request, Response
from mcpnatsd.protocol.outgoing import name_of

log = logging.getLogger(__name__)

LINGER: Final = 45.0
"""Seconds for which a closed tunnel still answers a client that missed the end."""

HEARD_WITHIN: Final = 4.0
"""Seconds for which an instance that leaves stays for clients that have not heard `close`."""

SAY_CLOSE_EVERY: Final = 1.0
"""Seconds between answers to messages for a closed tunnel: a whole window may be on its way."""

_RESPONSE: Final = subjects.RESPONSE
_OF_RESPONSES: Final = frozenset({"jsonrpc", "id", "result", "error"})

MOST_LINE_BYTES: Final = 64 * 1024 * 1024
"""Of one line put together from its parts. It is refused whole, since its id may come last."""


class Session(Protocol):
    """What stands behind a tunnel. Handed out by whoever takes the tunnel."""

    def receive_line(self, message: Message, name: str | None, line: bytes) -> None: ...

    def client_gone(self, reason: str) -> None: ...

    def room(self) -> None:
        """Learn that the tunnel has room again, after `full`."""


class ServedTunnel:
    """The server's end of one tunnel."""

    def __init__(
        self,
        connection: Connection,
        incoming: Incoming,
        *,
        line_bytes: int,
        now: float,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self.id = incoming.headers[headers.TUNNEL]
        self.user = incoming.user
        self.session: Session | None = None
        self.closed_at: float | None = None
        self._closing = b""
        self._close_said_at = 0.0
        self._line = incoming.reply
        self._line_bytes = line_bytes
        self._connection = connection
        self._was_full = False
        self._pipe = Pipe(
            connection,
            Target(lambda _tail: self._line, lambda: ""),
            limit=max(line_bytes, MOST_LINE_BYTES),
            on_line=self._receive_line,
            now=now,
        )

    @property
    def full(self) -> bool:
        """Whether its session should stop reading its server."""
        self._was_full = self._pipe.full
        return self._was_full

    def opened(self, blocks: Blocks) -> None:
        """Tell the client which instance has its session."""
        try:
            self._connection.publish(self._line, b"", headers=blocks.plain(Frame.OPENED))
        except BusError:
            log.debug("tunnel opened while NATS is away")

    def send(self, line: bytes) -> None:
        """Send a line of the server to the client."""
        if self.closed_at is None:
            self._pipe.send(line)

    def refuse(self, message: Message, fault: McpnatsdError) -> None:
        """Answer a request of the client that goes no further."""
        if isinstance(message, Request):
            self.send(jsonrpc.error_of(message.id, fault))

    def close(self, fault: McpnatsdError | None) -> None:
        """End the session from our side; the client learns why, and what it missed."""
        if self.closed_at is None:
            self.closed_at = self._close_said_at = self._now()
            self._closing = jsonrpc.fault_body(fault)
            self._pipe.close(self._closing)

    def hold(self, *, yes: bool) -> None:
        """Let the client wait while the server does not read."""
        self._pipe.hold_acks = yes

    def receive(self, incoming: Incoming, now: float) -> bool:
        """Take a message of the client; say whether it was its last."""
        if incoming.reply and incoming.frame in (Frame.ACK, Frame.RESUME):
            # A reconnect of the client voids its old reply subject.
            self._line = incoming.reply
        seq = headers.number(incoming.headers, headers.SEQ)
        if seq is not None:
            self._receive_numbered(seq, incoming, now)
        elif incoming.frame == Frame.CLOSE:
            return True
        else:
            self._receive_control(incoming, now)
        return False

    def _receive_numbered(self, seq: int, incoming: Incoming, now: float) -> None:
        if self.closed_at is None:
            try:
                self._pipe.receive(seq, incoming.headers, incoming.body, incoming.tail, now)
            except (RemoteProtocolError, TooLarge) as fault:
                self._break_off(fault)
        elif now - self._close_said_at >= SAY_CLOSE_EVERY:
            # Nobody takes it any more, so it is not acknowledged: its client may send it elsewhere.
            self._close_said_at = now
            self._pipe.close(self._closing)

    def _break_off(self, fault: McpnatsdError) -> None:
        """End it for both sides, over something that leaves the line of messages incomplete."""
        log.warning("tunnel closed", extra={"error": str(fault)})
        self.close(fault)
        session, self.session = self.session, None
        if session is not None:
            session.client_gone(str(fault))

    def _receive_control(self, incoming: Incoming, now: float) -> None:
        self._pipe.receive_control(incoming.headers, now)
        if incoming.frame == Frame.RESUME:
            self._pipe.beat(now)
        if self.closed_at is not None:
            self._pipe.close(self._closing)
        elif self._was_full and not self._pipe.full and self.session is not None:
            self._was_full = False
            self.session.room()

    def reconnected(self, now: float) -> None:
        self._pipe.reconnected(now)
        if self.closed_at is None:
            self._pipe.ask_for_rest(now)

    def tick(self, now: float) -> bool:
        """Keep the clocks; say whether the tunnel is to be forgotten."""
        if self.closed_at is not None:
            return now - self.closed_at >= LINGER
        return self._pipe.tick(now)

    def first(self, incoming: Incoming, now: float) -> None:
        """Take the `initialize` that opened the tunnel."""
        self._pipe.receive(1, {}, incoming.body, incoming.tail, now)

    def _receive_line(self, line: bytes, tail: str) -> None:
        if self.session is None or self.closed_at is not None or not line:
            return  # an empty line stands in for one that NATS denied its sender
        line = jsonrpc.single_line(line)
        message: Message | None = None
        try:
            if len(line) > self._line_bytes:
                raise TooLarge(
                    f"a message of {len(line)} bytes is over the limit of {self._line_bytes} "
                    "bytes; `limits: {line_bytes: …}` raises it"
                )
            message = jsonrpc.decode(line)
            self.session.receive_line(message, _check(message, line, tail), line)
        except McpnatsdError as fault:
            log.info("message refused", extra={"tail": tail, "error": str(fault)})
            id = jsonrpc.id_in(line)  # noqa: A001
            if not isinstance(message, Response) and (message is not None or tail != _RESPONSE):
                self.send(jsonrpc.error_of(id, fault))
            elif id is not None and tail == _RESPONSE:
                self._fail_request_of_server(id, fault)

    def _fail_request_of_server(self, id: Raw, fault: McpnatsdError) -> None:  # noqa: A002
        """Answer a request of the server in place of its client.

        Told to the client, the error would settle the client's own request of the same id.
        """
        line = jsonrpc.error_of(id, fault)
        if self.session is not None:
            with suppress(McpnatsdError):
                self.session.receive_line(jsonrpc.decode(line), None, line)


class ServedTunnels:
    """The tunnels of one server on one instance."""

    def __init__(self, connection: Connection, *, line_bytes: int, instance: str) -> None:
        self._now = asyncio.get_running_loop().time
        self._connection = connection
        self._line_bytes = line_bytes
        self._blocks = Blocks(instance)
        self._tunnels: dict[str, ServedTunnel] = {}
        self._unwatch: Callable[[], None] | None = None
        self.on_open: Callable[[ServedTunnel], Session] | None = None
        """Set by whoever runs the sessions."""

    def __len__(self) -> int:
        return sum(tunnel.closed_at is None for tunnel in self._tunnels.values())

    def receive(self, incoming: Incoming) -> None:
        """Take a message that opens a tunnel, or belongs to one.

        Raises:
            RemoteProtocolError: It opens what exists already, for somebody else, or where sessions
                are not opened.
            EraMismatch: The server takes no sessions.
        """
        if headers.TUNNEL in incoming.headers:
            self._open(incoming)
            return
        tunnel = self._tunnels.get(incoming.pinned_id)
        if tunnel is None or tunnel.user != incoming.user:
            self._unknown(incoming)
        elif tunnel.receive(incoming, self._now()):
            self._forget(tunnel, "the client left")

    def tick(self) -> None:
        if not self._connection.up:
            return  # an outage says nothing of the clients
        now = self._now()
        for tunnel in list(self._tunnels.values()):
            try:
                if tunnel.tick(now):
                    self._forget(tunnel, "the client vanished")
            except Exception:  # one tunnel must not stop the clock of all
                log.exception("a tunnel's clock failed")

    async def wait_heard(self) -> None:
        """Return when each client has heard that its session is closed, or not for long enough."""
        deadline = self._now() + HEARD_WITHIN
        while self._tunnels and self._now() < deadline:  # noqa: ASYNC110  # it has an end
            await asyncio.sleep(0.02)

    def start(self) -> None:
        """Hear of reconnects, until `stop`. It may be started again."""
        self.stop()
        self._unwatch = self._connection.watch(on_up=self._on_up, on_down=lambda: None)

    def stop(self) -> None:
        unwatch, self._unwatch = self._unwatch, None
        if unwatch is not None:
            unwatch()

    def _open(self, incoming: Incoming) -> None:
        token = incoming.headers[headers.TUNNEL]
        # A grant for another method, or for what belongs to a session, is none for a new session.
        if incoming.tail != eras.INITIALIZE or incoming.tokens[-REQUEST_TOKENS - 1] != b"req":
            raise Mismatch(f"a tunnel is opened where {eras.INITIALIZE} is requested, only")
        known = self._tunnels.get(token)
        if known is not None and known.user == incoming.user:
            known.opened(self._blocks)
            return
        if (
            known is not None
            or len(token) != len("0" * 32)
            or not (token.isascii() and token.isalnum())
        ):
            raise RemoteProtocolError(f"{headers.TUNNEL} must be 128 random bits in hex")
        if not incoming.reply or self.on_open is None:
            raise RemoteProtocolError("a tunnel needs a reply subject")
        now = self._now()
        tunnel = ServedTunnel(self._connection, incoming, line_bytes=self._line_bytes, now=now)
        tunnel.session = self.on_open(tunnel)
        self._tunnels[token] = tunnel
        tunnel.opened(self._blocks)
        tunnel.first(incoming, now)

    def _unknown(self, incoming: Incoming) -> None:
        if not incoming.reply or incoming.frame == Frame.CLOSE:
            return
        fault = InstanceLost("this instance does not know that session any more")
        block = headers.encode([(headers.FRAME, Frame.CLOSE)])
        try:
            self._connection.publish(incoming.reply, jsonrpc.fault_body(fault), headers=block)
        except BusError:
            log.debug("unknown tunnel, and NATS is away")

    def _forget(self, tunnel: ServedTunnel, reason: str) -> None:
        del self._tunnels[tunnel.id]
        session, tunnel.session = tunnel.session, None
        if tunnel.closed_at is None:
            tunnel.closed_at = self._now()
        if session is not None:
            session.client_gone(reason)

    def _on_up(self) -> None:
        now = self._now()
        for tunnel in self._tunnels.values():
            tunnel.reconnected(now)


def _check(message: Message, line: bytes, tail: str) -> str | None:
    """Compare a message with the subject it came on; return what it names."""
    if isinstance(message, Response):
        if tail != subjects.RESPONSE:
            raise Mismatch(f"a response came on a subject that ends in {tail!r}")
        if not _OF_RESPONSES.issuperset(message.members):
            raise RemoteProtocolError("a response has no members beside id, result and error")
        return None
    jsonrpc.refuse_lookalikes(message.members, jsonrpc.MEMBERS)
    if len(jsonrpc.encode(message.members)) != len(line):
        jsonrpc.refuse_duplicates(line)
    name = _name(message)
    if subjects.tail(message.method, name) != tail:
        raise Mismatch(f"the subject ends in {tail!r}, the body says {message.method} {name or ''}")
    return name


def _name(message: Request | Notification) -> str | None:
    if message.method not in subjects.NAMED:
        return None
    params = jsonrpc.params_of(message.members)
    jsonrpc.refuse_lookalikes(params, jsonrpc.NAMING)
    raw = message.members.get("params")
    if raw is not None and len(jsonrpc.encode(params)) != len(bytes(raw)):
        jsonrpc.refuse_duplicates(bytes(raw))
    return name_of(message.method, params)
