"""What is in flight in one legacy session: the ids of both sides, untouched.

A session's lines pass byte for byte. The ledger only reads along, so that when the process dies,
or stays silent, every request that waits is told so, once.
"""

import re
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Key, Message, Notification, Request, Response

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")


class Asked(msgspec.Struct):
    """A request of the client that the server has not answered."""

    id: Raw
    method: str
    name: str | None
    at: float


class Ledger:
    """The client's requests that wait. Those of the server are the client's to answer."""

    def __init__(self) -> None:
        self._asked: dict[Key, Asked] = {}

    @property
    def in_flight(self) -> int:
        return len(self._asked)

    def receive_from_client(self, message: Message, name: str | None, now: float) -> None:
        """Note a request, or forget one that the client gives up."""
        if isinstance(message, Request):
            key = jsonrpc.key_of(message.id)
            if key is not None:
                self._asked[key] = Asked(message.id.copy(), message.method, name, now)
        elif isinstance(message, Notification) and message.method == eras.CANCELLED:
            key = jsonrpc.key_of(jsonrpc.params_of(message.members).get("requestId"))
            if key is not None:
                # The server may answer it none the less: a late answer is dropped.
                self._asked.pop(key, None)

    def receive_from_server(self, response: Response) -> Asked | None:
        """Return what a response answers; None when nobody waits for it."""
        key = jsonrpc.key_of(response.id)
        if key is None:
            return None
        found = self._asked.pop(key, None)
        if found is None:
            # Python servers take "7" for 7. The client waits for the id it chose.
            found = self._asked.pop(_twin(key), None)
        return found

    def lost(self, key: Key | None) -> list[Asked]:
        """Forget and return what an unreadable answer was for: everything, when nobody knows."""
        found = self._asked.pop(key, None) if key is not None else None
        return self.server_gone() if found is None else [found]

    def overdue(self, before: float) -> list[Asked]:
        """Forget and return what was asked before that time."""
        late = [key for key, asked in self._asked.items() if asked.at < before]
        return [self._asked.pop(key) for key in late]

    def server_gone(self) -> list[Asked]:
        """Forget everything; return what waits."""
        waiting = list(self._asked.values())
        self._asked.clear()
        return waiting


def _twin(key: Key) -> Key:
    if isinstance(key, int):
        return str(key)
    return int(key) if _NUMBER.fullmatch(key) else key
