"""A legacy client's session at a modern server: translated here, at the client's edge.

There is no session on the bus: each request is an exchange that says who asks. What the era of the
client has beyond that (a handshake, a log level, subscriptions, requests of the server) is kept
here. What one request becomes is `translated_call.py`, what is heard unasked `listener.py`.
"""

from typing import Final

from msgspec import Raw

from mcpnatsd.bus.call import Phase
from mcpnatsd.errors import Busy, McpnatsdError, RemoteProtocolError
from mcpnatsd.frontends.discovery import Discovered
from mcpnatsd.frontends.edge_bus import EdgeBus
from mcpnatsd.frontends.listener import Listener
from mcpnatsd.frontends.output import Output
from mcpnatsd.frontends.translated_call import TranslatedCall
from mcpnatsd.protocol import eras, jsonrpc, outgoing, to_modern
from mcpnatsd.protocol.input_rounds import Ask
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response
from mcpnatsd.protocol.tunnel import WINDOW_BYTES

MOST_ASKED: Final = 256
"""Requests that wait for one client's answers."""

_INVALID_REQUEST: Final = -32600
_SWALLOWED: Final = frozenset({eras.PROGRESS, "notifications/roots/list_changed"})
"""Notifications without a counterpart: roots are asked for in each call, and progress of an answer
is told to nobody."""


class TranslatedClient:
    """One client's session, from the answer to `initialize` on."""

    def __init__(
        self, bus: EdgeBus, server: str, output: Output, edge: str, found: Discovered
    ) -> None:
        self.edge = edge
        self.server = server
        self.output = output
        self.requester = bus.requester
        self.offers = found.client.offers
        self.stamp: Members = dict(found.client.stamp)
        self._bus = bus
        self.has_process = found.has_process
        """Whether log messages are this client's: on a shared process they name nobody."""

        self._calls: dict[Key, TranslatedCall] = {}
        self._asked: dict[str, TranslatedCall] = {}
        self._listener = Listener(self, jsonrpc.object_of(found.result, "capabilities"))
        self._last = 0

    @property
    def in_flight(self) -> int:
        """Requests of the client that are not answered. Subscriptions do not count."""
        return len(self._calls) + self._listener.waiting

    @property
    def full(self) -> bool:
        """Whether to stop reading the client for now."""
        return not self.connected and self._held_bytes >= WINDOW_BYTES

    @property
    def _held_bytes(self) -> int:
        calls = (call.exchange for call in self._calls.values())
        held = (call for call in calls if call is not None and call.phase is Phase.HELD)
        return sum(len(call.outgoing.line) for call in held)

    @property
    def connected(self) -> bool:
        return self._bus.connection.connected

    def receive(self, message: Message, line: bytes) -> None:
        """Take a message of the client.

        Raises:
            RemoteProtocolError: It is against the rules, or its id is in flight.
        """
        match message:
            case Request():
                self._receive_request(message)
            case Notification():
                self._receive_notification(message, line)
            case Response():
                self._receive_answer(message)

    def refuse_response(self, id: Raw, fault: McpnatsdError) -> None:  # noqa: A002
        """Fail the call whose question was answered with something that goes no further."""
        found = self._asked.get(str(jsonrpc.key_of(id)))
        if found is not None:
            found.answer_refused(fault)

    def gone(self) -> None:
        """End the session: the client is not there any more."""
        for call in list(self._calls.values()):
            call.give_up("the client is gone")
        self._listener.gone()

    def tick(self, now: float) -> None:
        """Keep the clocks."""
        for call in list(self._calls.values()):
            call.tick(now)
        self._listener.tick(now)

    # From the client.

    def _receive_request(self, request: Request) -> None:
        key = jsonrpc.key_of(request.id)
        if key is None or self._is_in_flight(key):
            raise RemoteProtocolError("a request with this id is in flight already")
        match request.method:
            case eras.PING:
                self.output.write(jsonrpc.result(request.id, {}))
            case eras.INITIALIZE:
                self._refuse(request, _INVALID_REQUEST, "this session is initialized already")
            case eras.SET_LEVEL:
                self._set_level(request)
            case eras.SUBSCRIBE | eras.UNSUBSCRIBE:
                self._listener.receive(request, key)
            case _:
                self._open_call(request, key)

    def _open_call(self, request: Request, key: Key) -> None:
        why_not = to_modern.refusal(request.method)
        if why_not is not None:
            self._refuse(request, jsonrpc.METHOD_NOT_FOUND, why_not)
            return
        line, params, meta = to_modern.stamped(request, self.stamp)
        call = TranslatedCall(self, outgoing.read(request, line, params, meta))
        self._calls[key] = call
        call.start()

    def _set_level(self, request: Request) -> None:
        level = jsonrpc.params_of(request.members).get("level")
        if not self.has_process:
            text = (
                f"{eras.SET_LEVEL} is not possible: clients share this server's process, and its "
                "log messages name no client; `isolation: session` gives each client its own "
                "process"
            )
            self._refuse(request, jsonrpc.METHOD_NOT_FOUND, text)
        elif level is None or jsonrpc.key_of(level) not in to_modern.LEVELS:
            known = ", ".join(sorted(to_modern.LEVELS))
            self._refuse(request, jsonrpc.INVALID_PARAMS, f"params.level must be one of {known}")
        else:
            self.stamp[eras.LOG_LEVEL] = level.copy()
            self.output.write(jsonrpc.result(request.id, {}))

    def _receive_notification(self, note: Notification, line: bytes) -> None:
        if note.method == eras.INITIALIZED:
            self._listener.start()
        elif note.method == eras.CANCELLED:
            self._receive_cancelled(note)
        elif note.method not in _SWALLOWED:
            self._bus.tell(self.server, note.method, line)

    def _receive_cancelled(self, note: Notification) -> None:
        params = jsonrpc.params_of(note.members)
        key = jsonrpc.key_of(params.get("requestId"))
        if key in self._calls:
            self._calls[key].give_up(jsonrpc.text_of(params, "reason") or "")
        elif key is not None:
            self._listener.cancel(key)

    def _receive_answer(self, response: Response) -> None:
        id = str(jsonrpc.key_of(response.id))  # noqa: A001
        found = self._asked.pop(id, None)
        if found is not None:
            found.answered(id, response)

    def _refuse(self, request: Request, code: int, text: str) -> None:
        self.output.write(jsonrpc.error(request.id, code, text))

    def _is_in_flight(self, key: Key) -> bool:
        return key in self._calls or self._listener.waits(key)

    # What its calls need.

    def fresh_id(self) -> str:
        self._last += 1
        return f"mcpnatsd-{self._last}"

    def ask(self, call: TranslatedCall, ask: Ask) -> str:
        if len(self._asked) >= MOST_ASKED:
            raise Busy(f"{MOST_ASKED} requests wait for this client's answers")
        id = self.fresh_id()  # noqa: A001
        self._asked[id] = call
        self.output.write(ask.line(id))
        return id

    def unask(self, id: str, reason: str) -> None:  # noqa: A002
        if self._asked.pop(id, None) is not None:
            params = {"requestId": id, "reason": reason}
            self.output.write(jsonrpc.notification(eras.CANCELLED, params))

    def over(self, call: TranslatedCall) -> None:
        key = call.key
        if key is not None and self._calls.get(key) is call:
            del self._calls[key]

    def fetched(self, method: str) -> None:
        self._listener.fetched(method)
