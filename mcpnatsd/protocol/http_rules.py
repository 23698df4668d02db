"""The rules of MCP over HTTP: eras, statuses, what must be in a request, who may come.

2026-07-28 and 2025-11-25, Basic, Transports, Streamable HTTP.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

from mcpnatsd.errors import HttpRefused, Reported
from mcpnatsd.protocol import eras, http_headers, jsonrpc
from mcpnatsd.protocol.headers import VERSION
from mcpnatsd.protocol.jsonrpc import Members, Request

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_ERROR_STATUS: Final[Mapping[int, int]] = {
    -32700: 400,
    -32600: 400,
    -32602: 400,
    -32020: 400,
    -32021: 400,
    -32022: 400,
    -32601: 404,
    -31001: 503,
    -31002: 403,
    -31003: 413,
    -31004: 502,
    -31005: 502,
    -31006: 400,
    -31007: 503,
    -31008: 504,
    -32603: 500,
}
"""The first seven are MCP's. The others are ours (WIRE.md): proxies and monitors read statuses.
A server's own -32603 keeps 200, see `status_of_line`."""

_SERVER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_VERSION_KEY: Final = VERSION.lower()
_INTERNAL: Final = -32603
_NEEDED: Final = (eras.PROTOCOL_VERSION, eras.CLIENT_CAPABILITIES)


def status_of(code: int) -> int:
    """Return the status of an answer that is a JSON-RPC error with this code."""
    return _ERROR_STATUS.get(code, 200)


def status_of_line(line: bytes) -> int:
    """Return the status of a final response."""
    if b'"error"' not in line:
        return 200
    members = jsonrpc.split(line)
    if "error" not in members:
        return 200
    code = jsonrpc.key_of(jsonrpc.object_of(members, "error").get("code"))
    return status_of(code) if isinstance(code, int) and code != _INTERNAL else 200


def names_legacy(headers: Mapping[str, str]) -> bool:
    """Tell whether the headers are those of the handshake era; the first revisions had none."""
    revision = headers.get(_VERSION_KEY)
    return revision is None or revision in eras.LEGACY_REVISIONS


def check_modern(
    headers: Mapping[str, str], request: Request, params: Members, meta: Members
) -> None:
    """Check what a modern request must say, and that headers and body say the same.

    `params` and `meta` are the members of its params, and of `_meta` there.

    Raises:
        Reported: A member is missing, or the revision or the method is not of this era.
        Mismatch: Headers and body differ.
    """
    missing = [key for key in _NEEDED if key not in meta]
    if missing:
        raise Reported(jsonrpc.INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    revision = eras.requested_revision(meta)
    http_headers.check_standard(headers, request.method, revision, params)
    check_revision(revision or "")
    if request.method == eras.INITIALIZE:
        text = "initialize belongs to revisions up to 2025-11-25, and is sent without this one"
        raise Reported(jsonrpc.METHOD_NOT_FOUND, text)


def check_revision(revision: str) -> None:
    """Refuse a revision that nobody here speaks.

    Raises:
        Reported: It is none of the modern ones.
    """
    if revision not in eras.MODERN_REVISIONS:
        data = {"supported": list(eras.MODERN_REVISIONS), "requested": revision}
        raise Reported(eras.UNSUPPORTED_VERSION, "Unsupported protocol version", data)


def check_content_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not said to be JSON.

    Raises:
        HttpRefused: 415.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise HttpRefused(415, f"send Content-Type: {JSON}")


def check_accept(headers: Mapping[str, str], *kinds: str) -> None:
    """Refuse a client that does not take the kinds of answer it may get.

    Raises:
        HttpRefused: 406.
    """
    accept = headers.get("accept", "")
    if all(kind in accept for kind in kinds):
        return
    offered = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    for kind in kinds:
        group = f"{kind.partition('/')[0]}/*"
        if not {kind, group, "*/*"}.intersection(offered):
            raise HttpRefused(406, f"send Accept: {', '.join(kinds)}")


class Visitors:
    """Under which names a listener is reached, and whose pages may come.

    A page of another site that had its name point to this machine (DNS rebinding) shows by either.
    """

    def __init__(self, *, hosts: Iterable[str], origins: Iterable[str], any_host: bool) -> None:
        self._any_host = any_host
        self._hosts = frozenset(host.lower() for host in hosts)
        self._names = self._hosts.union(_LOCAL_NAMES)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def check(self, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Raises:
            HttpRefused: 421 for another name, 403 for another origin.
        """
        host = headers.get("host", "").lower()
        if not (self._any_host or self._knows(host)):
            raise HttpRefused(421, "this listener has another name; `hosts` names those it has")
        origin = headers.get("origin", "").lower()
        if origin and not self._welcomes(origin, host):
            raise HttpRefused(403, "this origin may not come; `origins` names those that may")

    def _knows(self, host: str) -> bool:
        return host in self._hosts or _name_of(host) in self._names

    def _welcomes(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        try:
            place = urlsplit(origin).netloc
        except ValueError:
            return False
        # With any host there is no telling whether Host and Origin are both somebody else's.
        own = place == host and not self._any_host
        return bool(place) and (own or _name_of(place) in _LOCAL_NAMES)


def serves(server: str, patterns: Iterable[str]) -> bool:
    """Tell whether a listener offers this server. What is no name of a server is never one."""
    return bool(_SERVER.fullmatch(server)) and any(
        fnmatchcase(server, pattern) for pattern in patterns
    )


def _name_of(place: str) -> str:
    """Return a host without its port: `[::1]:80` is `::1`."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0]
