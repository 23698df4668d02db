"""Which arguments of a server's tools stand in headers too: learnt from its answers."""

import logging
from typing import Final

from msgspec import Raw

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import http_headers, jsonrpc, tool_rules
from mcpnatsd.protocol.http_headers import Param
from mcpnatsd.protocol.jsonrpc import Members, Response

log = logging.getLogger(__name__)

MOST_TOOLS: Final = 10_000
"""Tools with mirrored arguments. What else a server lists is called without."""


class MirroredTools:
    """The tools of one server that have such arguments."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._params = dict[str, tuple[Param, ...]]()

    def headers(self, params: Members) -> list[tuple[str, str]]:
        """Return the headers that mirror the arguments of a call."""
        known = self._params.get(jsonrpc.text_of(params, "name") or "", ())
        return http_headers.mirrored(known, params.get("arguments")) if known else []

    def learn(self, response: Response, line: bytes) -> bytes:
        """Learn from an answer to `tools/list`; return it without tools that nobody may use.

        2026-07-28, Streamable HTTP: a client "MUST exclude the invalid tool from the result".
        """
        if http_headers.ANNOTATION.encode() not in line:
            if self._params:
                self._forget(tool_rules.tools_in(response))
            return line
        tools = tool_rules.tools_in(response)
        self._forget(tools)
        kept = [tool for tool in tools if self._learn_tool(tool)]
        if len(kept) == len(tools):
            return line
        result = jsonrpc.object_of(response.members, "result")
        result["tools"] = Raw(jsonrpc.encode(kept))
        return jsonrpc.encode({**response.members, "result": result})

    def _forget(self, tools: list[Raw]) -> None:
        for tool in tools:
            self._params.pop(tool_rules.tool_name(tool), None)

    def _learn_tool(self, tool: Raw) -> bool:
        """Learn one tool; say whether it keeps the rules."""
        name = tool_rules.tool_name(tool)
        try:
            params = http_headers.params_in(jsonrpc.split(bytes(tool)).get("inputSchema"))
        except RemoteProtocolError as fault:
            facts = {"server": self._server, "tool": name[:200], "reason": str(fault)}
            log.warning("tool left out", extra=facts)
            return False
        if params and len(self._params) < MOST_TOOLS:
            self._params[name] = params
        return True
