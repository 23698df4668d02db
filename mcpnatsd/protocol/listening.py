"""What a legacy client wants to hear of, and which `subscriptions/listen` brings it.

A legacy client subscribes to one URI at a time, and hears of changed lists unasked; a modern server
wants one request that names all of it. A new one is opened before the old one is given up, so that
nothing is lost between. `now` is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import Busy, McpnatsdError, Reported
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Key, Members, Notification

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
UPDATED: Final = "notifications/resources/updated"

MOST_URIS: Final = 4096
"""Subscriptions of one client, and requests about them that wait. Each change of them names all of
them to the server."""

PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the first, second … attempt in a row to listen anew."""

STEADY_AFTER: Final = 30.0
"""Seconds after which what ended is no failure of the start."""

ACK_WITHIN: Final = 60.0
"""Seconds for a server to start in and to say what it will tell of."""

_KINDS: Final = {
    "toolsListChanged": ("tools", "notifications/tools/list_changed"),
    "promptsListChanged": ("prompts", "notifications/prompts/list_changed"),
    "resourcesListChanged": ("resources", "notifications/resources/list_changed"),
}
_LISTED: Final = {f"{name}/list": kind for kind, (name, _) in _KINDS.items()}
_TRUE: Final = b"true"
_texts = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True)
class Filter:
    """What one `subscriptions/listen` names."""

    kinds: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.kinds or self.uris)

    @property
    def params(self) -> dict[str, object]:
        named: dict[str, object] = dict.fromkeys(sorted(self.kinds), True)
        if self.uris:
            named["resourceSubscriptions"] = sorted(self.uris)
        return {"notifications": named}


class Settled(msgspec.Struct):
    """A request of the client that is answered: well, or with a fault."""

    id: Raw
    fault: McpnatsdError | None = None


class _Waiting(msgspec.Struct):
    id: Raw
    uri: str
    subscribes: bool


class Listening:
    """One client's subscriptions. At most one listen is open, and one more on its way."""

    def __init__(self, capabilities: Members) -> None:
        """Read off what the server offers: the capabilities of its `server/discover`."""
        self._kinds = frozenset(
            kind for kind, (name, _) in _KINDS.items() if _says(capabilities, name, "listChanged")
        )
        self._subscribes = _says(capabilities, "resources", "subscribe")
        self._uris: dict[str, None] = {}
        self._waiting: dict[Key, _Waiting] = {}
        self._started = False
        self._open: Filter | None = None
        self._asked: Filter | None = None
        self._stale: set[str] = set()
        """Lists that the client may have of a time when nobody told it of changes."""

        self._missed = False
        """Whether updates of resources were told to nobody for a while."""

        self._attempts = 0
        self._retry_at = 0.0
        self._acknowledged_at = 0.0

    @property
    def waiting(self) -> int:
        """Requests of the client that wait for the server to agree."""
        return len(self._waiting)

    def waits(self, key: Key) -> bool:
        return key in self._waiting

    # From the client.

    def start(self) -> None:
        """Begin to listen: the client is ready to hear."""
        self._started = True

    def subscribe(self, key: Key, id: Raw, uri: str) -> list[Settled]:  # noqa: A002
        """Add a URI; return who is answered at once, as the server need not be asked for that."""
        if not self._subscribes:
            text = "this server does not tell of changed resources: it offers no subscriptions"
            return [Settled(id, Reported(jsonrpc.METHOD_NOT_FOUND, text))]
        if uri not in self._uris and len(self._uris) >= MOST_URIS:
            return [Settled(id, Busy(f"this client has {MOST_URIS} subscriptions open already"))]
        if len(self._waiting) >= MOST_URIS:
            text = f"{MOST_URIS} requests of this client wait for its subscriptions"
            return [Settled(id, Busy(text))]
        self._uris[uri] = None
        self._started, self._retry_at = True, 0.0
        settled = _well(self._take(lambda one: not one.subscribes and one.uri == uri))
        if self._open is not None and uri in self._open.uris and self._asked is None:
            return [*settled, Settled(id)]
        self._waiting[key] = _Waiting(id.copy(), uri, subscribes=True)
        return settled

    def unsubscribe(self, key: Key, id: Raw, uri: str) -> list[Settled]:  # noqa: A002
        """Take a URI out; return what is answered with it. The old listen goes on until then."""
        self._uris.pop(uri, None)
        settled = _well(self._take(lambda one: one.subscribes and one.uri == uri))
        heard = [one.uris for one in (self._open, self._asked) if one is not None]
        if any(uri in uris for uris in heard) and len(self._waiting) < MOST_URIS:
            self._waiting[key] = _Waiting(id.copy(), uri, subscribes=False)
            return settled
        return [*settled, Settled(id)]

    def forget(self, key: Key) -> bool:
        """Drop a request that the client cancelled; say whether there was one."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return False
        if waiting.subscribes and not self._is_awaited(waiting.uri):
            self._uris.pop(waiting.uri, None)
        return True

    # What to do.

    @property
    def wanted(self) -> Filter:
        return Filter(self._kinds, frozenset(self._uris))

    @property
    def unwanted(self) -> bool:
        """Whether the listen that is open names nothing that anybody wants."""
        return self._open is not None and self._asked is None and not self.wanted

    def next(self, now: float) -> Filter | None:
        """Return what is to be listened to now instead of what is; None when all is well."""
        wanted = self.wanted
        if self._asked is not None or not self._started or not wanted or wanted == self._open:
            return None
        if now < self._retry_at:
            return None
        self._asked = wanted
        return wanted

    # From the server.

    def fetched(self, method: str) -> None:
        """Note that the client got a list: one of a time without a listen may be stale."""
        kind = _LISTED.get(method)
        if kind is not None and self._open is None:
            self._stale.add(kind)

    def acknowledged(self, note: Notification, now: float) -> tuple[list[Settled], list[bytes]]:
        """Take what the server agreed to; return who is answered, and what the client missed."""
        asked, self._asked = self._asked or Filter(), None
        honoured = _honoured(note)
        missed = self._missed_of(asked, honoured)
        self._stale, self._missed, self._acknowledged_at = set(), False, now
        heard = asked.uris & honoured.uris
        over = self._take(
            lambda one: one.uri in asked.uris if one.subscribes else one.uri not in heard
        )
        settled = [
            Settled(one.id, _unheard(one.uri) if one.subscribes and one.uri not in heard else None)
            for one in over
        ]
        for uri in asked.uris - heard:  # whoever subscribes to one again is told so
            self._uris.pop(uri, None)
        self._open = Filter(asked.kinds, heard)
        return settled, missed

    def closed(self) -> list[Settled]:
        """Note that the listen is given up, as nothing is wanted; return who is answered."""
        self._open = None
        return _well(self._take(lambda one: not one.subscribes))

    def lost(self, now: float) -> list[Settled]:
        """Note that the listen that was open is over; return who waited for just that."""
        self._open, self._missed, self._stale = None, True, set(_KINDS)
        if now - self._acknowledged_at >= STEADY_AFTER:
            self._attempts = 0
        self._pause(now)
        going = self._asked.uris if self._asked is not None else frozenset()
        return _well(self._take(lambda one: not one.subscribes and one.uri not in going))

    def refused(self, fault: McpnatsdError, now: float) -> list[Settled]:
        """Note that the listen that was asked for did not come about; return who is answered."""
        asked, self._asked = self._asked or Filter(), None
        if fault.jsonrpc_code == jsonrpc.METHOD_NOT_FOUND:
            self._kinds = frozenset()  # it offers what it has not; asking again changes nothing
        heard = self._open.uris if self._open is not None else frozenset()
        settled = self._take(lambda one: not one.subscribes or one.uri in asked.uris)
        for one in settled:
            if one.subscribes and one.uri not in heard:
                self._uris.pop(one.uri, None)
        self._pause(now)
        return [Settled(one.id, fault if one.subscribes else None) for one in settled]

    def _missed_of(self, asked: Filter, honoured: Filter) -> list[bytes]:
        """Return what makes the client fetch again: nobody replays what it did not hear of."""
        kinds = sorted(self._stale & asked.kinds & honoured.kinds)
        notes = [jsonrpc.notification(_KINDS[kind][1], {}) for kind in kinds]
        if self._missed:
            fresh = {one.uri for one in self._waiting.values() if one.subscribes}
            # Of what is not told of any more, too: reading it again, the client sees why.
            uris = sorted(asked.uris - fresh)
            notes += [jsonrpc.notification(UPDATED, {"uri": uri}) for uri in uris]
        return notes

    def _pause(self, now: float) -> None:
        self._retry_at = now + PAUSES[min(self._attempts, len(PAUSES) - 1)]
        self._attempts += 1

    def _take(self, which: Callable[[_Waiting], bool]) -> list[_Waiting]:
        """Return those who wait for that, and wait no more."""
        keys = [key for key, one in self._waiting.items() if which(one)]
        return [self._waiting.pop(key) for key in keys]

    def _is_awaited(self, uri: str) -> bool:
        """Whether somebody else still counts on a URI whose request was taken back."""
        heard = self._open is not None and uri in self._open.uris
        return heard or any(one.subscribes and one.uri == uri for one in self._waiting.values())


def _well(waiting: list[_Waiting]) -> list[Settled]:
    return [Settled(one.id) for one in waiting]


def _says(capabilities: Members, name: str, member: str) -> bool:
    return bytes(jsonrpc.object_of(capabilities, name).get(member, b"")) == _TRUE


def _honoured(note: Notification) -> Filter:
    named = jsonrpc.object_of(jsonrpc.params_of(note.members), "notifications")
    kinds = frozenset(kind for kind in _KINDS if bytes(named.get(kind, b"")) == _TRUE)
    try:
        uris = _texts(named.get("resourceSubscriptions", Raw(b"[]")))
    except msgspec.DecodeError:
        uris = []
    return Filter(kinds, frozenset(uris))


def _unheard(uri: str) -> Reported:
    return Reported(jsonrpc.INVALID_PARAMS, f"the server does not tell of changes of {uri!r}")
