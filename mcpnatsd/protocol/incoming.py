"""A message as it came off the bus, and the check that its parts agree.

The subject is never decoded: the body's own method and name are encoded and compared with it, so
that `=64elete_repo` cannot pass where `delete_repo` is denied (WIRE.md, "Integrity").
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, Mismatch, RemoteProtocolError
from mcpnatsd.protocol import eras, headers, jsonrpc, subjects
from mcpnatsd.protocol.jsonrpc import Members, Notification, Request
from mcpnatsd.protocol.outgoing import name_of

REQUEST_TOKENS: Final = 2
"""Tokens between the prefix and the tail of `{p}.req.{server}.…`; `cxl` has as many."""

PINNED_TOKENS: Final = 4
"""Likewise of `{p}.ses.{server}.{instance}.{id}.…`"""

_CALL_TAIL: Final = b"tools.call."


class Incoming(msgspec.Struct):
    """One message off the bus: its subject taken apart, its headers read, its body untouched."""

    tokens: list[bytes]
    tail: str
    reply: str
    body: bytes
    headers: dict[str, str]
    user: bytes
    """The caller as NATS enforces it; empty where the prefix names none."""

    call: str
    frame: str

    @property
    def subject(self) -> str:
        return b".".join(self.tokens).decode("latin-1")

    @property
    def pinned_id(self) -> str:
        return self.tokens[-2].decode("latin-1")

    @property
    def base(self) -> str:
        """The prefix as this caller published it."""
        return b".".join(self.tokens[: -PINNED_TOKENS - 1]).decode("latin-1")

    def check(self, method: str, name: str | None) -> None:
        """Compare subject, mirrored headers and body.

        Raises:
            Mismatch: They name different things.
        """
        if subjects.tail(method, name) != self.tail:
            raise Mismatch(
                f"the subject ends in {self.tail!r}, the body says {method} {name or ''}"
            )
        for header, own in ((headers.METHOD, method), (headers.NAME, name)):
            mirrored = self.headers.get(header)
            if mirrored is not None and headers.plain(mirrored) != own:
                raise Mismatch(f"header {header} is {mirrored!r}, the body says {own!r}")

    def refusal(self, fault: McpnatsdError) -> tuple[bytes, bytes]:
        """Return body and header block of the answer that tells an exception of ours."""
        if self.call or b'"jsonrpc"' in self.body:
            return jsonrpc.error_of(jsonrpc.id_in(self.body), fault), b""
        code = str(fault.jsonrpc_code)
        pairs = [(headers.ERROR, headers.safe(str(fault))), (headers.ERROR_CODE, code)]
        return b"", headers.encode(pairs)


class Asked(msgspec.Struct):
    """A request, checked against nothing yet, with what its subject must name."""

    request: Request
    params: Members
    name: str | None
    bare: bool
    meta_read: Members | None = None

    def meta(self) -> Members:
        """Return `params._meta`, which is decoded once."""
        if self.meta_read is None:
            self.meta_read = jsonrpc.object_of(self.params, eras.META)
        return self.meta_read


def read(
    prefix: subjects.Prefix,
    between: int,
    subject: bytes,
    reply: bytes,
    body: bytes,
    block: bytes | None,
) -> Incoming:
    """Take a message apart; `between` counts the tokens between prefix and tail."""
    tokens = subject.split(b".", len(prefix.tokens) + between)
    found = headers.parse_request(block)
    return Incoming(
        tokens=tokens,
        tail=tokens[-1].decode("latin-1"),
        reply=reply.decode("latin-1"),
        body=body,
        headers=found,
        user=prefix.caller_in(tokens) if prefix.names_caller else b"",
        call=found.get(headers.CALL, ""),
        frame=found.get(headers.FRAME, ""),
    )


def asked(
    incoming: Incoming, body: bytes, tools: Callable[[], Iterable[str]], version: str
) -> Asked:
    """Read the request in a body; bare arguments on a tool's subject become a call of it.

    Raises:
        RemoteProtocolError: It is neither, or a member looks like one that it is not. A
            notification is no request: see `notified`.
    """
    callable_bare = incoming.tail.startswith("tools.call.")
    if callable_bare and (not body or body.isspace()):
        return _bare_call(incoming, b"{}", tools(), version)
    members = jsonrpc.split(body)
    if callable_bare and "jsonrpc" not in members:
        return _bare_call(incoming, body, tools(), version)
    jsonrpc.refuse_lookalikes(members, jsonrpc.MEMBERS)
    message = jsonrpc.classify(members)
    if not isinstance(message, Request):
        raise RemoteProtocolError("only requests are answered on this subject")
    params = jsonrpc.params_of(members)
    if message.method in subjects.NAMED:
        jsonrpc.refuse_lookalikes(params, jsonrpc.NAMING)
    return Asked(message, params, name_of(message.method, params), bare=False)


def notified(body: bytes) -> Notification | None:
    """Return the notification in a body that wants no answer; None when it is something else."""
    try:
        message = jsonrpc.decode(body)
        jsonrpc.refuse_lookalikes(message.members, jsonrpc.MEMBERS)
    except McpnatsdError:
        return None
    return message if isinstance(message, Notification) else None


def _bare_call(incoming: Incoming, arguments: bytes, tools: Iterable[str], version: str) -> Asked:
    name = _tool_on(incoming, tools)
    params: Members = {
        "name": Raw(jsonrpc.encode(name)),
        "arguments": Raw(arguments),
        eras.META: Raw(jsonrpc.encode(eras.our_meta(version))),
    }
    members: Members = {
        "jsonrpc": Raw(b'"2.0"'),
        "id": Raw(b"0"),
        "method": Raw(b'"tools/call"'),
        "params": Raw(jsonrpc.encode(params)),
    }
    return Asked(Request(members["id"], eras.CALL_TOOL, members), params, name, bare=True)


def _tool_on(incoming: Incoming, tools: Iterable[str]) -> str:
    """Find the tool whose name encodes to this subject."""
    mirrored = headers.plain(incoming.headers.get(headers.NAME, ""))
    as_written = incoming.tail[len(_CALL_TAIL) :]
    for name in (mirrored, as_written, *tools):
        if name and subjects.tail(eras.CALL_TOOL, name) == incoming.tail:
            return name
    raise RemoteProtocolError(
        f"no tool's name encodes to {as_written!r}; send the name in the header {headers.NAME}"
    )
