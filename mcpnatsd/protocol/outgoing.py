"""A request as the wire needs it: what it names, for whom, in which bytes."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

import msgspec
from msgspec import Raw

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import eras, headers, jsonrpc, subjects
from mcpnatsd.protocol.jsonrpc import Members, Request


class Outgoing(msgspec.Struct):
    """One request on its way to a server."""

    line: bytes
    id: Raw
    method: str
    name: str | None
    revision: str
    trace: str | None
    affinity: bytes | None
    """Hash of the state that belongs to one instance; None when any instance may answer."""

    @property
    def tail(self) -> str:
        return subjects.tail(self.method, self.name)

    @property
    def repeatable(self) -> bool:
        return self.method in eras.REPEATABLE

    def header_block(self, call: str, extra: Iterable[tuple[str, str]] = ()) -> bytes:
        """Return the headers of this request under that call token."""
        names = self.revision, self.method, self.name
        size = len(self.revision) + len(self.method) + len(self.name or "")
        short = size <= subjects.MOST_BYTES
        start = _first_headers(*names) if short else _first_headers.__wrapped__(*names)
        if self.trace:
            extra = (*extra, (headers.TRACEPARENT, headers.safe(self.trace)))
        more = "".join([f"{name}:{value}\r\n" for name, value in extra])
        return b"%b%b%b:%b\r\n\r\n" % (start, more.encode(), b"Mcp-Call", call.encode())


def read(request: Request, line: bytes, params: Members, meta: Members) -> Outgoing:
    """Read off a request what its subject and headers say.

    Raises:
        RemoteProtocolError: It must name something (a tool, a prompt, a URI) and does not.
    """
    return Outgoing(
        line=line,
        id=request.id.copy(),
        method=request.method,
        name=name_of(request.method, params),
        revision=eras.requested_revision(meta) or "",
        trace=jsonrpc.text_of(meta, "traceparent") if "traceparent" in meta else None,
        affinity=affinity_of_request(request.method, params),
    )


def name_of(method: str, params: Members) -> str | None:
    """Return what a request names: a tool, a prompt, a URI; None for methods that name nothing.

    Raises:
        RemoteProtocolError: The method must name something and the request does not.
    """
    member = subjects.NAMED.get(method)
    if member is None:
        return None
    name = jsonrpc.text_of(params, member)
    if name is None:
        raise RemoteProtocolError(f"{method} needs a string in params.{member}")
    return name


def affinity_of_request(method: str, params: Members) -> bytes | None:
    """Return the hash of the server's state that a request carries, if it does."""
    raw = params.get("requestState")
    if raw is None and method.startswith("tasks/"):
        raw = params.get("taskId")
    return None if raw is None else _state_hash(raw)


def affinity_of_result(line: bytes) -> bytes | None:
    """Return the hash of the state that a final response hands out, if it does."""
    if b'"requestState"' not in line and b'"taskId"' not in line:
        return None
    try:
        result = jsonrpc.object_of(jsonrpc.split(line), "result")
    except RemoteProtocolError:
        return None
    raw = result.get("requestState") or result.get("taskId")
    return None if raw is None else _state_hash(raw)


def _state_hash(raw: Raw) -> bytes:
    state = jsonrpc.key_of(raw)
    if state is None:  # no server's: it passes, and belongs to whoever handed out the same bytes
        return sha256(bytes(raw)).digest()
    return sha256(str(state).encode()).digest()


@lru_cache(maxsize=1024)
def _first_headers(revision: str, method: str, name: str | None) -> bytes:
    pairs = [(headers.WIRE, headers.WIRE_VERSION)]
    if revision:
        pairs.append((headers.VERSION, headers.safe(revision)))
    pairs.append((headers.METHOD, headers.safe(method)))
    if name is not None:
        pairs.append((headers.NAME, headers.safe(name)))
    return headers.encode(pairs)[:-2]
