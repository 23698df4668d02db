"""JSON-RPC messages as envelopes: members split apart, their bytes untouched.

A payload is never decoded into Python objects here and never re-encoded: a member that nobody
needs to look at stays the bytes that arrived (`msgspec.Raw`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, ParseError, RemoteProtocolError, Reported

Members = dict[str, Raw]
Key = int | str
"""A request id or progress token, decoded: `7` and `"7"` differ, `0` is one."""

MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
"""Members of messages that mean something. For `refuse_lookalikes`."""

NAMING: Final = frozenset({"name", "uri", "_meta", "arguments"})
"""Likewise of the params of requests that name something."""

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602

_split = msgspec.json.Decoder(Members).decode
_text = msgspec.json.Decoder(str).decode
_key: Callable[[Raw], Key] = msgspec.json.Decoder(int | str).decode
encode = msgspec.json.Encoder().encode

_VERSION: Final = b'"2.0"'
_ID = rb"\"id\"\s*:\s*(\"(?:[^\"\\]|\\.){0,100}\"|-?\d{1,18})\s*"
_MARK = rb"\"jsonrpc\"\s*:\s*\"2\.0\"\s*"
_ID_FIRST = re.compile(rb"\s*\{\s*(?:" + _MARK + rb",\s*)?" + _ID + b",")
_ID_LAST = re.compile(_MARK + rb",\s*" + _ID + rb"\}\s*$")
_OUTCOME = rb"\"(?:result|error)\"\s*:"
_ANSWER_FIRST = re.compile(rb"\s*\{\s*(?:" + _MARK + rb",\s*)?" + _ID + rb",\s*" + _OUTCOME)
_ANSWER = re.compile(rb"\s*\{\s*(?:" + _MARK + rb",\s*)?" + _OUTCOME)
_NAME = re.compile(rb"\s*[{,]\s*\"(?:[^\"\\]++|\\.)*+\"\s*:\s*")
_END = re.compile(rb"\s*\{?\s*\}\s*$")
_TWICE: Final = "a member stands twice in one object"
_ABSURD: Final = 1000
_NULL: Final = Raw(b"null")
_TOO_DEEP: Final = "not JSON that anybody reads: it is nested too deeply"
_BLANKS: Final = bytes.maketrans(b"\r\n", b"  ")


class Request(msgspec.Struct):
    """A message that wants an answer."""

    id: Raw
    method: str
    members: Members

    def with_id(self, id: Raw, params: object) -> bytes:  # noqa: A002
        """Return the bytes under another id, with `params` in place of its own."""
        return encode({**self.members, "id": id, "params": params})


class Notification(msgspec.Struct):
    """A message that wants none."""

    method: str
    members: Members


class Response(msgspec.Struct):
    """An answer: its members hold `result` or `error`."""

    id: Raw
    members: Members

    @property
    def is_error(self) -> bool:
        return "error" in self.members

    def with_id(self, id: Raw) -> bytes:  # noqa: A002
        """Return the bytes under another id."""
        self.members["id"] = id
        return encode(self.members)


Message = Request | Notification | Response


def decode(line: bytes) -> Message:
    """Split one message into its members.

    Raises:
        ParseError: It is not JSON in UTF-8.
        RemoteProtocolError: It is JSON, but no JSON-RPC 2.0 message (a batch, a null id, …).
    """
    return classify(split(line))


def classify(members: Members) -> Message:
    """Say what kind of message these members are.

    Raises:
        RemoteProtocolError: They are no JSON-RPC 2.0 message.
    """
    if bytes(members.get("jsonrpc", _NULL)) != _VERSION:
        raise RemoteProtocolError('not a JSON-RPC 2.0 message: "jsonrpc" must be "2.0"')
    method = members.get("method")
    if method is None:
        return _response(members)
    if "result" in members or "error" in members:
        raise RemoteProtocolError("a message is a request or a response, not both")
    if "id" in members:
        return Request(_checked_id(members["id"]), _method(method), members)
    return Notification(_method(method), members)


def split(raw: bytes) -> Members:
    """Return the members of a JSON object, each as the bytes it came in.

    Raises:
        ParseError: It is not JSON in UTF-8.
        RemoteProtocolError: It is JSON, but not an object.
    """
    try:
        if not raw.isascii():
            raw.decode()
        return _split(raw)
    except msgspec.ValidationError:
        _refuse_kind(raw)
    except msgspec.DecodeError as error:
        raise ParseError(f"not JSON: {error}") from None
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8: {error.reason} at byte {error.start}") from None


def _refuse_kind(raw: bytes) -> NoReturn:
    if raw.lstrip()[:1] == b"[":
        raise RemoteProtocolError("batches are not supported: send one message a line")
    raise RemoteProtocolError("not an object")


def single_line(body: bytes) -> bytes:
    """Return a JSON text without raw CR or LF: between tokens they are only white space.

    Python servers read with universal newlines: a CR between two tokens would cut the message.
    """
    if b"\n" in body or b"\r" in body:
        return body.translate(_BLANKS).strip()
    return body


def params_of(members: Members) -> Members:
    """Return the members of `params`, none when it is absent.

    Raises:
        RemoteProtocolError: `params` is not an object, or nested too deeply.
    """
    raw = members.get("params")
    if raw is None:
        return {}
    try:
        return _split(raw)
    except msgspec.DecodeError:
        raise RemoteProtocolError("params must be an object") from None
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None


def object_of(members: Members, member: str) -> Members:
    """Return the members of an object-valued member; none when it is absent or something else.

    Raises:
        ParseError: It is nested too deeply. What passed `split` may do so in a deeper call.
    """
    raw = members.get(member)
    if raw is None:
        return {}
    try:
        return _split(raw)
    except msgspec.DecodeError:
        return {}
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None


def text_of(members: Members, member: str) -> str | None:
    """Return a string-valued member; None when it is absent or something else."""
    raw = members.get(member)
    if raw is None:
        return None
    try:
        return _text(raw)
    except msgspec.DecodeError:
        return None


def key_of(raw: Raw | None) -> Key | None:
    """Return an id or token in a form that compares as JSON-RPC ids do; None when it is neither."""
    if raw is None:
        return None
    try:
        return _key(raw)
    except msgspec.DecodeError:
        return None


def value_of(raw: Raw | bytes) -> object:
    """Decode a whole value. For the few places that look inside a payload."""
    return msgspec.json.decode(raw)


def refuse_duplicates(line: bytes) -> None:
    """Refuse an object that names a member twice. What its members hold is not looked into.

    Two readers may take different ones, and an access rule stands on the method and the name.

    Raises:
        ParseError: It is not JSON, or nested too deeply.
        RemoteProtocolError: A member stands twice, or it is no object that anybody would send.
    """
    members = split(line)
    if len(members) > _ABSURD or any(len(name) > _ABSURD for name in members):
        raise RemoteProtocolError(f"more than {_ABSURD} members, or as long a name of one")
    at = 0
    for raw in members.values():  # only without a second one do they follow upon each other
        value = bytes(raw)
        name = _NAME.match(line, at)
        if name is None or not line.startswith(value, name.end()):
            raise RemoteProtocolError(_TWICE)
        at = name.end() + len(value)
    if not _END.match(line, at):
        raise RemoteProtocolError(_TWICE)


def refuse_lookalikes(members: Members, known: frozenset[str]) -> None:
    """Refuse a member that a reader who ignores case takes for one of `known`.

    Such readers exist (Go's `encoding/json` is one), and they act on whichever comes last.

    Raises:
        RemoteProtocolError: A member looks like a known one, and is another.
    """
    if known.issuperset(members):
        return
    for member in members:
        if member not in known and (folded := _folded(member)) in known:
            raise RemoteProtocolError(f"member {member!r} looks like {folded!r}")


def _folded(member: str) -> str:
    # Both ways, since readers compare in either case: U+017F, U+212A, U+0131, U+0130.
    return member.upper().casefold().replace("\u0307", "")


def result(id: Raw | bytes, value: object) -> bytes:  # noqa: A002
    """Return a response that holds `value` as its result."""
    return encode({"jsonrpc": "2.0", "id": Raw(id), "result": value})


def error(
    id: Raw | bytes | None,  # noqa: A002
    code: int,
    text: str,
    data: Mapping[str, object] | None = None,
) -> bytes:
    """Return an error response; its id is null when the request's could not be read."""
    body: dict[str, object] = {"code": code, "message": text}
    if data is not None:
        body["data"] = data
    return encode({"jsonrpc": "2.0", "id": _NULL if id is None else Raw(id), "error": body})


def error_of(id: Raw | bytes | None, fault: McpnatsdError) -> bytes:  # noqa: A002
    """Return the error response that tells an exception of ours."""
    return error(id, fault.jsonrpc_code, str(fault), fault.data)


def fault_body(fault: McpnatsdError | None) -> bytes:
    """Return the JSON-RPC error object of an exception; nothing for none."""
    if fault is None:
        return b""
    return encode({"code": fault.jsonrpc_code, "message": str(fault), "data": fault.data})


def reported(body: bytes) -> Reported:
    """Return the error that a response, or an error object, holds."""
    try:
        value = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return Reported(-32603, "the other side closed without a reason")
    error = value.get("error", value)
    if not isinstance(error, dict):
        return Reported(-32603, "the other side sent a malformed error")
    code, data = error.get("code"), error.get("data")
    return Reported(
        code if isinstance(code, int) else -32603,
        str(error.get("message", "")),
        data if isinstance(data, dict) else None,
    )


def notification(method: str, params: Mapping[str, object]) -> bytes:
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def id_in(line: bytes) -> Raw | None:
    """Return the id of a message that is otherwise wrong, so that its error can name it."""
    try:
        found = _checked_id(_split(line)["id"])
        bytes(found).decode()  # an answer of ours is UTF-8, whatever the message was
    except (msgspec.DecodeError, RecursionError, KeyError, ValueError, RemoteProtocolError):
        return None
    return found


def id_at_ends(head: bytes, tail: bytes) -> Key | None:
    """Return the id of a message of which only both ends are left.

    SDKs write the id second, or last; an id anywhere else might be part of the payload.
    """
    found = _ID_FIRST.match(head) or _ID_LAST.search(tail)
    return None if found is None else key_of(Raw(found[1]))


def answered_in(line: bytes) -> Raw | None:
    """Return the id of the request that a line answers which is not JSON: none, if it is no answer.

    As SDKs write answers: the outcome right after the id, or first, with the id last.
    """
    found = _ANSWER_FIRST.match(line)
    if found is None and _ANSWER.match(line):
        found = _ID_LAST.search(line, max(0, len(line) - _ABSURD))
    return None if found is None else _readable(Raw(found[1]))


def _readable(id: Raw) -> Raw | None:  # noqa: A002
    try:
        bytes(id).decode()  # msgspec looks into ASCII escapes only
    except UnicodeDecodeError:
        return None
    return None if key_of(id) is None else id


def _method(raw: Raw) -> str:
    try:
        return _text(raw)
    except msgspec.DecodeError:
        raise RemoteProtocolError('"method" must be a string') from None


def _response(members: Members) -> Response:
    if ("result" in members) == ("error" in members):
        raise RemoteProtocolError('a message needs "method", "result" or "error"')
    if "result" in members:
        return Response(_checked_id(members.get("id", _NULL)), members)
    return Response(members.get("id", _NULL), members)


def _checked_id(raw: Raw) -> Raw:
    # 2026-07-28, Basic: "Requests MUST include a string or integer ID", never null.
    head = bytes(raw)
    if head[:1] == b'"' or head.lstrip(b"-").isdigit():
        return raw
    raise RemoteProtocolError('"id" must be a string or an integer')
