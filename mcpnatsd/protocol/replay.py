"""What a new instance must be told, so that a legacy client's session goes on.

The handshake, the last log level, the subscriptions: as the client sent them, under ids of ours.
"""

from typing import Final

from msgspec import Raw

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol import eras, jsonrpc, subjects
from mcpnatsd.protocol.jsonrpc import Key, Members, Notification, Request

_MARK: Final = "mcpnatsd-replay-"
REPLAY_ID: Final = f"{_MARK}0"
"""Id of the replayed `initialize`."""


class Replay:
    """Reads along with what a client sends."""

    def __init__(self) -> None:
        self._initialize: Members | None = None
        self._initialized: bytes | None = None
        self._level: Members | None = None
        self._subscriptions: dict[str, Members] = {}

    def observe(self, message: Request | Notification, line: bytes) -> None:
        """Remember what the session's state is made of."""
        if isinstance(message, Notification):
            if message.method == eras.INITIALIZED:
                self._initialized = line
        elif message.method == eras.INITIALIZE:
            self._initialize = message.members
        elif message.method == eras.SET_LEVEL:
            self._level = message.members
        elif message.method in (eras.SUBSCRIBE, eras.UNSUBSCRIBE):
            self._observe_subscription(message)

    def initialize(self) -> bytes:
        """Return the handshake's first line, under an id of ours."""
        if self._initialize is None:
            raise LocalProtocolError("there is no handshake to replay")
        return _renamed(self._initialize, 0)

    def rest(self) -> list[tuple[bytes, str]]:
        """Return what follows the answer to it: lines, and the tails of their subjects."""
        lines = []
        if self._initialized is not None:
            lines.append((self._initialized, subjects.tail(eras.INITIALIZED)))
        state = [] if self._level is None else [(self._level, eras.SET_LEVEL)]
        state += [(members, eras.SUBSCRIBE) for members in self._subscriptions.values()]
        for number, (members, method) in enumerate(state, start=1):
            lines.append((_renamed(members, number), subjects.tail(method)))
        return lines

    @staticmethod
    def is_ours(key: Key | None) -> bool:
        """Say whether an id is one of a replay."""
        return isinstance(key, str) and key.startswith(_MARK)

    def _observe_subscription(self, request: Request) -> None:
        uri = jsonrpc.text_of(jsonrpc.params_of(request.members), "uri")
        if uri is None:
            return
        if request.method == eras.SUBSCRIBE:
            self._subscriptions[uri] = request.members
        else:
            self._subscriptions.pop(uri, None)


def _renamed(members: Members, number: int) -> bytes:
    return jsonrpc.encode({**members, "id": Raw(jsonrpc.encode(f"{_MARK}{number}"))})
