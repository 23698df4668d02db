"""One exchange from the side that answers it: frames out, in order, from one publisher."""

import logging
from collections.abc import Callable
from typing import Protocol

from msgspec import Raw

from mcpnatsd.bus import frames_out
from mcpnatsd.bus.connection import Connection
from mcpnatsd.errors import BrokerAway, McpnatsdError, TooLarge
from mcpnatsd.protocol import headers, jsonrpc, parts
from mcpnatsd.protocol.frames import Blocks, Frame
from mcpnatsd.protocol.incoming import Asked, Incoming

log = logging.getLogger(__name__)


class Desk(Protocol):
    """Who keeps an exchange's place: told once, when it is over."""

    connection: Connection
    blocks: Blocks
    prefix_tokens: int

    def ended(self, served: "Served", line: bytes) -> None:
        """Learn the final line; empty when there is none."""

    def now(self) -> float: ...


class Served:
    """A request that arrived, until its final frame has left."""

    __slots__ = (
        "_desk",
        "_tokens",
        "alive_reply",
        "asked",
        "call",
        "ended",
        "error",
        "heard_at",
        "on_cancel",
        "opened_at",
        "reply",
        "seq",
        "spoke_at",
        "user",
    )

    def __init__(self, desk: Desk, incoming: Incoming, asked: Asked) -> None:
        self._desk = desk
        self.asked = asked
        self.reply = incoming.reply
        self.call = incoming.call
        self.user = incoming.user
        self._tokens = incoming.tokens
        self.seq = 0
        self.opened_at = self.spoke_at = self.heard_at = desk.now()
        self.alive_reply = ""
        self.ended = False
        self.error: str | None = None
        """Set before `finish` when the answer tells of a failure: for the statistics."""

        self.on_cancel: Callable[[str], None] | None = None
        """Set by whoever took the request: what to do when its caller gives it up."""

    @property
    def id(self) -> Raw:
        return self.asked.request.id

    @property
    def edge(self) -> str:
        """What names its client in the tokens of its calls; empty when nothing does."""
        return self.call.partition(".")[0]

    @property
    def base(self) -> str:
        """The prefix as this caller published it."""
        own = self._desk.prefix_tokens
        return b".".join(self._tokens[:own]).decode("latin-1")

    @property
    def subject(self) -> str:
        return b".".join(self._tokens).decode("latin-1")

    @property
    def method(self) -> str:
        return self.asked.request.method

    def note(self, line: bytes) -> None:
        """Send a notification. A caller that knows only one answer gets none."""
        if not self.ended and self.call:
            self.spoke_at = self._desk.now()
            self._send(line, self._desk.blocks.note)

    def finish(self, line: bytes) -> None:
        """Send the final response. What comes after it is dropped."""
        if self.ended:
            return
        self.ended = True
        self._desk.ended(self, line)
        if self.asked.bare:
            self._send_bare(line)
        else:
            self._send(self._readable(line), self._desk.blocks.final)

    def fail(self, fault: McpnatsdError) -> None:
        """Answer with an error of ours."""
        if not self.ended:
            self.error = str(fault)
            self.finish(jsonrpc.error_of(self.id, fault))

    def end(self, line: bytes) -> None:
        """End a subscription that its server tore down; `line` is the notification that says so."""
        if self.ended:
            return
        self.note(line)
        self.ended = True
        self._desk.ended(self, b"")
        self._publish(b"", self._desk.blocks.plain(Frame.END))

    def cancelled(self, reason: str) -> None:
        """Give it up for its caller: no frame follows."""
        if self.ended:
            return
        self.ended = True
        self._desk.ended(self, b"")
        if self.on_cancel is not None:
            self.on_cancel(reason)

    def alive(self) -> None:
        self.spoke_at = self._desk.now()
        self._publish(b"", self._desk.blocks.plain(Frame.ALIVE), self.alive_reply)

    def running(self, reply: str) -> None:
        """Tell a caller that asked that its call still runs, and which frames it has sent."""
        self.reply = reply or self.reply
        self.heard_at = self._desk.now()
        self._publish(b"", self._desk.blocks.running(self.seq))

    def receive(self, _reply: bytes, _body: bytes, block: bytes | None) -> None:
        """Take the answer to a keep-alive. "No responders" is a hint, never a verdict."""
        if "" not in headers.parse_again(block):
            self.heard_at = self._desk.now()

    def _send(self, line: bytes, block: Callable[[int, str], bytes]) -> None:
        desk = self._desk
        if not self.reply:
            return
        try:
            self.seq = frames_out.send(
                desk.connection, desk.blocks, self.reply, line, block, self.seq
            )
        except BrokerAway:
            # The caller asks after its call once NATS is back.
            log.debug("frame not sent: NATS is away", extra={"call": self.call})

    def _readable(self, line: bytes) -> bytes:
        """Return a final line as its caller can read it: without `Mcp-Call`, in one message."""
        most = self._desk.connection.max_payload
        if self.call or parts.fits(len(line), most):
            return line
        text = f"the answer of {len(line)} bytes needs parts: send {headers.CALL} to get them"
        return jsonrpc.error_of(self.id, TooLarge(text))

    def _send_bare(self, line: bytes) -> None:
        """Answer a caller that sent a tool's arguments and knows nothing of MCP."""
        members = jsonrpc.split(line)
        if "error" not in members:
            self._publish(bytes(members["result"]), b"")
            return
        error = jsonrpc.object_of(members, "error")
        text = jsonrpc.text_of(error, "message") or "error"
        code = str(jsonrpc.key_of(error.get("code")) or -32603)
        pairs = [(headers.ERROR, headers.safe(text)), (headers.ERROR_CODE, code)]
        self._publish(bytes(members["error"]), headers.encode(pairs))

    def _publish(self, body: bytes, block: bytes, reply: str = "") -> None:
        if not self.reply:
            return
        try:
            self._desk.connection.publish(self.reply, body, reply=reply, headers=block)
        except BrokerAway:
            log.debug("frame not sent: NATS is away", extra={"call": self.call})
        except TooLarge as fault:
            # A caller without `Mcp-Wire` takes one message only.
            log.warning("answer too large for a bare caller", extra={"error": str(fault)})
            code = str(fault.jsonrpc_code)
            pairs = [(headers.ERROR, headers.safe(str(fault))), (headers.ERROR_CODE, code)]
            self._desk.connection.publish(self.reply, b"", headers=headers.encode(pairs))


class Backend(Protocol):
    """What answers the requests of one server. Handed to the responder by whoever builds it."""

    def receive_request(self, served: Served) -> None:
        """Take an exchange; finish it sooner or later, whatever happens."""

    def receive_notification(self, line: bytes) -> None:
        """Take a notification that belongs to no exchange."""

    def client_left(self, user: str, client: str) -> None:
        """Learn that a client is gone; what is kept for it alone can go."""

    def tool_names(self) -> tuple[str, ...]:
        """Return the tools known by now, allowed ones only."""
