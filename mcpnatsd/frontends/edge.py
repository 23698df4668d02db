"""One MCP client at the edge of the bus: its lines in, its lines out.

It checks what the client sends, decides the era at the first message that shows one, and sends
modern requests as exchanges; a legacy client gets a session. It does not know whether the
client is at a pipe or at a socket.
"""

import logging
import re
import secrets
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.bus.call import Call, Phase
from mcpnatsd.errors import (
    Busy,
    EraMismatch,
    McpnatsdError,
    ProtocolError,
    RemoteProtocolError,
    TooLarge,
)
from mcpnatsd.frontends.edge_bus import EdgeBus
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.session import Session
from mcpnatsd.protocol import eras, jsonrpc, outgoing
from mcpnatsd.protocol.eras import Era
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request
from mcpnatsd.protocol.lines import Oversize
from mcpnatsd.protocol.tunnel import WINDOW_BYTES

log = logging.getLogger(__name__)

_BOM: Final = b"\xef\xbb\xbf"

_STARTS_RESPONSE: Final = re.compile(
    rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*|"id"\s*:\s*(?:"(?:[^"\\]|\\.){0,100}"|-?\d{1,18})\s*,\s*)*'
    rb'"(?:result|error)"\s*:'
)
_split: Final = msgspec.json.Decoder(Members).decode


class Edge:
    """A client of one server. Everything here is synchronous; `tick` is called twice a second."""

    def __init__(self, bus: EdgeBus, server: str, output: Output, *, tunnels: bool = True) -> None:
        """Without `tunnels` a legacy client is translated, whatever the server is."""
        self.edge = secrets.token_hex(16)
        """Names this client in the tokens of its calls: whoever knows one can cancel it."""

        self.era: Era | None = None
        self._bus = bus
        self._server = server
        self._output = output
        self._calls: dict[Key, Call] = {}
        self._session = Session(bus, server, output, self.edge, tunnels=tunnels)

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer. Subscriptions do not count."""
        listens = sum(call.outgoing.method == eras.LISTEN for call in self._calls.values())
        return len(self._calls) > listens or self._session.in_flight > 0

    @property
    def shares(self) -> bool:
        """Whether the server has no process for this client alone, as far as is known."""
        return self.era is Era.MODERN or self._session.shares

    @property
    def full(self) -> bool:
        """Whether to stop reading the client for now."""
        connection = self._bus.connection
        if self._session.full or connection.congested:
            return True
        return not connection.connected and self._held_bytes >= WINDOW_BYTES

    @property
    def _held_bytes(self) -> int:
        held = (call for call in self._calls.values() if call.phase is Phase.HELD)
        return sum(len(call.outgoing.line) for call in held)

    def receive_line(self, line: bytes) -> None:
        """Take one line of the client; what is wrong with it is answered here."""
        line = jsonrpc.single_line(line.removeprefix(_BOM))
        if not line or line.isspace():
            return
        try:
            message = jsonrpc.decode(line)
        except ProtocolError as fault:
            self._refuse(line, fault)
        else:
            self.receive(message, line)

    def receive(self, message: Message, line: bytes) -> None:
        """Take one message of the client, and the line it came in, which holds nothing else."""
        try:
            self._receive(message, line)
        except ProtocolError as fault:
            self._refuse(line, fault)

    def _refuse(self, line: bytes, fault: ProtocolError) -> None:
        if _is_response(line):
            self._refuse_response(jsonrpc.id_in(line), fault)
        else:
            self._output.write(jsonrpc.error_of(jsonrpc.id_in(line), fault))

    def receive_oversize(self, skipped: Oversize, limit: int) -> None:
        """Answer a line that was skipped because of its size."""
        fault = TooLarge(f"a line of {skipped.size} bytes is over the limit of {limit}: skipped")
        key = jsonrpc.id_at_ends(skipped.head, skipped.tail)
        id = None if key is None else Raw(jsonrpc.encode(key))  # noqa: A001
        if _STARTS_RESPONSE.match(skipped.head):
            self._refuse_response(id, fault)
        else:
            self._output.write(jsonrpc.error_of(id, fault))

    def gone(self) -> None:
        """Give up what is open: the client is not there any more."""
        self._output.closed = True
        for call in list(self._calls.values()):
            self._bus.requester.cancel(call, "the client is gone")
        self._calls.clear()
        self._session.gone()
        self._bus.requester.leave(self.edge)

    def tick(self, now: float) -> None:
        self._session.tick(now)

    # From the client.

    def _receive(self, message: Message, line: bytes) -> None:
        if self.era is Era.LEGACY and self._session.active:
            self._session.receive(message, line)
        elif isinstance(message, Request):
            self._receive_request(message, line)
        elif isinstance(message, Notification):
            self._receive_notification(message, line)
        # A response before any session: nobody asked for it.

    def _refuse_response(self, id: Raw | None, fault: McpnatsdError) -> None:  # noqa: A002
        """Tell the server. Its id is the server's: the client may have a request of that id."""
        log.info("response refused", extra={"error": str(fault)})
        if id is not None and self._session.active:
            self._session.refuse_response(id, fault)

    def _receive_request(self, request: Request, line: bytes) -> None:
        params = jsonrpc.params_of(request.members)
        meta = jsonrpc.object_of(params, eras.META)
        revision = eras.requested_revision(meta)
        if request.method == eras.INITIALIZE and revision is None:
            self._open_legacy(request, line)
        elif revision is not None or request.method == eras.DISCOVER:
            self._open_call(request, line, params, meta)
        elif request.method == eras.PING:
            # 2025-11-25, Basic, Lifecycle: a ping may come before `initialize`.
            self._output.write(jsonrpc.result(request.id, {}))
        else:
            raise RemoteProtocolError(
                f"{request.method} came before initialize, and without "
                f'params._meta["{eras.PROTOCOL_VERSION}"]: it belongs to no era'
            )

    def _open_legacy(self, request: Request, line: bytes) -> None:
        if self.era is Era.MODERN:
            requested = eras.requested_by_initialize(request)
            fault = EraMismatch(
                f"this client has sent requests of MCP {eras.MODERN_REVISIONS[0]}: "
                f"a session of {requested} needs a connection of its own",
                supported=eras.MODERN_REVISIONS,
                requested=requested,
            )
            self._output.write(jsonrpc.error_of(request.id, fault))
            return
        self.era = Era.LEGACY
        self._session.receive(request, line)

    def _open_call(self, request: Request, line: bytes, params: Members, meta: Members) -> None:
        key = jsonrpc.key_of(request.id)
        if key is None or key in self._calls:
            raise RemoteProtocolError("a request with this id is in flight already")
        if request.method != eras.DISCOVER:
            self.era = Era.MODERN
        asked = outgoing.read(request, line, params, meta)
        self._calls[key] = self._bus.requester.open(self._server, asked, self)

    def _receive_notification(self, note: Notification, line: bytes) -> None:
        params = jsonrpc.params_of(note.members)
        if note.method != eras.CANCELLED:
            if self.era is Era.MODERN:
                self._bus.tell(self._server, note.method, line)
            return
        key = jsonrpc.key_of(params.get("requestId"))
        call = self._calls.pop(key, None) if key is not None else None
        if call is not None:
            self._bus.requester.cancel(call, jsonrpc.text_of(params, "reason") or "")

    # From the bus.

    def receive_note(self, call: Call, line: bytes) -> None:
        if self._output.too_slow:
            self._give_up(call)
        else:
            self._output.write(line)

    def receive_final(self, call: Call, line: bytes) -> None:
        if self._output.too_slow:
            self._give_up(call)
            return
        self._forget(call)
        self._output.write(line)

    def receive_end(self, call: Call) -> None:
        """A subscription is over. The client was told if its server said so; tell it otherwise."""
        self._forget(call)
        if call.outgoing.method == eras.LISTEN and not call.told_end:
            params = {"requestId": jsonrpc.value_of(call.outgoing.id), "reason": "it was lost"}
            self._output.write(jsonrpc.notification(eras.CANCELLED, params))

    def failed(self, call: Call, fault: McpnatsdError) -> None:
        self._forget(call)
        self._output.write(jsonrpc.error_of(call.outgoing.id, fault))

    def _give_up(self, call: Call) -> None:
        fault = Busy("this client does not read its answers; 32 MiB wait for it")
        self._bus.requester.cancel(call, str(fault))
        self.failed(call, fault)

    def _forget(self, call: Call) -> None:
        key = jsonrpc.key_of(call.outgoing.id)
        if key is not None:
            self._calls.pop(key, None)


def _is_response(line: bytes) -> bool:
    """Tell what a line that is refused was meant to be."""
    try:
        members = _split(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return "method" not in members and ("result" in members or "error" in members)
