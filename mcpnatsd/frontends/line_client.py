"""A client that speaks lines: its bytes cut into lines, its edge fed, its reading held back."""

from collections.abc import Callable
from typing import Final

from mcpnatsd.frontends.edge import Edge
from mcpnatsd.protocol.lines import LineSplitter

MOST_LINE_BYTES: Final = 32 * 1024 * 1024
"""A longer line of a client is skipped and answered with an error. Servers' limits are below."""


class LineClient:
    """Joins a stream of bytes and an edge."""

    def __init__(self, edge: Edge, pause: Callable[[bool], None]) -> None:
        self.edge = edge
        self._pause = pause
        self._lines = LineSplitter(MOST_LINE_BYTES)
        self._held = False

    def receive(self, data: bytes) -> None:
        """Take what the client sent."""
        for line in self._lines.receive(data):
            self.edge.receive_line(line)
        for skipped in self._lines.take_oversize():
            self.edge.receive_oversize(skipped, MOST_LINE_BYTES)
        if self.edge.full:
            self._hold(yes=True)

    def receive_eof(self) -> None:
        """Take the end: a last line may lack its newline."""
        rest = self._lines.close()
        if rest:
            self.edge.receive_line(rest)

    def tick(self, now: float) -> None:
        self.edge.tick(now)
        if self._held:
            self._hold(yes=self.edge.full)

    def _hold(self, *, yes: bool) -> None:
        self._held = yes
        self._pause(yes)
