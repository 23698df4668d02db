"""What a legacy session in use wants done: for its server, for a caller, for whoever runs it."""

from typing import Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.protocol.jsonrpc import Members, Notification, Response

Caller = TypeVar("Caller")


class ToServer(msgspec.Struct):
    line: bytes


class Note(msgspec.Struct, Generic[Caller]):
    """A notification for the caller whose request it belongs to."""

    caller: Caller
    line: bytes


class Answer(msgspec.Struct, Generic[Caller]):
    """The final response of a request, under the caller's own id."""

    caller: Caller
    method: str
    id: Raw
    response: Response


class Park(msgspec.Struct, Generic[Caller]):
    """The server asks: the exchange ends with this, and the call waits for its retry."""

    caller: Caller
    id: Raw
    ours: int
    round: int
    until: float
    asks: dict[str, Raw]


class Mine(msgspec.Struct):
    """The answer to a request of our own."""

    ours: int
    response: Response


class Told(msgspec.Struct):
    """A notification that belongs to no request."""

    note: Notification
    params: Members


class Stray(msgspec.Struct):
    """What belongs to nobody: it was dropped."""

    reason: str


Delivery = ToServer | Note[Caller] | Answer[Caller] | Park[Caller] | Mine | Told | Stray
