"""What happened to each call, what was done meanwhile, and what of it must not be."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.soak.plan import Who

MOST_VIOLATIONS = 200
SETTLE = 5.0
"""Seconds after a kill or a start that still belong to it."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, from its client to its one end."""

    id: int
    nonce: str
    who: Who
    version: int
    steps: int = 0
    ask: bool = False
    method: str = "tools/call"
    began: float = field(default_factory=time.monotonic)
    seen: int = 0
    """Steps of progress that came."""

    ended: float = 0.0
    how: str = ""
    """answer, error, cut (its connection ended), left (its client did), cancelled."""

    code: int = 0
    outcome: str = ""
    text: str = ""

    def shown(self, since: float) -> str:
        who, server = self.who, self.who.server
        times = f"{self.began - since:.2f} to {(self.ended or time.monotonic()) - since:.2f} s"
        how = f"{self.how or 'open'} {self.code or ''} {self.outcome} {self.text}".strip()
        return (
            f"{self.nonce} {self.method} of {who.name} ({who.era}, {who.way}) at {server.name} "
            f"({server.era}, {server.isolation}, {server.fate}), {times}: {how}"
        )


@dataclass(slots=True)
class Window:
    """Something that was done, and for how long calls may feel it."""

    what: str
    began: float
    ended: float = float("inf")
    server: str = ""
    way: str = ""
    """Only calls to that server, or of clients of these ways, feel it; empty: all."""

    unnoticed: float = 0.0
    """Seconds for which a legacy session without calls may not have noticed."""

    def explains(self, call: Call) -> bool:
        if self.server and call.who.server.name != self.server:
            return False
        if self.way and call.who.way not in self.way.split():
            return False
        more = self.unnoticed if call.who.era == "legacy" else 0.0
        return self.began <= call.ended and call.began <= self.ended + more


@dataclass(slots=True)
class Ledger:
    """Every call, every window, every violation."""

    began: float = field(default_factory=time.monotonic)
    calls: dict[str, Call] = field(default_factory=dict)
    open: dict[str, Call] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    @property
    def at(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def opened(self, call: Call) -> None:
        self.calls[call.nonce] = self.open[call.nonce] = call

    def end(
        self, call: Call, how: str, *, code: int = 0, outcome: str = "", text: str = ""
    ) -> None:
        """Note the end of a call; it has only one."""
        if call.ended:
            self.violate(f"ended twice, now by {how} {code}: {call.shown(self.began)}")
            return
        call.ended, call.how, call.code = time.monotonic(), how, code
        call.outcome, call.text = outcome, text[:300]
        self.open.pop(call.nonce, None)

    def violate(self, what: str) -> None:
        self.event(f"VIOLATION {what}")
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(f"{self.at:.2f} s: {what}")

    def event(self, what: str) -> None:
        self.events.append(f"{self.at:9.2f} {what}")

    def window(self, what: str, *, server: str = "", way: str = "") -> Window:
        """Open a window; whoever did it closes it."""
        self.done[what] += 1
        self.event(f"{what} {server}".rstrip())
        opened = Window(what, time.monotonic(), server=server, way=way)
        self.windows.append(opened)
        return opened

    def over(self, window: Window) -> None:
        window.ended = time.monotonic() + SETTLE
        self.event(f"over: {window.what} {window.server}".rstrip())

    def why(self, call: Call) -> str:
        """Return what a lost call can be laid to; nothing, where it should not have been lost."""
        found = [one for one in self.windows if one.explains(call)]
        return max(found, key=lambda one: (bool(one.server), one.began)).what if found else ""

    def lost(self) -> Iterator[Call]:
        """Yield the calls that ended otherwise than by an answer, and not by their own client."""
        return (call for call in self.calls.values() if call.how in ("error", "cut"))
