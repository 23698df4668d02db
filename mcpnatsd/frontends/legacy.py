"""A legacy client's session in a tunnel, kept alive over instances that come and go.

Lines pass through a tunnel byte for byte. What is remembered is only what a new instance must be
told to be in the same state: the handshake, the log level, the subscriptions.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Raw

from mcpnatsd.bus.tunnel_client import Tunnel
from mcpnatsd.errors import BrokerAway, McpnatsdError, ProtocolError, RemoteProtocolError
from mcpnatsd.frontends.edge_bus import EdgeBus
from mcpnatsd.frontends.held import Held, HeldLines, tail_of
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Key, Message, Notification, Request, Response
from mcpnatsd.protocol.replay import REPLAY_ID, Replay
from mcpnatsd.protocol.tunnel import WINDOW_BYTES

log = logging.getLogger(__name__)

HOLD_FOR: Final = 10.0
"""Seconds that a request waits for NATS before it fails legibly."""

REOPEN_PATIENCE: Final = 15.0
"""Seconds for which a new instance is looked for, after one is gone."""

REOPEN_PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the first, second … attempt in a row to open the session anew."""


class State(Enum):
    NEW = auto()  # no `initialize` yet, or it failed
    OPENING = auto()  # the client's own `initialize` is on its way
    OPEN = auto()
    REOPENING = auto()  # the handshake is replayed on a new instance
    LOST = auto()  # between two attempts


class TunnelledClient:
    """One client's session."""

    def __init__(
        self,
        bus: EdgeBus,
        server: str,
        output: Output,
        on_refused: Callable[[bytes, list[bytes]], bool],
    ) -> None:
        """`on_refused` gets the error that answers `initialize`, and the lines that wait behind it.

        It says whether it sees to both: then the client hears nothing from here.
        """
        self._now = asyncio.get_running_loop().time
        self._bus = bus
        self._server = server
        self._output = output
        self._on_refused = on_refused
        self._state = State.NEW
        self._tunnel: Tunnel | None = None
        self._replay = Replay()
        self._in_flight: dict[Key, Raw] = {}
        self._opening_key: Key | None = None
        self._held = HeldLines()
        self._attempts = 0
        self._reopen_at = 0.0
        self._lost_at = 0.0
        self._unwatch = bus.connection.watch(on_up=self._flush_held, on_down=lambda: None)
        self._unwatch_denied = bus.connection.watch_denied(self._denied)

    @property
    def active(self) -> bool:
        """Whether the client has a session, or one is being opened."""
        return self._state is not State.NEW

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def full(self) -> bool:
        tunnel_full = self._tunnel is not None and self._tunnel.full
        return tunnel_full or self._held.bytes >= WINDOW_BYTES

    def receive(self, message: Message, line: bytes) -> None:
        """Take a message of the client.

        Raises:
            RemoteProtocolError: It must name something and does not, or its id is in flight.
        """
        tail = tail_of(message)
        if isinstance(message, Request) and message.method == eras.PING and self._apart:
            # A host that gets no answer to a ping ends the shim, and all that waits in it.
            self._output.write(jsonrpc.result(message.id, {}))
            return
        key = self._note(message, line)
        if self._state is State.NEW:
            self._open(line, key)
            return
        if self._state is State.OPENING and isinstance(message, Response) and self._tunnel:
            self._tunnel.send(line, tail)  # a server may ask before it answers `initialize`
            return
        self._held.add(Held(line, tail, key, self._now()))
        if self._state is State.LOST and key is not None and self._bus.connection.connected:
            self._reopen()  # somebody waits now
        self._flush_held()

    def _note(self, message: Message, line: bytes) -> Key | None:
        """Remember what a message means for the session; return the id that waits for an answer."""
        if isinstance(message, Response):
            return None
        key = jsonrpc.key_of(message.id) if isinstance(message, Request) else None
        if key is not None and key in self._in_flight:
            raise RemoteProtocolError("a request with this id is in flight already")
        # What is refused here is not in flight: its sender is told at once, and by one answer.
        self._replay.observe(message, line)
        self._forget_cancelled(message)
        if isinstance(message, Request) and key is not None:
            self._in_flight[key] = message.id.copy()
        return key

    def refuse_response(self, id: Raw, fault: McpnatsdError) -> None:  # noqa: A002
        """Fail a request of the server whose answer, the client's, goes no further."""
        line = jsonrpc.error_of(id, fault)
        self.receive(jsonrpc.decode(line), line)

    @property
    def _apart(self) -> bool:
        """Whether the server is out of reach for now, or not there yet."""
        lost = self._state in (State.OPENING, State.LOST, State.REOPENING)
        return lost or (self._state is State.OPEN and not self._bus.connection.connected)

    def gone(self) -> None:
        """End the session: the client is not there any more."""
        self._unwatch()
        self._unwatch_denied()
        tunnel, self._tunnel = self._tunnel, None  # which refers to us
        if tunnel is not None:
            tunnel.close()
        self._state = State.NEW

    def tick(self, now: float) -> None:
        """Keep the clocks."""
        if self._tunnel is not None:
            self._tunnel.hold(yes=self._output.too_slow)
            self._tunnel.tick(now)
        if not self._bus.connection.connected:
            self._fail_overdue(now)
        elif self._state is State.LOST and now >= self._reopen_at:
            self._reopen()

    # From the tunnel.

    def receive_line(self, line: bytes) -> None:
        """Take a line of the server."""
        try:
            message = jsonrpc.decode(line)
        except ProtocolError as fault:
            log.debug("line dropped", extra={"error": str(fault)})
            return
        if isinstance(message, Response):
            key = jsonrpc.key_of(message.id)
            if self._replay.is_ours(key):
                self._replayed(key, message)
                return
            if not self._settle(key):
                return  # answered or given up already
            if self._state is State.OPEN:
                self._attempts = 0  # only an answer proves that it works, not a handshake
            if self._state is State.OPENING and key == self._opening_key:
                self._receive_opening(message, line)
                return
        self._output.write(line)
        if self._tunnel is not None and self._output.too_slow:
            self._tunnel.hold(yes=True)  # at once: a whole window may be on its way

    def closed(self, fault: McpnatsdError, untaken: list[tuple[bytes, str]]) -> None:
        """Learn that the tunnel is over: fail what may have run, keep what surely did not."""
        self._tunnel = None
        if self._state in (State.OPENING, State.NEW):
            self._opening_failed(fault)
            return
        if self._state is State.REOPENING:
            self._reopening_failed(fault)
            return
        log.warning("session lost; it is opened anew", extra={"reason": str(fault)})
        self._keep_untaken(untaken)
        self._fail_in_flight(fault)
        self._lost_at = self._now()
        self._lost()

    def refused(self, line: bytes, fault: McpnatsdError) -> None:
        """Answer one request that NATS did not take; the session goes on."""
        message = jsonrpc.decode(line)
        if isinstance(message, Request):
            self._refuse(jsonrpc.key_of(message.id), fault)

    def room(self) -> None:
        """The window has room again: reading goes on by itself."""

    # Opening.

    def _open(self, line: bytes, key: Key | None) -> None:
        self._state, self._opening_key = State.OPENING, key
        self._start_tunnel(line, patience=0.0)

    def _start_tunnel(self, initialize: bytes, *, patience: float) -> None:
        bus = self._bus
        self._tunnel = Tunnel(
            bus.connection, bus.inbox, bus.prefix, self._server, self, patience=patience
        )
        self._tunnel.open(initialize)

    def _receive_opening(self, message: Response, line: bytes) -> None:
        """Take the answer to `initialize`. Others may come before it: of what was refused."""
        if not message.is_error:
            self._output.write(line)
            self._state = State.OPEN
            self._flush_held()
            return
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.close()
        self._opening_failed(jsonrpc.reported(line), line)

    def _opening_failed(self, fault: McpnatsdError, refusal: bytes = b"") -> None:
        """Answer all that came since `initialize`: the client may try again, or otherwise."""
        self._state = State.NEW
        held = self._held.take_all()
        raw = self._settle_opening()
        if raw is not None:
            refusal = jsonrpc.error_of(raw, fault)
        if refusal and self._on_refused(refusal, [one.line for one in held]):
            self._in_flight.clear()
            return
        if refusal:
            self._output.write(refusal)
        self._fail_in_flight(fault)

    def _settle_opening(self) -> Raw | None:
        """Return the id of `initialize`, when it is not answered yet."""
        key = self._opening_key
        return None if key is None else self._in_flight.pop(key, None)

    def _lost(self) -> None:
        self._state = State.LOST
        pause = REOPEN_PAUSES[min(self._attempts, len(REOPEN_PAUSES) - 1)]
        self._attempts += 1
        self._reopen_at = self._now() + pause
        if pause == 0.0:
            self._reopen()

    def _reopen(self) -> None:
        self._state = State.REOPENING
        self._start_tunnel(self._replay.initialize(), patience=REOPEN_PATIENCE)

    def _replayed(self, key: Key | None, response: Response) -> None:
        """Go on with the replay; what its answers say is not the client's business."""
        if key != REPLAY_ID or self._tunnel is None or self._state is not State.REOPENING:
            return
        if response.is_error:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.close()
            self._reopening_failed(jsonrpc.reported(jsonrpc.encode(response.members)))
            return
        for line, tail in self._replay.rest():
            self._tunnel.send(line, tail)
        log.warning("session opened anew", extra={"server": self._server})
        self._state = State.OPEN
        self._flush_held()

    def _reopening_failed(self, fault: McpnatsdError) -> None:
        if self._now() - self._lost_at < REOPEN_PATIENCE:
            self._lost()  # the one that was asked may be as dead as the last
            return
        for held in self._held.take_all():
            self._refuse(held.key, fault)
        self._lost()

    # What waits.

    def _flush_held(self) -> None:
        """Send what waited, in order, as far as there is a session to send it to.

        Before `initialize` is answered there is none: the server may turn out to be a modern one.
        """
        if self._state is not State.OPEN or self._tunnel is None:
            return
        while self._held and self._bus.connection.connected:
            held = self._held.next()
            self._tunnel.send(held.line, held.tail)

    def _fail_overdue(self, now: float) -> None:
        """Answer requests that wait for NATS for too long. Notifications and answers are kept."""
        fault = BrokerAway("NATS is not reachable; the request was not sent")
        for held in self._held.take_all():
            if held.key is not None and now - held.at >= HOLD_FOR:
                self._refuse(held.key, fault)
            else:
                self._held.add(held)
        tunnel = self._tunnel
        if self._state is State.OPENING and tunnel is not None and tunnel.waits(now) >= HOLD_FOR:
            tunnel.close()
            self.closed(fault, [])

    def _keep_untaken(self, untaken: list[tuple[bytes, str]]) -> None:
        for line, tail in reversed(untaken):
            message = jsonrpc.decode(line)
            key = jsonrpc.key_of(message.id) if isinstance(message, Request) else None
            if not self._replay.is_ours(key):
                self._held.put_back(Held(line, tail, key, self._now()))

    def _fail_in_flight(self, fault: McpnatsdError) -> None:
        held = {one.key for one in self._held}
        for key in [key for key in self._in_flight if key not in held]:
            self._refuse(key, fault)

    def _refuse(self, key: Key | None, fault: McpnatsdError) -> None:
        raw = self._in_flight.pop(key, None) if key is not None else None
        if raw is not None:
            self._output.write(jsonrpc.error_of(raw, fault))

    def _settle(self, key: Key | None) -> bool:
        """Note an answer; say whether the client waits for it."""
        return key is None or self._in_flight.pop(key, None) is not None

    def _forget_cancelled(self, message: Request | Notification) -> None:
        if message.method == eras.CANCELLED:
            key = jsonrpc.key_of(jsonrpc.params_of(message.members).get("requestId"))
            # 2025-11-25, Cancellation: `initialize` "MUST NOT be cancelled".
            if key is not None and (self._state is not State.OPENING or key != self._opening_key):
                self._in_flight.pop(key, None)

    def _denied(self, kind: str, subject: str) -> None:
        if self._tunnel is not None:
            self._tunnel.denied(kind, subject)
