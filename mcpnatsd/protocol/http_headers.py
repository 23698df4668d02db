"""The headers of MCP over HTTP that mirror a message's body: made by a client, checked by a server.

2026-07-28, Basic, Transports, Streamable HTTP. Which parameters of a tool are mirrored, its
`inputSchema` says by `x-mcp-header`. Headers are found by their names in lower case.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from mcpnatsd.errors import HttpRefused, Mismatch, RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.headers import METHOD, NAME, VERSION, safe
from mcpnatsd.protocol.jsonrpc import Members
from mcpnatsd.protocol.subjects import NAMED

PARAM: Final = "Mcp-Param-"
SESSION: Final = "Mcp-Session-Id"
LAST_EVENT: Final = "Last-Event-ID"

ANNOTATION: Final = "x-mcp-header"

_LOWER: Final = {name: name.lower() for name in (VERSION, METHOD, NAME)}
_MIRRORS: Final = frozenset(_LOWER.values())
_ONCE: Final = frozenset({
    "authorization",
    "content-type",
    "host",
    LAST_EVENT.lower(),
    SESSION.lower(),
    "origin",
    "transfer-encoding",
})  # fmt: skip
"""Headers of which a proxy may take one, and we another. RFC 9112, 3.2, says it of Host."""

_START: Final = "=?base64?"
_END: Final = "?="
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WHOLE: Final = re.compile(r"(-?[0-9]+)(?:\.0+)?")
_TYPES: Final = frozenset({"string", "integer", "boolean"})
_NUMBER_STARTS: Final = tuple(b"-0123456789")
_DATA: Final = frozenset({"default", "examples", "const", "enum"})
"""Keywords whose values are data, not schemas."""

_MAPS: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})

_TASKS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Methods of the tasks extension, which name a task."""

Pairs = list[tuple[str, str]]


class Param(NamedTuple):
    """One parameter that is mirrored: where it stands in the arguments, and under which header."""

    path: tuple[str, ...]
    header: str
    integer: bool


def decode(value: str) -> str | None:
    """Undo `headers.safe` as HTTP has it; None when it is not well formed.

    A value that does not both begin and end as base64 does stands for itself.
    """
    if not (value.startswith(_START) and value.endswith(_END)):
        return value
    payload = value[len(_START) : -len(_END)]
    try:
        raw = base64.b64decode(payload, validate=True)
        # Two ways to write one value would be two values to whoever compares them encoded.
        return raw.decode() if base64.b64encode(raw).decode() == payload else None
    except (binascii.Error, ValueError):
        return None


def params_in(schema: Raw | bytes | None) -> tuple[Param, ...]:
    """Return what a tool's `inputSchema` wants mirrored.

    Raises:
        RemoteProtocolError: An annotation is against the rules; nobody may use such a tool.
    """
    if schema is None or ANNOTATION.encode() not in bytes(schema):
        return ()
    try:
        found = tuple(_annotated(jsonrpc.value_of(schema), (), reachable=True))
    except (msgspec.DecodeError, RecursionError):
        raise RemoteProtocolError("its inputSchema cannot be read") from None
    seen = [param.header.lower() for param in found]
    if len(set(seen)) < len(seen):
        raise RemoteProtocolError(f"two parameters have the same {ANNOTATION}")
    return found


def standard(method: str, params: Members) -> Pairs:
    """Return the headers that each request has."""
    pairs = [(METHOD, safe(method))]
    revision = eras.requested_revision(jsonrpc.object_of(params, eras.META))
    if revision is not None:
        pairs.append((VERSION, safe(revision)))
    name = _name(method, params)
    if name is not None:
        pairs.append((NAME, safe(name)))
    return pairs


def mirrored(params: Iterable[Param], arguments: Raw | None) -> Pairs:
    """Return the headers that mirror a call's arguments. What is absent or null has none."""
    pairs = []
    for param in params:
        value = _rendered(_at(arguments, param.path))
        if value is not None:
            pairs.append((param.header, safe(value)))
    return pairs


def folded(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their names in lower case, without the blanks around their values.

    RFC 9110, 5.5: these are no part of a value.

    Raises:
        Mismatch: One that mirrors the body stands twice: two readers may take different ones.
        HttpRefused: Another one does that must not; 400.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1").lower()
        if key in found:
            _check_twice(key)
        found[key] = value.decode("latin-1").strip(" \t")
    return found


def _check_twice(key: str) -> None:
    if key in _MIRRORS or key.startswith(PARAM.lower()):
        raise Mismatch(f"header {key} stands twice")
    if key in _ONCE:
        raise HttpRefused(400, f"header {key} stands twice")


def check_standard(
    found: Mapping[str, str], method: str, revision: str | None, params: Members
) -> None:
    """Compare the headers that each request has with its body.

    Raises:
        Mismatch: One is missing, malformed, or says something else.
    """
    _check(found, METHOD, method)
    _check(found, VERSION, revision)
    name = _name(method, params)
    if name is not None:
        _check(found, NAME, name)


def check_mirrored(
    found: Mapping[str, str], params: Sequence[Param], arguments: Raw | None
) -> None:
    """Compare the headers that mirror a call's arguments with them.

    Raises:
        Mismatch: One is missing, malformed, says something else, or mirrors nothing.
    """
    for param in params:
        own = _rendered(_at(arguments, param.path))
        theirs = found.get(param.header.lower())
        if param.integer and theirs is not None and own is not None:
            theirs, own = _whole(theirs), _whole(own)
        if own is None and theirs is None:
            continue
        if own is None or theirs is None or decode(theirs) != own:
            where = ".".join(param.path)
            raise Mismatch(f"header {param.header} does not mirror the argument {where!r}")


def _check(found: Mapping[str, str], header: str, own: str | None) -> None:
    theirs = found.get(_LOWER[header])
    if theirs is None:
        raise Mismatch(f"header {header} is missing")
    # Only names may be encoded, but a method or a revision never looks as if it were.
    if decode(theirs) != own:
        raise Mismatch(f"header {header} is {theirs[:200]!r}, the body says {own!r}")


def _name(method: str, params: Members) -> str | None:
    member = "taskId" if method in _TASKS else NAMED.get(method)
    return None if member is None else jsonrpc.text_of(params, member)


def _annotated(place: object, path: tuple[str, ...], *, reachable: bool) -> Iterator[Param]:
    """Find the annotations of a schema; only a chain of `properties` reaches a parameter."""
    if not isinstance(place, dict):
        return
    if ANNOTATION in place:
        yield _param(place, path, reachable=reachable)
    for keyword, value in place.items():
        if keyword == "properties" and isinstance(value, dict):
            for name, one in value.items():
                yield from _annotated(one, (*path, name), reachable=reachable)
        elif keyword not in _DATA:
            for one in _schemas(keyword, value):
                yield from _annotated(one, path, reachable=False)


def _schemas(keyword: str, value: object) -> Iterable[object]:
    if isinstance(value, list):
        return value
    # The keys of these are names, not keywords.
    return value.values() if keyword in _MAPS and isinstance(value, dict) else (value,)


def _param(place: dict[str, Any], path: tuple[str, ...], *, reachable: bool) -> Param:
    header, where = place[ANNOTATION], ".".join(path)
    if not (reachable and path):
        raise RemoteProtocolError(f"{ANNOTATION} stands where no chain of `properties` leads")
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise RemoteProtocolError(f"{ANNOTATION} of {where!r} is no token")
    if not isinstance(place.get("type"), str) or place["type"] not in _TYPES:
        raise RemoteProtocolError(f"{ANNOTATION} of {where!r} wants a string, integer or boolean")
    return Param(path, PARAM + header, place["type"] == "integer")


def _at(arguments: Raw | None, path: tuple[str, ...]) -> Raw | None:
    members: Members = {} if arguments is None else {"": arguments}
    for step in ("", *path[:-1]):
        members = jsonrpc.object_of(members, step)
    return members.get(path[-1])


def _rendered(raw: Raw | None) -> str | None:
    """Return a value as its header has it; None for null, and for what no header can hold."""
    if raw is None:
        return None
    token = bytes(raw)
    if token[:1] == b'"':
        return jsonrpc.text_of({"": raw}, "")
    plain = token in (b"true", b"false") or token[0] in _NUMBER_STARTS
    return token.decode() if plain else None


def _whole(text: str) -> str:
    """Return a whole number in the one form that compares: "42.0" equals "42"."""
    whole = _WHOLE.fullmatch(text)
    return text if whole is None else whole[1]
