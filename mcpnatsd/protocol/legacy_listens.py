"""Modern subscriptions to a legacy server, which knows of list changes and single resources."""

import re
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Notification

Caller = TypeVar("Caller")

MOST_URIS: Final = 1000
"""Of one subscription. More are refused."""

MOST_HELD: Final = 64
"""Notifications that wait for an acknowledgement, which must come first."""

MOST_PARENTS: Final = 64
"""Places at which the URI of an update is cut, to find what it is a part of."""

LONGEST_PARENT: Final = 4096
"""Characters of it that are looked at for that."""

_CUT: Final = re.compile("[/?#]")
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
UPDATED: Final = "notifications/resources/updated"
_URIS: Final = "resourceSubscriptions"
_KINDS: Final = {
    "toolsListChanged": ("tools", "notifications/tools/list_changed"),
    "promptsListChanged": ("prompts", "notifications/prompts/list_changed"),
    "resourcesListChanged": ("resources", "notifications/resources/list_changed"),
}


class _Listen(msgspec.Struct, Generic[Caller]):
    caller: Caller
    id: Raw
    kinds: dict[str, str]
    """What it wants told: method by member of its filter."""

    uris: dict[str, None]
    waiting: set[str]
    """URIs of which the server has not said yet whether it takes them."""

    named: bool
    held: list[bytes] | None
    """What came before the acknowledgement; None once that is out."""


Told = list[tuple[Caller, bytes]]


class Listens(Generic[Caller]):
    """The open subscriptions of one client, or of all who share a process."""

    def __init__(self) -> None:
        self._listens: dict[Caller, _Listen[Caller]] = {}
        self._uris: dict[str, bool] = {}
        """What the server was asked to tell of, and whether it agreed."""

    def __len__(self) -> int:
        return len(self._listens)

    @property
    def uris(self) -> list[str]:
        """Return what every session of the client must be subscribed to."""
        return list(self._uris)

    def open(
        self,
        caller: Caller,
        theirs: Raw,
        params: Members,
        offers: Members,
    ) -> tuple[Told[Caller], list[str]]:
        """Enter a subscription; return what goes out, and which URIs the server is to hear of.

        Raises:
            Reported: Its filter is malformed, or too large.
        """
        wanted, uris = _filter(params)
        listen = _Listen(caller, theirs.copy(), {}, {}, set(), _URIS in wanted, [])
        for member, (feature, method) in _KINDS.items():
            if bytes(wanted.get(member, b"")) == b"true" and _offers(offers, feature):
                listen.kinds[member] = method
        fresh: list[str] = []
        if _offers(offers, "resources", "subscribe"):
            listen.uris = dict.fromkeys(uris)
            listen.waiting = {uri for uri in listen.uris if not self._uris.get(uri)}
            fresh = [uri for uri in listen.uris if uri not in self._uris]
            self._uris.update(dict.fromkeys(fresh, False))
        self._listens[caller] = listen
        return self._acknowledge(listen), fresh

    def subscribed(self, uri: str, *, yes: bool) -> Told[Caller]:
        """Learn whether the server tells of a resource."""
        if uri not in self._uris:
            return []
        told: Told[Caller] = []
        if yes:
            self._uris[uri] = True
        else:
            del self._uris[uri]
        for listen in self._listens.values():
            if uri in listen.waiting:
                listen.waiting.discard(uri)
                if not yes:
                    del listen.uris[uri]
                told += self._acknowledge(listen)
        return told

    def close(self, caller: Caller) -> list[str]:
        """Forget a subscription; return the URIs that nobody wants any more."""
        listen = self._listens.pop(caller, None)
        still = {uri for one in self._listens.values() for uri in one.uris}
        gone = [] if listen is None else [uri for uri in listen.uris if uri not in still]
        for uri in gone:
            self._uris.pop(uri, None)
        return gone

    def server_gone(self) -> list[tuple[Caller, Raw]]:
        """Forget everything; return whose subscriptions are over, with their ids."""
        over = [(one.caller, one.id) for one in self._listens.values()]
        self._listens.clear()
        self._uris.clear()
        return over

    def receive(self, note: Notification, params: Members) -> Told[Caller]:
        """Return a notification for each subscription that it belongs to."""
        uri = jsonrpc.text_of(params, "uri") if note.method == UPDATED else None
        about = set() if uri is None else _with_parents(uri)
        told: Told[Caller] = []
        for listen in self._listens.values():
            if note.method in listen.kinds.values() or not about.isdisjoint(listen.uris):
                told += self._tell(listen, note.method, params)
        return told

    def _tell(self, listen: _Listen[Caller], method: str, params: Members) -> Told[Caller]:
        meta = jsonrpc.object_of(params, eras.META)
        meta[eras.SUBSCRIPTION_ID] = listen.id
        line = jsonrpc.notification(method, {**params, eras.META: meta})
        if listen.held is None:
            return [(listen.caller, line)]
        if len(listen.held) < MOST_HELD:
            listen.held.append(line)
        return []

    def _acknowledge(self, listen: _Listen[Caller]) -> Told[Caller]:
        """Say what is honoured, once that is known: it comes before anything else."""
        if listen.waiting or listen.held is None:
            return []
        honoured: dict[str, object] = dict.fromkeys(listen.kinds, True)
        if listen.named:
            honoured[_URIS] = list(listen.uris)
        params = {eras.META: {eras.SUBSCRIPTION_ID: listen.id}, "notifications": honoured}
        held, listen.held = listen.held, None
        lines = [jsonrpc.notification(ACKNOWLEDGED, params), *held]
        return [(listen.caller, line) for line in lines]


def _filter(params: Members) -> tuple[Members, list[str]]:
    if bytes(params.get("notifications", b""))[:1] != b"{":
        raise Reported(
            jsonrpc.INVALID_PARAMS, "subscriptions/listen needs an object params.notifications"
        )
    wanted = jsonrpc.object_of(params, "notifications")
    if _URIS not in wanted:
        return wanted, []
    try:
        uris = msgspec.json.decode(wanted[_URIS], type=list[str])
    except msgspec.DecodeError:
        raise Reported(
            jsonrpc.INVALID_PARAMS, f"notifications.{_URIS} must be a list of URIs"
        ) from None
    if len(uris) > MOST_URIS:
        raise Reported(
            jsonrpc.INVALID_PARAMS, f"notifications.{_URIS} names more than {MOST_URIS} URIs"
        )
    return wanted, uris


def _with_parents(uri: str) -> set[str]:
    """Return a URI, and what it is a part of.

    2025-11-25, schema: the URI that was updated "might be a sub-resource of the one that the
    client actually subscribed to".
    """
    cuts = [cut.start() for cut in islice(_CUT.finditer(uri, 0, LONGEST_PARENT), MOST_PARENTS)]
    return {uri, *(uri[:cut] for cut in cuts), *(uri[: cut + 1] for cut in cuts)}


def _offers(capabilities: Members, feature: str, member: str = "listChanged") -> bool:
    return bytes(jsonrpc.object_of(capabilities, feature).get(member, b"")) == b"true"
