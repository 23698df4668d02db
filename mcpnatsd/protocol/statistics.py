"""What a server's endpoints have done: counts, errors, time, as ADR-32 wants them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Response

GROUPS: Final = ("tools", "resources", "prompts", "completion", "server", "subscriptions")
"""First pieces of the methods that get an endpoint of their own; the rest is `other`."""

MOST_UNLISTED: Final = 256
"""Names counted before the tools are listed. A caller may make up as many as it likes."""

_GROUPED: Final = frozenset(GROUPS)


@dataclass(slots=True)
class Counts:
    """Of one endpoint. Times in nanoseconds, summed over requests that ran side by side."""

    requests: int = 0
    errors: int = 0
    last_error: str = ""
    nanoseconds: int = 0

    def add(self, seconds: float, error: str | None) -> None:
        self.requests += 1
        self.nanoseconds += int(seconds * 1e9)
        if error is not None:
            self.errors += 1
            self.last_error = error[:200]

    def merge(self, other: "Counts") -> None:
        """Add what another set has counted."""
        self.requests += other.requests
        self.errors += other.errors
        self.nanoseconds += other.nanoseconds
        self.last_error = other.last_error or self.last_error


def error_in(method: str, response: Response, line: bytes) -> str | None:
    """Return what went wrong, as an answer tells it; None when nothing did.

    A tool says so in its result (`isError`), every other failure is a JSON-RPC error.
    """
    if response.is_error:
        return jsonrpc.text_of(jsonrpc.object_of(response.members, "error"), "message") or "error"
    if method == eras.CALL_TOOL and b'"isError"' in line:
        result = jsonrpc.object_of(response.members, "result")
        return "the tool failed" if bytes(result.get("isError", b"")) == b"true" else None
    return None


class Statistics:
    """One set of counts per tool, and one per other group of methods."""

    def __init__(self) -> None:
        self.tools: dict[str, Counts] = {}
        self.groups: dict[str, Counts] = {group: Counts() for group in (*GROUPS, "other")}
        self._unlisted: dict[str, Counts] = {}
        """Calls of tools that nobody has listed yet: the first call may come before the list."""

    def know(self, tools: Iterable[str]) -> None:
        """Give each of these tools an endpoint; what was counted stays."""
        early, self._unlisted = self._unlisted, {}
        self.tools = {
            name: self.tools.get(name) or early.pop(name, None) or Counts() for name in tools
        }
        for counts in early.values():
            self.groups["tools"].merge(counts)

    def record(self, method: str, name: str | None, seconds: float, error: str | None) -> None:
        """Count one request. A tool that nobody listed is counted with its group."""
        if method == eras.DISCOVER:
            error = None  # to be of the other era is no failure
        counts = self._counts_of_tool(name or "") if method == eras.CALL_TOOL else None
        if counts is None:
            group = method.partition("/")[0]
            counts = self.groups[group if group in _GROUPED else "other"]
        counts.add(seconds, error)

    def _counts_of_tool(self, name: str) -> Counts | None:
        counts = self.tools.get(name)
        if counts is None and not self.tools and len(self._unlisted) < MOST_UNLISTED:
            counts = self._unlisted.setdefault(name, Counts())
        return counts

    @property
    def requests(self) -> int:
        return sum(counts.requests for counts in self._all())

    @property
    def errors(self) -> int:
        return sum(counts.errors for counts in self._all())

    def _all(self) -> Iterable[Counts]:
        return (*self.tools.values(), *self.groups.values(), *self._unlisted.values())
