"""Several servers as one: whose tool a name is, and the request as that server must get it.

A tool or prompt of a server is shown as `server__name`. What would be longer than models take, or
would read as another server's, is shown shortened, with a hash at its end.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members
from mcpnatsd.protocol.outgoing import Outgoing

SEPARATOR: Final = "__"

LONGEST_NAME: Final = 128
"""Characters of a name that models take. MCP recommends no more either."""

MOST_NAMES: Final = 10_000
"""Names remembered, the longest unused out first. They are found again in the lists."""

TASKS: Final = "io.modelcontextprotocol/tasks"
"""An extension whose later requests name only an id: nobody could tell whose that is."""

_DIGITS: Final = 16
_SHORTENED: Final = re.compile(rf"_[0-9a-f]{{{_DIGITS}}}\Z")


class Place(NamedTuple):
    """One tool or prompt of one server, by the server's own name for it."""

    server: str
    name: str


class Names:
    """Between a server's own names, and those that a client of all servers sees."""

    def __init__(self) -> None:
        self._listed: dict[str, Place] = {}

    def shown(self, place: Place, servers: Iterable[str]) -> str:
        """Return what a client sees, and remember it where it may not read the same later.

        A tool stays the one that was listed, also when a server comes whose name fits better.
        """
        plain = f"{place.server}{SEPARATOR}{place.name}"
        fits = len(plain) <= LONGEST_NAME and place == next(iter(readings(plain, servers)), None)
        name = plain if fits else _shortened(place)
        self._listed.pop(name, None)
        if _SHORTENED.search(name) or SEPARATOR in plain[len(place.server) + 1 :]:
            self._listed[name] = place
            if len(self._listed) > MOST_NAMES:
                del self._listed[next(iter(self._listed))]
        return name

    def meant(self, shown: str, servers: Iterable[str]) -> Place | None:
        """Return what a client means; None when it names no server of these."""
        place = self._listed.pop(shown, None)
        if place is None:
            return next(iter(readings(shown, servers)), None)
        self._listed[shown] = place
        return place

    def must_be_listed(self, shown: str) -> bool:
        """Say whether only the lists can tell what is meant, and none was seen yet."""
        return shown not in self._listed and _SHORTENED.search(shown) is not None


def readings(shown: str, servers: Iterable[str]) -> list[Place]:
    """Return all that a name may mean, that of the longest server name first."""
    fitting = [server for server in servers if shown.startswith(server + SEPARATOR)]
    fitting.sort(key=len, reverse=True)
    return [Place(one, shown[len(one) + len(SEPARATOR) :]) for one in fitting]


def for_server(asked: Outgoing, name: str | None = None) -> Outgoing:
    """Return a request as its server must get it: with its own name of what is named.

    No server learns that the client could follow a task: it would answer with one.
    """
    if name is None and TASKS.encode() not in asked.line:
        return asked
    members, params = _split(asked)
    if name is not None:
        _put_name(asked.method, params, name)
    _drop_tasks(params)
    line = _joined(members, params)
    named = asked.name if name is None or asked.name is None else name
    return msgspec.structs.replace(asked, line=line, name=named)


def page_request(asked: Outgoing, cursor: Raw | None = None) -> Outgoing:
    """Return a client's request as one of ours: for one page, without progress."""
    members, params = _split(asked)
    meta = jsonrpc.object_of(params, eras.META)
    if meta.pop(eras.PROGRESS_TOKEN, None) is not None:
        params[eras.META] = Raw(jsonrpc.encode(meta))
    _drop_tasks(params)
    if cursor is not None:
        params["cursor"] = cursor
    return msgspec.structs.replace(asked, line=_joined(members, params), affinity=None)


def sibling(asked: Outgoing, method: str, more: Mapping[str, object]) -> Outgoing:
    """Return a request of ours for another method, with the `_meta` of a client's."""
    members, params = _split(page_request(asked))
    members["method"] = Raw(jsonrpc.encode(method))
    kept = {eras.META: params[eras.META]} if eras.META in params else {}
    line = _joined(members, {**more, **kept})
    return msgspec.structs.replace(asked, line=line, method=method, name=None, affinity=None)


def listen_request(asked: Outgoing, notifications: Mapping[str, object]) -> Outgoing:
    """Return a client's subscription with another filter: its part of one server.

    The id stays: so whatever that server tells is tagged for the client already.
    """
    members, params = _split(asked)
    line = _joined(members, {**params, "notifications": notifications})
    return msgspec.structs.replace(asked, line=line)


def reference(asked: Outgoing) -> tuple[str, str]:
    """Return what `completion/complete` completes: "ref/prompt" or "ref/resource", and of what."""
    ref = jsonrpc.object_of(_split(asked)[1], "ref")
    kind = jsonrpc.text_of(ref, "type") or ""
    return kind, jsonrpc.text_of(ref, "name" if kind == "ref/prompt" else "uri") or ""


def params_of(asked: Outgoing) -> Members:
    """Return the members of a request's `params`."""
    return _split(asked)[1]


def _put_name(method: str, params: Members, name: str) -> None:
    """Put a name where the method has it: beside `arguments`, or in a completion's `ref`."""
    if method != "completion/complete":
        params["name"] = Raw(jsonrpc.encode(name))
        return
    ref = jsonrpc.object_of(params, "ref")
    ref["name"] = Raw(jsonrpc.encode(name))
    params["ref"] = Raw(jsonrpc.encode(ref))


def _drop_tasks(params: Members) -> None:
    meta = jsonrpc.object_of(params, eras.META)
    capabilities = jsonrpc.object_of(meta, eras.CLIENT_CAPABILITIES)
    extensions = jsonrpc.object_of(capabilities, "extensions")
    if extensions.pop(TASKS, None) is None:
        return
    capabilities["extensions"] = Raw(jsonrpc.encode(extensions))
    meta[eras.CLIENT_CAPABILITIES] = Raw(jsonrpc.encode(capabilities))
    params[eras.META] = Raw(jsonrpc.encode(meta))


def _split(asked: Outgoing) -> tuple[Members, Members]:
    members = jsonrpc.split(asked.line)
    return members, jsonrpc.params_of(members)


def _joined(members: Members, params: Mapping[str, object]) -> bytes:
    return jsonrpc.encode({**members, "params": params})


def _shortened(place: Place) -> str:
    digest = sha256("\0".join(place).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    room = LONGEST_NAME - len(place.server) - len(SEPARATOR) - len(digest) - 1
    return f"{place.server}{SEPARATOR}{place.name[:room]}_{digest}"
