"""One subscription over several servers: what each is asked for, and what the client is told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
UPDATED: Final = "notifications/resources/updated"

KINDS: Final = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
"""What can change, and the member of a filter that asks for it."""

_URIS: Final = "resourceSubscriptions"
_texts = msgspec.json.Decoder(list[str]).decode


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter: the lists, and the resources."""

    kinds: frozenset[str] = frozenset()
    uris: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kinds or self.uris)

    def offered(self, capabilities: Members, uris: Iterable[str]) -> "Wanted":
        """Return what a server with these capabilities can be asked for, and these resources."""
        kinds = (one for one in self.kinds if _flag(capabilities, one, "listChanged"))
        subscribes = _flag(capabilities, "resources", "subscribe")
        return Wanted(frozenset(kinds), tuple(uris) if subscribes else ())

    def as_filter(self) -> dict[str, object]:
        """Return it as the `notifications` of a request or an acknowledgement."""
        kinds: dict[str, object] = {KINDS[one]: True for one in KINDS if one in self.kinds}
        return {**kinds, _URIS: list(self.uris)} if self.uris else kinds


def wanted(params: Members) -> Wanted:
    """Read the filter of a listen, or of what acknowledges one.

    Fields of extensions are not read: nobody could tell which server they are for.
    """
    asked = jsonrpc.object_of(params, "notifications")
    kinds = frozenset(one for one, member in KINDS.items() if _is_true(asked.get(member)))
    try:
        uris = _texts(asked[_URIS]) if _URIS in asked else []
    except (msgspec.DecodeError, RecursionError):
        uris = []
    return Wanted(kinds, tuple(dict.fromkeys(uris)))


def acknowledgement(subscription: Raw, honoured: Wanted) -> bytes:
    """Return the first notification of a subscription."""
    return _note(ACKNOWLEDGED, subscription, {"notifications": honoured.as_filter()})


def changed(subscription: Raw, kind: str) -> bytes:
    """Return the notification that a list has changed."""
    return _note(f"notifications/{kind}/list_changed", subscription, {})


def updated(subscription: Raw, uri: str) -> bytes:
    """Return the notification that a resource has changed."""
    return _note(UPDATED, subscription, {"uri": uri})


def _note(method: str, subscription: Raw, params: Mapping[str, object]) -> bytes:
    return jsonrpc.notification(method, {eras.META: {eras.SUBSCRIPTION_ID: subscription}, **params})


def _flag(capabilities: Members, kind: str, name: str) -> bool:
    return _is_true(jsonrpc.object_of(capabilities, kind).get(name))


def _is_true(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) == b"true"
