"""Modern messages as a legacy server reads them, and its answers as a modern client does."""

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Request, Response

INTERNAL_ERROR: Final = -32603
NOT_FOUND: Final = -32002
NEEDS_URL: Final = -32042
"""Two codes of the legacy era that nobody may send in the modern one."""

STATE: Final = "requestState"
ANSWERS: Final = "inputResponses"
LEVELS: Final = (
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
)  # fmt: skip

_ENVELOPE: Final = (
    eras.PROTOCOL_VERSION,
    eras.CLIENT_CAPABILITIES,
    eras.CLIENT_INFO,
    eras.LOG_LEVEL,
)
_ROUND: Final = (eras.META, STATE, ANSWERS)
_CACHED: Final = frozenset({
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
})  # fmt: skip
"""Results that must say how long they may be kept. Ours say: not at all, by nobody else."""

_TYPE: Final = Raw(b'"complete"')
_HINTS: Final = {"ttlMs": Raw(b"0"), "cacheScope": Raw(b'"private"')}
_COMPLETE: Final = b'{"resultType":"complete",'
_COMPLETE_CACHED: Final = b'{"resultType":"complete","ttlMs":0,"cacheScope":"private",'
_MARKS: Final = (b'"resultType"', b'"ttlMs"', b'"cacheScope"')
_SMALL: Final = 16
"""Bytes of a result up to which it may be an empty object."""

_UNOFFERED: Final = ("tasks", "experimental")
_REMOVED: Final = {
    "initialize": "name the revision in params._meta instead",
    "ping": "a request that is answered shows as much",
    eras.SET_LEVEL: f"name the level in params._meta[{eras.LOG_LEVEL!r}] of each request",
    eras.SUBSCRIBE: "name the URI in a subscriptions/listen",
    eras.UNSUBSCRIBE: "cancel its subscriptions/listen",
}


class Declared(msgspec.Struct, frozen=True):
    """What a modern client says it can do, for the handshake of its legacy session."""

    capabilities: Members
    client: Raw | None
    kinds: frozenset[str]
    """Of requests that it answers: roots, sampling, elicitation."""

    def initialize(self, version: str) -> dict[str, object]:
        """Return the `params` of the `initialize` that opens the session."""
        own = eras.our_initialize(version)
        client = own["clientInfo"] if self.client is None else self.client
        return {**own, "capabilities": self.capabilities, "clientInfo": client}


NOTHING: Final = Declared({}, None, frozenset())


def check_envelope(meta: Members) -> None:
    """Check what every modern request must say of itself.

    Raises:
        Reported: It names no revision, an unknown one, or no capabilities.
    """
    revision = eras.requested_revision(meta)
    if revision is None:
        raise Reported(
            jsonrpc.INVALID_PARAMS, f"params._meta needs {eras.PROTOCOL_VERSION!r}, a string"
        )
    if revision not in eras.MODERN_REVISIONS:
        supported = {"supported": list(eras.MODERN_REVISIONS), "requested": revision}
        raise Reported(eras.UNSUPPORTED_VERSION, "Unsupported protocol version", supported)
    if bytes(meta.get(eras.CLIENT_CAPABILITIES, b""))[:1] != b"{":
        text = f"params._meta needs {eras.CLIENT_CAPABILITIES!r}, an object"
        raise Reported(jsonrpc.INVALID_PARAMS, text)


def check_method(method: str) -> None:
    """Refuse what the modern era does not have.

    Raises:
        Reported: It was removed; the text says what takes its place.
    """
    instead = _REMOVED.get(method)
    if method.startswith("tasks/"):
        instead = "the server behind this bridge runs no task for a client of this revision"
    if instead is not None:
        text = f"{method} is not in {eras.MODERN_REVISIONS[0]}: {instead}"
        raise Reported(jsonrpc.METHOD_NOT_FOUND, text)


def said_of_client(meta: Members) -> tuple[bytes, bytes]:
    """Return what a request says of its client: who says something else has another session."""
    return (
        bytes(meta.get(eras.CLIENT_CAPABILITIES, b"")),
        bytes(meta.get(eras.CLIENT_INFO, b"")),
    )


def declared(meta: Members) -> Declared:
    """Read off a request what its client can do.

    The members of both eras have the same names and shapes; tasks are not to be had from here.
    """
    capabilities = jsonrpc.object_of(meta, eras.CLIENT_CAPABILITIES)
    capabilities.pop("tasks", None)
    asked = ("roots", "sampling", "elicitation")
    kinds = frozenset(kind for kind in asked if bytes(capabilities.get(kind, b""))[:1] == b"{")
    client = meta.get(eras.CLIENT_INFO)
    kept = {name: value.copy() for name, value in capabilities.items()}
    return Declared(kept, None if client is None else client.copy(), kinds)


def level_in(meta: Members) -> int | None:
    """Return the log level that a request opts into; None when it wants no logs.

    Raises:
        Reported: There is no such level.
    """
    if eras.LOG_LEVEL not in meta:
        return None
    level = jsonrpc.text_of(meta, eras.LOG_LEVEL)
    if level not in LEVELS:
        text = f"params._meta[{eras.LOG_LEVEL!r}] is none of {', '.join(LEVELS)}"
        raise Reported(jsonrpc.INVALID_PARAMS, text)
    return LEVELS.index(level)


def for_server(
    request: Request, params: Members, meta: Members, ours: int
) -> tuple[bytes, Raw | None]:
    """Return a request as the server gets it, and its caller's progress token.

    `params`, and `meta` of them, are changed.
    """
    number = Raw(b"%d" % ours)
    token = meta.get(eras.PROGRESS_TOKEN)
    for name in _ENVELOPE:
        meta.pop(name, None)
    for name in _ROUND:
        params.pop(name, None)
    if token is not None:
        token = token.copy()
        meta[eras.PROGRESS_TOKEN] = number
    if meta:
        params[eras.META] = Raw(jsonrpc.encode(meta))
    return request.with_id(number, params), token


def for_client(method: str, response: Response) -> None:
    """Give a response what the modern era wants of it."""
    members = response.members
    if "error" in members:
        members["error"] = _error(members["error"])
    else:
        members["result"] = completed(method, members["result"])


def completed(method: str, result: Raw) -> Raw:
    """Return a result that says it is one. All bytes of its own stay."""
    raw = bytes(result)
    cached = method in _CACHED
    if raw[:1] != b"{" or (not cached and raw.startswith(_COMPLETE)):
        return result
    if len(raw) > _SMALL and not _is_marked(raw, cached=cached):
        head = _COMPLETE_CACHED if cached else _COMPLETE
        return Raw(b"".join((head, memoryview(raw)[1:])))
    own = jsonrpc.split(raw)
    ours = {"resultType": _TYPE, **(_HINTS if cached else {})}
    return Raw(jsonrpc.encode({**ours, **own}))


def _is_marked(raw: bytes, *, cached: bool) -> bool:
    """Say whether a result may have a member that we would add."""
    return _MARKS[0] in raw or (cached and (_MARKS[1] in raw or _MARKS[2] in raw))


def discovered(initialized: bytes, *, logs: bool = True) -> bytes:
    """Return the DiscoverResult of a server that answered `initialize` with this result."""
    result = jsonrpc.split(initialized)
    capabilities = jsonrpc.object_of(result, "capabilities")
    for name in (*_UNOFFERED, *(() if logs else ("logging",))):
        capabilities.pop(name, None)
    found: dict[str, object] = {
        "resultType": _TYPE,
        "supportedVersions": eras.MODERN_REVISIONS,
        "capabilities": capabilities,
        **_HINTS,
    }
    if "instructions" in result:
        found["instructions"] = result["instructions"]
    if "serverInfo" in result:
        found[eras.META] = {eras.SERVER_INFO: result["serverInfo"]}
    return jsonrpc.encode(found)


def fingerprint(method: str, params: Members) -> bytes:
    """Return a hash of what is asked, whatever the round: a retry must ask the same."""
    asked = {name: jsonrpc.value_of(raw) for name, raw in params.items() if name not in _ROUND}
    return sha256(msgspec.json.encode([method, asked], order="sorted")).digest()


def _error(raw: Raw) -> Raw:
    error = jsonrpc.object_of({"error": raw}, "error")
    code = jsonrpc.key_of(error.get("code"))
    if code == NOT_FOUND:
        error["code"] = Raw(b"%d" % jsonrpc.INVALID_PARAMS)
    elif code == NEEDS_URL:
        words = jsonrpc.text_of(error, "message") or ""
        text = f"the server wants a URL to be visited first, which `data` names: {words}"
        error["code"] = Raw(b"%d" % INTERNAL_ERROR)
        error["message"] = Raw(jsonrpc.encode(text))
    else:
        return raw
    return Raw(jsonrpc.encode(error))
