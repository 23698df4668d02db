"""The two eras of MCP: which one a message, a server or a client belongs to.

Modern is 2026-07-28 and later: every request carries its revision. Legacy is the handshake era,
2024-11-05 to 2025-11-25: `initialize` opens a session.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from mcpnatsd.errors import EraMismatch
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Request, Response

MODERN_REVISIONS: Final = ("2026-07-28",)
LEGACY_REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")

DISCOVER: Final = "server/discover"
INITIALIZE: Final = "initialize"
INITIALIZED: Final = "notifications/initialized"
CANCELLED: Final = "notifications/cancelled"
PROGRESS: Final = "notifications/progress"
MESSAGE: Final = "notifications/message"
LISTEN: Final = "subscriptions/listen"
PING: Final = "ping"
LIST_TOOLS: Final = "tools/list"
CALL_TOOL: Final = "tools/call"
SET_LEVEL: Final = "logging/setLevel"
SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"

ASKABLE: Final = frozenset({CALL_TOOL, "prompts/get", "resources/read"})
"""2026-07-28, Basic, Patterns: only these may be answered with `input_required`."""

META: Final = "_meta"
PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
PROGRESS_TOKEN: Final = "progressToken"  # noqa: S105  (a member's name)

UNSUPPORTED_VERSION: Final = -32022
MODERN_ERRORS: Final = frozenset({-32020, -32021, UNSUPPORTED_VERSION})
"""Errors that only a modern server sends. 2026-07-28, Basic, Versioning: any other error, or
silence, means legacy."""

REPEATABLE: Final = frozenset({
    DISCOVER,
    LIST_TOOLS,
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
})  # fmt: skip
"""Requests that an edge may send again when their outcome is unknown. Never `tools/call`."""


class Era(StrEnum):
    MODERN = "modern"
    LEGACY = "legacy"


def requested_revision(meta: Members) -> str | None:
    """Return the revision that a modern request names; None when it is no modern request."""
    return jsonrpc.text_of(meta, PROTOCOL_VERSION)


def our_meta(version: str) -> dict[str, object]:
    """Return the `_meta` of requests that we make ourselves, in the modern era."""
    return {
        PROTOCOL_VERSION: MODERN_REVISIONS[0],
        CLIENT_CAPABILITIES: {},
        CLIENT_INFO: {"name": "mcpnatsd", "version": version},
    }


def our_initialize(version: str) -> dict[str, object]:
    """Return the `params` of an `initialize` of our own: no capabilities are offered."""
    return {
        "protocolVersion": LEGACY_REVISIONS[0],
        "capabilities": {},
        "clientInfo": {"name": "mcpnatsd", "version": version},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of a server's eras. Cached between runs; `era:` in the configuration wins."""

    modern: bool | None = None
    legacy: bool | None = None
    revisions: tuple[str, ...] = ()
    """What the server says it supports, newest first."""

    discovered: bytes = b""
    """The result of its `server/discover`, as it came."""

    initialized: bytes = b""
    """Likewise of `initialize`."""

    server_name: str = ""
    server_version: str = ""

    @property
    def names(self) -> str:
        """The eras as a person reads them; empty when nothing is known."""
        known = [
            era
            for era, yes in ((Era.MODERN, self.modern), (Era.LEGACY, self.legacy))
            if yes
        ]  # fmt: skip
        return ",".join(known)


def verdict_of_discover(response: Response) -> Verdict:
    """Read the answer to `server/discover`.

    2026-07-28, Basic, Versioning: a DiscoverResult or an error that only modern servers send
    means modern; any other error means legacy.
    """
    if response.is_error:
        code, supported = _error_of(response)
        modern = code in MODERN_ERRORS
        return Verdict(modern=modern, legacy=None if modern else True, revisions=supported)
    result = jsonrpc.object_of(response.members, "result")
    revisions = _texts(result.get("supportedVersions"))
    info = jsonrpc.object_of(jsonrpc.object_of(result, META), SERVER_INFO)
    return Verdict(
        modern=bool(set(revisions) & set(MODERN_REVISIONS)),
        revisions=revisions,
        discovered=bytes(response.members["result"]),
        server_name=jsonrpc.text_of(info, "name") or "",
        server_version=jsonrpc.text_of(info, "version") or "",
    )


def verdict_of_initialize(response: Response) -> Verdict:
    """Read the answer to `initialize`: a result means legacy, -32022 a modern-only server."""
    if response.is_error:
        code, supported = _error_of(response)
        modern = True if code == UNSUPPORTED_VERSION else None
        return Verdict(modern=modern, legacy=False, revisions=supported)
    result = jsonrpc.object_of(response.members, "result")
    info = jsonrpc.object_of(result, "serverInfo")
    revision = jsonrpc.text_of(result, "protocolVersion")
    return Verdict(
        legacy=True,
        revisions=(revision,) if revision else (),
        initialized=bytes(response.members["result"]),
        server_name=jsonrpc.text_of(info, "name") or "",
        server_version=jsonrpc.text_of(info, "version") or "",
    )


def merged(old: Verdict, new: Verdict) -> Verdict:
    """Return what both say; the newer wins where they differ.

    What an era left behind goes with it: an upgraded server does not speak it any more.
    """
    modern = old.modern if new.modern is None else new.modern
    legacy = old.legacy if new.legacy is None else new.legacy
    gone = (
        *(MODERN_REVISIONS if modern is False else ()),
        *(LEGACY_REVISIONS if legacy is False else ()),
    )
    kept = (revision for revision in old.revisions if revision not in gone)
    return Verdict(
        modern=modern,
        legacy=legacy,
        revisions=tuple(dict.fromkeys((*new.revisions, *kept))),
        discovered=b"" if modern is False else new.discovered or old.discovered,
        initialized=b"" if legacy is False else new.initialized or old.initialized,
        server_name=new.server_name or old.server_name,
        server_version=new.server_version or old.server_version,
    )


def mismatch(server: str, verdict: Verdict, requested: str) -> EraMismatch:
    """Return the error that names what both sides speak."""
    era = Era.LEGACY if requested in LEGACY_REVISIONS else Era.MODERN
    theirs = verdict.revisions or (LEGACY_REVISIONS if era is Era.MODERN else MODERN_REVISIONS)
    either = ", ".join(theirs) if verdict.revisions else f"{theirs[0]} or older"
    return EraMismatch(
        f"server {server!r} speaks MCP {either}, this client asks for {requested}; "
        "use a client or a server of the other's era",
        supported=theirs,
        requested=requested,
    )


def requested_by_initialize(request: Request) -> str:
    """Return the revision that a legacy client asks for."""
    params = jsonrpc.params_of(request.members)
    return jsonrpc.text_of(params, "protocolVersion") or LEGACY_REVISIONS[0]


def _error_of(response: Response) -> tuple[int, tuple[str, ...]]:
    error = jsonrpc.object_of(response.members, "error")
    code = jsonrpc.key_of(error.get("code"))
    data = jsonrpc.object_of(error, "data")
    return code if isinstance(code, int) else 0, _texts(data.get("supported"))


def _texts(raw: msgspec.Raw | None) -> tuple[str, ...]:
    if raw is None:
        return ()
    try:
        return msgspec.json.decode(raw, type=tuple[str, ...])
    except msgspec.DecodeError:
        return ()
