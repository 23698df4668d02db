"""The state that a parked call is found again by, sealed so that nobody else can make one."""

import base64
import hmac
from hashlib import sha256
from typing import Final

import msgspec

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import frames, jsonrpc

LONGEST: Final = 4096
"""Characters of a state that is looked at. Ours are far shorter."""

START: Final = "mcpnatsd.1."
"""What every state of a bridge begins with."""

_PIECES: Final = 5


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Which call of which session waits for which answers, for whom, until when."""

    client: str
    """Of whom, as `digest` says it: a state can be read by whoever has it."""

    session: str
    call: int
    round: int
    until: float
    """By the clock of the instance that sealed it."""


def digest(user: str, edge: str) -> str:
    """Return what stands for a client in its states: who knows the edge could cancel its calls."""
    text = f"{len(user)}:{user}{edge}"
    return _plain(sha256(text.encode("utf-8", "surrogatepass")).digest())


def is_ours(state: str) -> bool:
    """Say whether a state has the form of those that bridges hand out."""
    return state.startswith(START)


def holder_of(state: str) -> str:
    """Return the instance that says it sealed a state. Only that one can tell.

    Raises:
        Reported: It is no state of a bridge.
    """
    pieces = state.split(".") if len(state) <= LONGEST else []
    if len(pieces) != _PIECES or not frames.is_instance(pieces[2]):
        raise _refused("malformed")
    return pieces[2]


class Seal:
    """Makes states of one instance, and opens its own only."""

    def __init__(self, instance: str, key: bytes) -> None:
        self.instance = instance
        self._key = key

    def close(self, ticket: Ticket) -> str:
        """Return the `requestState` of a parked call."""
        text = f"{START}{self.instance}.{_plain(msgspec.json.encode(ticket))}"
        return f"{text}.{self._mac(text)}"

    def open(self, state: str, user: str, edge: str, now: float) -> Ticket:
        """Return what is sealed, for the client that it was given to.

        Raises:
            Reported: It was made elsewhere or changed, is somebody else's, or too old.
        """
        text, _, mac = state.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(text).encode()):
            raise _refused("not sealed here, or changed since")
        ticket = msgspec.json.decode(_bytes(text.split(".")[3]), type=Ticket)
        if ticket.client != digest(user, edge):
            raise _refused("another client's")
        if now >= ticket.until:
            raise _refused("expired; start over")
        return ticket

    def _mac(self, text: str) -> str:
        return _plain(hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256"))


def _plain(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _refused(why: str) -> Reported:
    return Reported(jsonrpc.INVALID_PARAMS, f"params.requestState is {why}")
