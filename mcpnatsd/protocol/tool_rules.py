"""Which tools may be seen and called: `tools: allow/deny`, the second wall behind NATS."""

import re
from collections.abc import Iterable
from fnmatch import translate

import msgspec
from msgspec import Raw

from mcpnatsd.errors import Refused, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Response

_list = msgspec.json.Decoder(list[Raw]).decode


class ToolRules:
    """Shell patterns on a tool's name. `deny` wins."""

    def __init__(self, server: str, allow: Iterable[str], deny: Iterable[str]) -> None:
        allow, deny = tuple(allow), tuple(deny)
        self._server = server
        self._allow = _any_of(allow)
        self._deny = _any_of(deny)
        self.open = allow == ("*",) and not deny
        """Whether every tool is permitted, so that nothing need be looked at."""

    def permits(self, name: str) -> bool:
        return self.open or bool(self._allow.match(name) and not self._deny.match(name))

    def check(self, name: str) -> None:
        """Let a call pass.

        Raises:
            Refused: The configuration does not permit this tool.
        """
        if not self.permits(name):
            raise Refused(
                f"tool {name!r} of server {self._server!r} is not permitted by `tools: allow/deny`"
            )

    def filtered(self, response: Response, line: bytes) -> bytes:
        """Return the answer to `tools/list` without the tools that nobody may call."""
        if self.open or response.is_error:
            return line
        result = jsonrpc.object_of(response.members, "result")
        tools = _tools(result)
        kept = [raw for raw in tools if self.permits(tool_name(raw))]
        if len(kept) == len(tools):
            return line
        result["tools"] = Raw(jsonrpc.encode(kept))
        return jsonrpc.encode({**response.members, "result": result})


def tools_in(response: Response) -> list[Raw]:
    """Return the tools of an answer to `tools/list`, each as it came."""
    return _tools(jsonrpc.object_of(response.members, "result"))


def cursor_in(response: Response) -> Raw | None:
    """Return where the next page starts; None on the last one. An empty string is a cursor."""
    raw = jsonrpc.object_of(response.members, "result").get("nextCursor")
    return raw if raw is not None and bytes(raw)[:1] == b'"' else None


def tool_name(raw: Raw) -> str:
    try:
        return jsonrpc.text_of(jsonrpc.split(bytes(raw)), "name") or ""
    except RemoteProtocolError:
        return ""


def _tools(result: jsonrpc.Members) -> list[Raw]:
    try:
        return _list(result.get("tools", Raw(b"[]")))
    except msgspec.DecodeError:
        return []


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)", re.DOTALL)
