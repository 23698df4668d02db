"""Many legacy clients, one process: the rules of `isolation: shared`, which an operator opts into.

A legacy session has state that stdio cannot attribute. So the process gets one handshake, ours,
that offers nothing; each client's handshake and pings are answered here; what a server asks or
logs belongs to nobody; lists that changed concern everybody; subscriptions are counted.
"""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response

Client = TypeVar("Client")

_HIDDEN: Final = ("logging", "tasks")
"""Capabilities that a shared process cannot keep apart."""

_REFUSED: Final = (eras.SET_LEVEL, "tasks/list", "tasks/get", "tasks/result", "tasks/cancel")


class ToServer(msgspec.Struct):
    line: bytes


class ToClient(msgspec.Struct, Generic[Client]):
    client: Client
    line: bytes
    settles: Key | None = None
    """The client's request that this answers."""


Delivery = ToServer | ToClient[Client]


class _Pending(msgspec.Struct, Generic[Client]):
    client: Client
    id: Raw
    token: Raw | None
    subscribes: str | None
    """The URI, of a request to subscribe."""


class SharedSession(Generic[Client]):
    """One handshake, and who asked what since."""

    def __init__(self, initialize: Response) -> None:
        self._members = initialize.members
        self._last = 0
        self._pending: dict[int, _Pending[Client]] = {}
        self._ours: dict[tuple[Client, Key], int] = {}
        self._subscribers: dict[str, set[Client]] = {}

    def receive_from_client(self, client: Client, message: Message) -> list["Delivery[Client]"]:
        """Take a client's message: answer it here, or pass it on under an id of ours."""
        match message:
            case Request():
                return self._receive_request(client, message)
            case Notification(method=eras.CANCELLED):
                return self._receive_cancelled(client, message)
            case _:
                # `initialized`, `roots/list_changed`, answers to requests that were never passed
                # on: the process has one handshake, and it is ours.
                return []

    def receive_from_server(  # noqa: PLR0911  # one line a kind of message
        self, message: Message, line: bytes, clients: Iterable[Client]
    ) -> list["Delivery[Client]"]:
        """Take the server's message: to whom it belongs, to everybody, or to nobody."""
        match message:
            case Response():
                return self._receive_response(message)
            case Request(method=eras.PING):
                return [ToServer(jsonrpc.result(message.id, {}))]
            case Request():
                text = "clients share this server: nobody can answer its requests"
                return [ToServer(jsonrpc.error(message.id, jsonrpc.METHOD_NOT_FOUND, text))]
            case Notification(method=eras.PROGRESS):
                return self._receive_progress(message)
            case Notification(method="notifications/resources/updated"):
                return self._receive_updated(message, line)
            case Notification() if message.method.endswith("/list_changed"):
                return [ToClient(client, line) for client in clients]
            case _:
                return []

    def give_up(self, client: Client, theirs: Key) -> list["Delivery[Client]"]:
        """Cancel a request that its client does not wait for any more."""
        ours = self._ours.get((client, theirs))
        return [] if ours is None else [self._cancel(ours)]

    def client_gone(self, client: Client) -> list["Delivery[Client]"]:
        """Cancel and unsubscribe what a departed client leaves."""
        ours = [number for number, one in self._pending.items() if one.client == client]
        gone: list[Delivery[Client]] = [self._cancel(number) for number in ours]
        for uri in list(self._subscribers):
            gone += self._leave(client, uri)
        return gone

    def lost(self, ours: Key | None) -> tuple[Client, Key] | None:
        """Forget a request whose answer cannot be read; return whose it was, under which id."""
        pending = self._take(ours) if isinstance(ours, int) else None
        key = jsonrpc.key_of(pending.id) if pending is not None else None
        return None if pending is None or key is None else (pending.client, key)

    # Requests.

    def _receive_request(self, client: Client, request: Request) -> list["Delivery[Client]"]:
        if request.method == eras.INITIALIZE:
            return [self._answer(client, request, self._handshake(request))]
        if request.method == eras.PING:
            return [self._answer(client, request, jsonrpc.result(request.id, {}))]
        if request.method in _REFUSED:
            text = f"{request.method} is not possible: clients share this server"
            body = jsonrpc.error(request.id, jsonrpc.METHOD_NOT_FOUND, text)
            return [self._answer(client, request, body)]
        if request.method in (eras.SUBSCRIBE, eras.UNSUBSCRIBE) and self._counted(client, request):
            return [self._answer(client, request, jsonrpc.result(request.id, {}))]
        return [self._pass_on(client, request)]

    def _pass_on(self, client: Client, request: Request) -> "Delivery[Client]":
        self._last += 1
        number = Raw(b"%d" % self._last)
        params = jsonrpc.params_of(request.members)
        meta = jsonrpc.object_of(params, eras.META)
        token = meta.get(eras.PROGRESS_TOKEN)
        if token is not None:
            token = token.copy()
            params[eras.META] = Raw(jsonrpc.encode({**meta, eras.PROGRESS_TOKEN: number}))
        uri = jsonrpc.text_of(params, "uri") if request.method == eras.SUBSCRIBE else None
        self._pending[self._last] = _Pending(client, request.id.copy(), token, uri)
        key = jsonrpc.key_of(request.id)
        if key is not None:
            self._ours[client, key] = self._last
        members: Members = {**request.members, "id": number}
        return ToServer(jsonrpc.encode({**members, "params": params} if params else members))

    def _handshake(self, request: Request) -> bytes:
        """Answer a client's `initialize` from the one that the server answered."""
        result = jsonrpc.object_of(self._members, "result")
        capabilities = jsonrpc.object_of(result, "capabilities")
        for hidden in _HIDDEN:
            capabilities.pop(hidden, None)
        asked = eras.requested_by_initialize(request)
        agreed = jsonrpc.text_of(result, "protocolVersion") or asked
        # A client may be older than our handshake; messages of that revision are a subset.
        version = asked if asked in eras.LEGACY_REVISIONS and asked < agreed else agreed
        return jsonrpc.result(
            request.id,
            {**result, "capabilities": capabilities, "protocolVersion": version},
        )

    def _counted(self, client: Client, request: Request) -> bool:
        """Count a subscription; say whether the server need not hear of it."""
        uri = jsonrpc.text_of(jsonrpc.params_of(request.members), "uri")
        if uri is None:
            return False
        others = self._subscribers.setdefault(uri, set())
        if request.method == eras.SUBSCRIBE:
            known = bool(others)
            others.add(client)
            return known
        others.discard(client)
        if not others:
            del self._subscribers[uri]
        return bool(others)

    def _leave(self, client: Client, uri: str) -> list["Delivery[Client]"]:
        subscribers = self._subscribers[uri]
        if client not in subscribers:
            return []
        subscribers.discard(client)
        if subscribers:
            return []
        del self._subscribers[uri]
        self._last += 1
        body = {
            "jsonrpc": "2.0",
            "id": self._last,
            "method": eras.UNSUBSCRIBE,
            "params": {"uri": uri},
        }
        return [ToServer(jsonrpc.encode(body))]

    def _receive_cancelled(self, client: Client, note: Notification) -> list["Delivery[Client]"]:
        key = jsonrpc.key_of(jsonrpc.params_of(note.members).get("requestId"))
        return [] if key is None else self.give_up(client, key)

    def _cancel(self, ours: int) -> "Delivery[Client]":
        self._take(ours)
        return ToServer(jsonrpc.notification(eras.CANCELLED, {"requestId": ours}))

    # Answers.

    def _receive_response(self, response: Response) -> list["Delivery[Client]"]:
        ours = jsonrpc.key_of(response.id)
        pending = self._take(ours) if isinstance(ours, int) else None
        if pending is None:
            return []
        if response.is_error and pending.subscribes is not None:
            # Nobody has it: the next one to subscribe is to ask the server again.
            self._subscribers.pop(pending.subscribes, None)
        key = jsonrpc.key_of(pending.id)
        return [ToClient(pending.client, response.with_id(pending.id), key)]

    def _receive_progress(self, note: Notification) -> list["Delivery[Client]"]:
        params = jsonrpc.params_of(note.members)
        ours = jsonrpc.key_of(params.get(eras.PROGRESS_TOKEN))
        pending = self._pending.get(ours) if isinstance(ours, int) else None
        if pending is None or pending.token is None:
            return []
        params[eras.PROGRESS_TOKEN] = pending.token
        return [ToClient(pending.client, jsonrpc.encode({**note.members, "params": params}))]

    def _receive_updated(self, note: Notification, line: bytes) -> list["Delivery[Client]"]:
        uri = jsonrpc.text_of(jsonrpc.params_of(note.members), "uri")
        return [ToClient(client, line) for client in self._subscribers.get(uri or "", ())]

    def _answer(self, client: Client, request: Request, line: bytes) -> "Delivery[Client]":
        return ToClient(client, line, jsonrpc.key_of(request.id))

    def _take(self, ours: int) -> "_Pending[Client] | None":
        pending = self._pending.pop(ours, None)
        if pending is not None:
            key = jsonrpc.key_of(pending.id)
            if key is not None:
                self._ours.pop((pending.client, key), None)
        return pending
