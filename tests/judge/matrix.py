"""Which clients meet which servers in which way, and what each of them should find."""

from dataclasses import dataclass
from typing import Any

from tests import peers

LEGACY = "2025-11-25"
LEGACY_ONLY = ("py1", "ts1")
CLIENTS = ("py1", "py2-legacy", "py2-modern", "ts1", "ts2-legacy", "ts2-modern")
SERVERS = CLIENTS
WAYS = {
    "direct": "directly over stdio, without us",
    "shim": "through mcpnatsd connect",
    "unix": "through a unix socket of the daemon",
    "transport": "through mcpnatsd.transport at each end that is Python (else shim and daemon); "
    "serve runs py1 and py2-legacy, in each era of the SDK, and nats_server py2-modern",
    "http": "over Streamable HTTP, at /mcp/{server} of the daemon",
    "sse": "over the old HTTP+SSE, at /sse/{server}",
    "ws": "over WebSocket, at /ws/{server}",
}
WEB = {"http": "mcp", "sse": "sse", "ws": "ws"}
"""The ways by a URL, and where in the gateway each is."""

LACKING = {"ws": ("py2", "ts2")}
"""The SDKs that have no client of a transport."""

FEATURES = {
    "list": ("protocol", "server", "tools"),
    "call": ("echo", "add", "resource", "prompt"),
    "progress": ("progressed", "progress"),
    "cancel": ("cancelled", "noticed", "late"),
    "elicitation": ("elicited", "asked"),
    "sampling": ("sampled", "asked"),
    "resource update": ("updated",),
    "list_changed": ("changed", "grown"),
    "error": ("failed", "refused"),
    "large result": ("big",),
}
"""What a cell plays, and the findings that show it."""


@dataclass(frozen=True)
class Cell:
    """One client at one server, in one way."""

    way: str
    client: str
    server: str

    def __str__(self) -> str:
        return f"{self.way}-{self.client}-at-{self.server}"

    @property
    def reason(self) -> str:
        """Why this cell cannot be played; empty when it can."""
        if self.way == "direct" and is_modern(self.client) != is_modern(self.server):
            return "no common era"
        if self.way == "transport" and not (is_python(self.client) or is_python(self.server)):
            return "no end is Python"
        if sdk_of(self.client) in LACKING.get(self.way, ()):
            return "no such client"
        if self.way == "sse" and is_modern(self.client):
            return "legacy only"
        return ""

    @property
    def expected(self) -> dict[str, Any]:
        """What the client finds, in whichever way, when nothing is wrong."""
        return {
            "protocol": peers.MODERN if is_modern(self.client) else LEGACY,
            # With a pinned revision this SDK asks nothing before its first call.
            "server": None if self.client == "py2-modern" else NAMES[sdk_of(self.server)],
            "tools": peers.TOOLS,
            "echo": "grüße 🌍",
            "add": "5",
            "resource": "hello",
            "prompt": "Greet Ann.",
            "progressed": "done",
            "progress": [1, 2, 3, 4, 5],
            "cancelled": True,
            "noticed": True,
            "late": None if is_python(self.client) else self._late,
            "elicited": "Who? Änn",
            "sampled": "Why? forty-two",
            "asked": ["Who?", "Why?"],
            "updated": True,
            "changed": True,
            "grown": True,
            "failed": FAILURES[sdk_of(self.server)],
            "refused": REFUSALS[sdk_of(self.server)],
            "big": self.big,
        }

    @property
    def big(self) -> int:
        """Bytes of the large result: Python's clients by a URL take no event over 1 MiB."""
        return 1_000_000 if self.way in WEB else 2_000_000

    @property
    def _late(self) -> int:
        """How many answers come to a cancelled call: a server of 1.x does answer, we do not.

        Over HTTP an answer ends the stream of that call, so a legacy client gets one.
        """
        if self.way == "http":
            return int(not is_modern(self.client))
        return int(self.way == "direct" and self.server == "py1")

    def wrong(self, found: dict[str, Any]) -> dict[str, list[str]]:
        """Return what differs from what is expected, by feature."""
        expected = self.expected
        return {
            feature: differing
            for feature, keys in FEATURES.items()
            if (
                differing := [
                    f"{key}: {found.get(key)!r} is not {expected[key]!r}"
                    for key in keys
                    if found.get(key) != expected[key]
                ]
            )
        }


SERVED = {"py1": "serve", "py2-legacy": "serve", "py2-modern": "pair"}
"""How a Python server goes onto NATS by itself."""

NAMES = {"py1": "peer-py", "py2": "peer-py", "ts1": "peer-ts1", "ts2": "peer-ts2"}
FAILURES = {
    "py1": "Error executing tool fail: failed on purpose",
    "py2": "Error executing tool fail",  # 2.x tells no client what a tool raised
    "ts1": "failed on purpose",
    "ts2": "failed on purpose",
}
REFUSALS = {"py1": 0, "py2": -32602, "ts1": -32602, "ts2": -32602}
"""The code for an unknown resource: 1.x says 0 of whatever a handler raised."""


def sdk_of(kind: str) -> str:
    return kind.partition("-")[0]


def mode_of(kind: str) -> str:
    """Return the era that this kind is held to."""
    return "legacy" if kind in LEGACY_ONLY else kind.partition("-")[2]


def is_modern(kind: str) -> bool:
    return mode_of(kind) == "modern"


def is_python(kind: str) -> bool:
    return kind.startswith("py")


ALL = [Cell(way, client, server) for way in WAYS for server in SERVERS for client in CLIENTS]
PLAYED = [cell for cell in ALL if not cell.reason]
