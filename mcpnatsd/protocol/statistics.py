"""What a server's endpoints have done: counts, errors, time, as ADR-32 wants them."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Response

GROUPS: Final = ("tools", "resources", "prompts", "completion", "server", "subscriptions")
"""First pieces of the methods that get an endpoint of their own; the rest is `other`."""

MOST_UNLISTED: Final = 256
"""Names counted before the tools are listed. A caller may make up as many as it likes."""

BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""Seconds. OpenTelemetry's conventions for `mcp.server.operation.duration` want these."""

METHODS: Final = eras.REPEATABLE | {
    eras.CALL_TOOL,
    eras.INITIALIZE,
    eras.LISTEN,
    eras.PING,
    eras.SET_LEVEL,
    eras.SUBSCRIBE,
    eras.UNSUBSCRIBE,
}
"""Whose durations are told apart; the rest is `other`, as a caller may make up any."""

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


@dataclass(slots=True)
class Durations:
    """Of one method: how many requests took no longer than each bound, and how many failed."""

    within: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """Each request is in one place only; the last is for those beyond all bounds."""

    seconds: float = 0.0
    errors: int = 0

    def add(self, seconds: float, *, failed: bool) -> None:
        self.within[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
        self.errors += failed

    def merge(self, other: "Durations") -> None:
        """Add what another set has counted."""
        both = zip(self.within, other.within, strict=True)
        self.within = [ours + theirs for ours, theirs in both]
        self.seconds += other.seconds
        self.errors += other.errors


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
        self.durations: dict[str, Durations] = {}
        """By method, of those that came."""

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
        self._durations_of(method).add(seconds, failed=error is not None)

    def _durations_of(self, method: str) -> Durations:
        known = method if method in METHODS else "other"
        durations = self.durations.get(known)
        if durations is None:
            durations = self.durations[known] = Durations()
        return durations

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
