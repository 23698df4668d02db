"""What several servers answered, merged into the answer of one."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.aggregate import Names, Place
from mcpnatsd.protocol.jsonrpc import Members, Notification, Response
from mcpnatsd.protocol.whereabouts import Whereabouts

PROMPTS: Final = "prompts/list"
RESOURCES: Final = "resources/list"
TEMPLATES: Final = "resources/templates/list"

LISTS: Final = {
    eras.LIST_TOOLS: "tools",
    PROMPTS: "prompts",
    RESOURCES: "resources",
    TEMPLATES: "resourceTemplates",
}
"""Methods that list, and the member of their results that holds the list."""

MOST_ITEMS: Final = 10_000
"""Of one list of one server."""

MOST_PAGES: Final = 100

MOST_LIST_BYTES: Final = 8 * 1024 * 1024
"""Of one list of one server, all its pages together."""

MOST_INSTRUCTIONS: Final = 65_536
"""Characters of one server's instructions that are passed on."""

_KINDS: Final = ("tools", "prompts", "resources")
_MEMBER: Final = {RESOURCES: "uri", TEMPLATES: "uriTemplate"}
_items = msgspec.json.Decoder(list[Raw]).decode


class Page(NamedTuple):
    items: list[Raw]
    cursor: Raw | None


class Clash(NamedTuple):
    """One resource that two servers have."""

    uri: str
    kept: str
    left_out: str


class Listed(NamedTuple):
    """One list of all servers."""

    items: list[Raw]
    clashes: list[Clash]


def result_of(line: bytes) -> Members:
    """Return the members of a result.

    Raises:
        Reported: It is an error.
        RemoteProtocolError: It is no complete result.
    """
    response = jsonrpc.decode(line)
    if not isinstance(response, Response):
        raise RemoteProtocolError("not a response")
    if response.is_error:
        raise jsonrpc.reported(line)
    result = jsonrpc.object_of(response.members, "result")
    kind = jsonrpc.text_of(result, "resultType") if "resultType" in result else "complete"
    if kind != "complete":
        raise RemoteProtocolError(f"its result is of type {kind!r}, not complete")
    return result


def answered(line: bytes, id: Raw) -> bytes:  # noqa: A002
    """Return a server's response under the id of the request that it answers, and no other.

    Raises:
        RemoteProtocolError: It is no response.
    """
    response = jsonrpc.decode(line)
    if not isinstance(response, Response):
        raise RemoteProtocolError("not a response")
    same = jsonrpc.key_of(response.id) == jsonrpc.key_of(id)
    return line if same else response.with_id(id)


def is_note(line: bytes) -> bool:
    """Say whether a server's line is a notification: a response in its place may be another's."""
    try:
        return isinstance(jsonrpc.decode(line), Notification)
    except RemoteProtocolError:
        return False


def page_of(line: bytes, method: str) -> Page:
    """Read one page of a list.

    Raises:
        Reported: The server answered with an error.
        RemoteProtocolError: It answered with no list.
    """
    result = result_of(line)
    try:
        items = _items(result.get(LISTS[method], Raw(b"[]")))
    except (msgspec.DecodeError, RecursionError):
        raise RemoteProtocolError(f"{LISTS[method]!r} in its result is no list") from None
    # 2026-07-28, Server, Utilities, Pagination: an empty string is a valid cursor.
    cursor = result.get("nextCursor")
    return Page(items, None if cursor is None or bytes(cursor) == b"null" else cursor)


def named(found: Mapping[str, Iterable[Raw]], names: Names, servers: Iterable[str]) -> list[Raw]:
    """Return the tools or prompts of all servers; nothing but their names is changed."""
    everybody = list(servers)
    items = []
    for server, raw in _each(found):
        members = _members(raw)
        name = jsonrpc.text_of(members, "name")
        if name is not None:  # what has no name, nobody could call
            shown = names.shown(Place(server, name), everybody)
            members["name"] = Raw(jsonrpc.encode(shown))
            items.append(Raw(jsonrpc.encode(members)))
    return items


def located(method: str, found: Mapping[str, Iterable[Raw]], where: Whereabouts) -> Listed:
    """Return the resources or templates of all servers, and learn whose they are.

    Where two servers have the same, the first by name keeps it.
    """
    owners: dict[str, str] = {}
    items, clashes = [], []
    learn = where.learn if method == RESOURCES else where.learn_template
    for server, raw in _each(found):
        uri = jsonrpc.text_of(_members(raw), _MEMBER[method])
        if uri is None:
            continue
        owner = owners.setdefault(uri, server)
        if owner != server:
            clashes.append(Clash(uri, owner, server))
            continue
        learn(uri, server)
        items.append(raw)
    return Listed(items, clashes)


def discovered(found: Mapping[str, Members], *, whole: bool) -> dict[str, object]:
    """Return the members of the DiscoverResult that stands for all servers.

    That a list has changed is always told, as servers come and go. Unless the servers are `whole`
    (all that can ever belong have answered), one that comes later may offer any of the lists.
    """
    offered = [jsonrpc.object_of(found[server], "capabilities") for server in sorted(found)]
    capabilities: dict[str, dict[str, object]] = {
        kind: {"listChanged": True}
        for kind in _KINDS
        if not whole or any(kind in one for one in offered)
    }
    if any(_is_true(jsonrpc.object_of(one, "resources").get("subscribe")) for one in offered):
        capabilities["resources"]["subscribe"] = True
    for kind in ("completions", "logging"):
        if any(kind in one for one in offered):
            capabilities[kind] = {}
    result: dict[str, object] = {
        "supportedVersions": list(eras.MODERN_REVISIONS),
        "capabilities": capabilities,
    }
    instructions = _instructions(found)
    return {**result, "instructions": instructions} if instructions else result


def complete(id: Raw, version: str, fields: Mapping[str, object]) -> bytes:  # noqa: A002
    """Return a response of our own; it holds for this client, now."""
    meta = {eras.SERVER_INFO: {"name": "mcpnatsd", "version": version}}
    ours = {"resultType": "complete", **fields, "ttlMs": 0, "cacheScope": "private"}
    return jsonrpc.result(id, {**ours, eras.META: meta})


def _instructions(found: Mapping[str, Members]) -> str:
    """Return what each server says of itself, under its name."""
    said = ((server, jsonrpc.text_of(found[server], "instructions")) for server in sorted(found))
    return "\n\n".join(
        f"## {server}\n\n{text[:MOST_INSTRUCTIONS]}" for server, text in said if text
    )


def _each(found: Mapping[str, Iterable[Raw]]) -> Iterable[tuple[str, Raw]]:
    return ((server, raw) for server in sorted(found) for raw in found[server])


def _members(raw: Raw) -> Members:
    """Return the members of an entry; none when it is no object: one bad entry spoils no list."""
    return jsonrpc.object_of({"": raw}, "")


def _is_true(raw: Raw | None) -> bool:
    return raw is not None and bytes(raw) == b"true"
