"""One request of a legacy client to a modern server, over as many rounds as it takes.

Each round is an exchange. What the server asks back becomes requests to the client, and their
answers go along with the retry.
"""

import asyncio
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
from mcpnatsd.protocol import jsonrpc, outgoing, to_modern
from mcpnatsd.protocol.input_rounds import Ask, Rounds
from mcpnatsd.protocol.jsonrpc import Key, Response
from mcpnatsd.protocol.outgoing import Outgoing

ANSWER_WITHIN: Final = 600.0
"""Seconds for a client to answer all that it was asked in one round. A person may be thinking."""

PAUSES: Final = (0.05, 0.1, 0.2, 0.25)
"""Seconds before the first, second … retry that nobody was asked anything for."""


class Home(Protocol):
    """The session that a call belongs to."""

    edge: str
    server: str
    requester: Opener
    output: Output
    offers: frozenset[str]
    """What the client may be asked."""

    def fresh_id(self) -> str:
        """Return an id that was never used in this session."""

    def ask(self, call: "TranslatedCall", ask: Ask) -> str:
        """Ask the client; return the id under which it was asked.

        Raises:
            Busy: It was asked too much already.
        """

    def unask(self, id: str, reason: str) -> None:  # noqa: A002
        """Tell the client that nobody waits for that answer any more."""

    def over(self, call: "TranslatedCall") -> None:
        """Learn that the client has its answer, or wants none."""

    def fetched(self, method: str) -> None: ...


class TranslatedCall:
    """Owns its exchanges, one after the other."""

    __slots__ = ("_asked", "_call", "_deadline", "_home", "_pause", "_request", "_rounds", "edge")

    def __init__(self, home: Home, request: Outgoing) -> None:
        self.edge = home.edge
        self._home = home
        self._request = request
        """As it was sent first: the client's id stands there."""

        self._rounds: Rounds | None = None
        self._call: Call | None = None
        self._asked: dict[str, str] = {}
        """What the client was asked and has not answered: our id, the server's key."""

        self._deadline = 0.0
        self._pause: asyncio.TimerHandle | None = None

    @property
    def key(self) -> Key | None:
        return jsonrpc.key_of(self._request.id)

    @property
    def exchange(self) -> Call | None:
        """The exchange that runs; None while the client is asked."""
        return self._call

    def start(self) -> None:
        self._call = self._home.requester.open(self._home.server, self._request, self)

    def give_up(self, reason: str) -> None:
        """End it wherever it is: nobody waits for an answer."""
        self._home.over(self)
        if self._pause is not None:
            self._pause.cancel()
        call, self._call = self._call, None
        if call is not None:
            self._home.requester.cancel(call, reason)
        for id in self._asked:  # noqa: A001
            self._home.unask(id, reason)
        self._asked = {}

    def tick(self, now: float) -> None:
        if self._asked and now >= self._deadline:
            text = f"the client did not answer the server's questions in {ANSWER_WITHIN:.0f} s"
            self._fail(CallTimeout(text))

    def answered(self, id: str, response: Response) -> None:  # noqa: A002
        """Take the client's answer to one of our requests."""
        key = self._asked.pop(id, None)
        if key is None or self._rounds is None:
            return
        if response.is_error:
            # The retry has no place for an error: what the client says is the end of its call.
            self.give_up("the client answered with an error")
            self._home.output.write(response.with_id(self._request.id))
        elif self._rounds.answer(key, response.members["result"]):
            self._retry()

    def answer_refused(self, fault: McpnatsdError) -> None:
        """Learn that the client's answer was nothing that can be passed on."""
        self._fail(fault)

    # From the bus.

    def receive_note(self, _call: Call, line: bytes) -> None:
        if self._home.output.too_slow:
            self._fail(_too_slow())
        else:
            self._home.output.write(line)

    def receive_final(self, _call: Call, line: bytes) -> None:
        self._call = None
        if self._home.output.too_slow:
            self._fail(_too_slow())
            return
        try:
            self._receive_response(jsonrpc.decode(line))
        except ProtocolError as fault:
            self._fail(McpnatsdError(f"the server's answer is no JSON-RPC response: {fault}"))
        except McpnatsdError as fault:
            self._fail(fault)

    def receive_end(self, _call: Call) -> None:
        self._call = None
        self._fail(InstanceLost(f"{self._home.server!r} ended this call without an answer"))

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        self._call = None
        self._fail(fault)

    def _receive_response(self, message: jsonrpc.Message) -> None:
        if not isinstance(message, Response):
            raise RemoteProtocolError("it is another kind of message")
        method = self._request.method
        if not message.is_error:
            result = jsonrpc.object_of(message.members, "result")
            if result and to_modern.kind_of(result) == to_modern.INPUT_REQUIRED:
                self._begin_round(result)
                return
            if result:
                adapted = to_modern.as_legacy(method, result)
                message.members["result"] = Raw(jsonrpc.encode(adapted))
        self._home.over(self)
        self._home.output.write(message.with_id(self._request.id))
        self._home.fetched(method)

    # Rounds.

    def _begin_round(self, result: jsonrpc.Members) -> None:
        if self._rounds is None:
            self._rounds = Rounds(self._home.offers)
        asks = self._rounds.receive(self._request.method, result)
        loop = asyncio.get_running_loop()
        if not asks:
            pause = PAUSES[min(self._rounds.number, len(PAUSES)) - 1]
            self._pause = loop.call_later(pause, self._retry)
            return
        self._deadline = loop.time() + ANSWER_WITHIN
        for ask in asks:
            self._asked[self._home.ask(self, ask)] = ask.key

    def _retry(self) -> None:
        self._pause = None
        if self._rounds is None:
            return
        id = Raw(jsonrpc.encode(self._home.fresh_id()))  # noqa: A001
        request, line, params = self._rounds.retry(self._request.line, id)
        meta = jsonrpc.object_of(params, "_meta")
        again = outgoing.read(request, line, params, meta)
        self._call = self._home.requester.open(self._home.server, again, self)

    def _fail(self, fault: McpnatsdError) -> None:
        self.give_up(str(fault))
        self._home.output.write(jsonrpc.error_of(self._request.id, fault))


def _too_slow() -> Busy:
    return Busy("this client does not read its answers; 32 MiB wait for it")
