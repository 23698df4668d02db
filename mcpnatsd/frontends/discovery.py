"""What a client's edge finds out before it translates: a modern server, and what it offers.

While the answer is on its way, what the client sends is held in its order.
"""

import logging
from collections import deque
from typing import Final, NamedTuple, Protocol

from msgspec import Raw

from mcpnatsd.bus.call import Call
from mcpnatsd.errors import InstanceLost, McpnatsdError, ProtocolError, RemoteProtocolError
from mcpnatsd.frontends.edge_bus import Opener
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import eras, jsonrpc, outgoing, to_modern
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response
from mcpnatsd.protocol.to_modern import Introduced
from mcpnatsd.protocol.tunnel import WINDOW_BYTES

log = logging.getLogger(__name__)

_ID: Final = Raw(b'"mcpnatsd-discover"')


class Discovered(NamedTuple):
    """A modern server, found for a legacy client."""

    client: Introduced
    result: Members
    has_process: bool
    """Whether the server's process is this client's alone."""


class Owner(Protocol):
    """Whoever wants to know."""

    def discovered(self, found: Discovered) -> None: ...

    def not_discovered(self, fault: McpnatsdError) -> None: ...


class Discovery:
    """Asks once. Owner of the one exchange that this takes."""

    def __init__(self, requester: Opener, server: str, output: Output, edge: str) -> None:
        self.edge = edge
        self._requester = requester
        self._server = server
        self._output = output
        self._call: Call | None = None
        self._held: deque[tuple[Message, bytes]] = deque()
        self._held_bytes = 0
        self._held_keys: set[Key | None] = set()

    def open(self, initialize: Request, owner: Owner) -> None:
        """Ask what the server is, in the name of the client that sent `initialize`.

        Raises:
            RemoteProtocolError: The `params` of `initialize` are no object.
        """
        self._owner = owner
        self._client = to_modern.introduced(initialize)
        self._held_keys.add(jsonrpc.key_of(initialize.id))
        members: Members = {
            "jsonrpc": Raw(b'"2.0"'),
            "id": _ID,
            "method": Raw(jsonrpc.encode(eras.DISCOVER)),
        }
        request = Request(_ID, eras.DISCOVER, members)
        line, params, meta = to_modern.stamped(request, self._client.stamp)
        asked = outgoing.read(request, line, params, meta)
        self._call = self._requester.open(self._server, asked, self)

    @property
    def in_flight(self) -> int:
        return len(self._held_keys)

    @property
    def full(self) -> bool:
        return self._held_bytes >= WINDOW_BYTES

    def hold(self, message: Message, line: bytes) -> None:
        """Keep a message until it is known where it goes; a ping is answered.

        Raises:
            RemoteProtocolError: A request with this id is in flight.
        """
        if isinstance(message, Request):
            key = jsonrpc.key_of(message.id)
            if key in self._held_keys:
                raise RemoteProtocolError("a request with this id is in flight already")
            if message.method == eras.PING:
                self._output.write(jsonrpc.result(message.id, {}))
                return
            self._held_keys.add(key)
        elif isinstance(message, Notification) and message.method == eras.CANCELLED:
            self._drop(jsonrpc.key_of(jsonrpc.params_of(message.members).get("requestId")))
            return
        self._held.append((message, line))
        self._held_bytes += len(line)

    def take_held(self) -> deque[tuple[Message, bytes]]:
        """Return what waits, which then waits no more."""
        held, self._held, self._held_bytes = self._held, deque(), 0
        self._held_keys.clear()
        return held

    def gone(self) -> None:
        """Give up: the client is not there any more."""
        call, self._call = self._call, None
        if call is not None:
            self._requester.cancel(call, "the client is gone")

    def _drop(self, key: Key | None) -> None:
        """Forget a request that was cancelled before it went anywhere."""
        for number, (message, line) in enumerate(self._held):
            if isinstance(message, Request) and jsonrpc.key_of(message.id) == key:
                del self._held[number]
                self._held_bytes -= len(line)
                self._held_keys.discard(key)
                return

    # From the bus.

    def receive_note(self, _call: Call, line: bytes) -> None:
        log.debug("note dropped: nothing is said before the answer", extra={"bytes": len(line)})

    def receive_final(self, call: Call, line: bytes) -> None:
        self._call = None
        try:
            response = jsonrpc.decode(line)
        except ProtocolError as fault:
            self._owner.not_discovered(fault)
            return
        if not isinstance(response, Response) or response.is_error:
            self._owner.not_discovered(jsonrpc.reported(line))
            return
        verdict = eras.verdict_of_discover(response)
        if verdict.modern:
            result = jsonrpc.object_of(response.members, "result")
            self._owner.discovered(Discovered(self._client, result, call.pinned is not None))
        else:
            revision = self._client.revision
            self._owner.not_discovered(eras.mismatch(self._server, verdict, revision))

    def receive_end(self, _call: Call) -> None:
        self._call = None
        self._owner.not_discovered(InstanceLost(f"{self._server!r} did not say what it is"))

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        self._call = None
        self._owner.not_discovered(fault)
