"""What a legacy client hears of unasked: one `subscriptions/listen` at a modern server.

When what the client wants to hear changes, another one is opened, and the old one is given up as
soon as the new one is acknowledged. One that is lost is opened again.
"""

import asyncio
import logging
import weakref
from collections.abc import Iterable
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.bus.call import Call
from mcpnatsd.errors import (
    Busy,
    CallTimeout,
    InstanceLost,
    McpnatsdError,
    ProtocolError,
    RemoteProtocolError,
)
from mcpnatsd.frontends.edge_bus import Opener
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import eras, jsonrpc, listening, outgoing, to_modern
from mcpnatsd.protocol.jsonrpc import Key, Members, Notification, Request, Response
from mcpnatsd.protocol.listening import ACK_WITHIN, Filter, Listening, Settled

log = logging.getLogger(__name__)

_METHOD: Final = Raw(jsonrpc.encode(eras.LISTEN))


class Home(Protocol):
    """The session that it belongs to."""

    edge: str
    server: str

    requester: Opener
    output: Output
    stamp: Members
    """What the `_meta` of the client's requests says."""

    @property
    def connected(self) -> bool:
        """Whether NATS is there."""

    def fresh_id(self) -> str:
        """Return an id that was never used in this session."""


class Listener:
    """Owns at most two listens: the one that is open, and the one that takes its place."""

    def __init__(self, home: Home, capabilities: Members) -> None:
        self.edge = home.edge
        self._now = asyncio.get_running_loop().time
        self._home: Home = weakref.proxy(home)  # it owns us, and must not wait for the collector
        self._wants = Listening(capabilities)
        self._open: Call | None = None
        self._opening: Call | None = None
        self._asked_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests of the client that wait for the server to agree."""
        return self._wants.waiting

    def waits(self, key: Key) -> bool:
        return self._wants.waits(key)

    def start(self) -> None:
        """Begin: the client is ready to hear."""
        self._wants.start()
        self._advance()

    def fetched(self, method: str) -> None:
        """Note that the client got a list."""
        self._wants.fetched(method)

    def receive(self, request: Request, key: Key) -> None:
        """Take a request to subscribe to a resource, or not to any more.

        Raises:
            RemoteProtocolError: It names no resource.
        """
        uri = jsonrpc.text_of(jsonrpc.params_of(request.members), "uri")
        if uri is None:
            raise RemoteProtocolError(f"{request.method} needs a string in params.uri")
        if request.method == eras.SUBSCRIBE:
            self._settle(self._wants.subscribe(key, request.id, uri))
        else:
            self._settle(self._wants.unsubscribe(key, request.id, uri))
        self._advance()

    def cancel(self, key: Key) -> bool:
        """Forget a request of the client; say whether there was one."""
        found = self._wants.forget(key)
        if found:
            self._advance()
        return found

    def gone(self) -> None:
        """Give up what is open."""
        for call in (self._open, self._opening):
            if call is not None:
                self._home.requester.cancel(call, "the client is gone")
        self._open = self._opening = None

    def tick(self, now: float) -> None:
        if self._opening is not None and now - self._asked_at >= ACK_WITHIN:
            self._home.requester.cancel(self._opening, "no acknowledgement came")
            self._refused(
                CallTimeout(f"the server did not say in {ACK_WITHIN:.0f} s what it tells")
            )
        self._advance()

    def _advance(self) -> None:
        """Listen to what is wanted, if that is not what is listened to."""
        if self._wants.unwanted and self._open is not None:
            self._home.requester.cancel(self._open, "nobody wants to hear it any more")
            self._open = None
            self._settle(self._wants.closed())
        if self._home.output.too_slow or not (self._home.connected or self._wants.waiting):
            return
        wanted = self._wants.next(self._now())
        if wanted is not None:
            self._listen(wanted)

    def _listen(self, wanted: Filter) -> None:
        id = Raw(jsonrpc.encode(self._home.fresh_id()))  # noqa: A001
        params = Raw(jsonrpc.encode(wanted.params))
        members: Members = {"jsonrpc": Raw(b'"2.0"'), "id": id, "method": _METHOD, "params": params}
        request = Request(id, eras.LISTEN, members)
        line, split, meta = to_modern.stamped(request, self._home.stamp)
        asked = outgoing.read(request, line, split, meta)
        self._asked_at = self._now()
        self._opening = self._home.requester.open(self._home.server, asked, self)

    # From the bus.

    def receive_note(self, call: Call, line: bytes) -> None:
        if self._home.output.too_slow:
            self._home.requester.cancel(call, "the client does not read")
            self._ended(call, Busy("this client does not read what it subscribed to"))
            return
        try:
            note = jsonrpc.decode(line)
        except ProtocolError as fault:
            log.debug("line dropped", extra={"error": str(fault)})
            return
        if isinstance(note, Notification):
            self._receive(call, note, line)

    def receive_final(self, call: Call, line: bytes) -> None:
        try:
            response = jsonrpc.decode(line)
            is_error = isinstance(response, Response) and response.is_error
        except ProtocolError:
            is_error = False
        text = f"{self._home.server!r} ended the subscription before it began"
        self._ended(call, jsonrpc.reported(line) if is_error else InstanceLost(text))

    def receive_end(self, call: Call) -> None:
        self._ended(call, InstanceLost(f"the subscription at {self._home.server!r} was lost"))

    def failed(self, call: Call, fault: McpnatsdError) -> None:
        self._ended(call, fault)

    def _receive(self, call: Call, note: Notification, line: bytes) -> None:
        if note.method == listening.ACKNOWLEDGED:
            if call is self._opening:
                self._acknowledged(call, note)
        elif note.method == eras.CANCELLED:
            pass  # the end follows
        elif note.method == eras.MESSAGE:
            self._home.output.write(line)  # of any request of this client: it has the process
        elif call is self._open:
            params = to_modern.without_subscription(jsonrpc.params_of(note.members))
            self._home.output.write(jsonrpc.encode({**note.members, "params": params}))

    def _acknowledged(self, call: Call, note: Notification) -> None:
        old, self._open, self._opening = self._open, call, None
        if old is not None:
            self._home.requester.cancel(old, "another one took its place")
        settled, missed = self._wants.acknowledged(note, self._now())
        self._settle(settled)
        for line in missed:
            self._home.output.write(line)
        self._advance()

    def _ended(self, call: Call, fault: McpnatsdError) -> None:
        if call is self._opening:
            self._refused(fault)
        elif call is self._open:
            log.info("subscriptions lost; they are opened anew", extra={"reason": str(fault)})
            self._open = None
            self._settle(self._wants.lost(self._now()))
        self._advance()

    def _refused(self, fault: McpnatsdError) -> None:
        log.info("the server takes no subscriptions", extra={"reason": str(fault)})
        self._opening = None
        self._settle(self._wants.refused(fault, self._now()))

    def _settle(self, settled: Iterable[Settled]) -> None:
        for one in settled:
            if one.fault is None:
                self._home.output.write(jsonrpc.result(one.id, {}))
            else:
                self._home.output.write(jsonrpc.error_of(one.id, one.fault))
