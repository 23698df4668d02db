"""Server-sent events as they arrive: bytes in any chunks, turned into events.

HTML, Server-sent events, "Interpreting an event stream". A line ends at CR, LF or both; what is
too large is skipped, and counted by its caller.
"""

from typing import Final, NamedTuple

from mcpnatsd.protocol.lines import LineSplitter, Oversize

_BOM: Final = b"\xef\xbb\xbf"
_FIELD_ROOM: Final = 16
"""Of a line, beside its value: "data: " and the like."""

_MOST_DIGITS: Final = 9
"""Of `retry`: more than eleven days of milliseconds are nobody's."""


class Event(NamedTuple):
    """One event that has data."""

    data: bytes
    name: bytes = b""


class EventReader:
    """What has arrived of one event stream."""

    def __init__(self, limit: int) -> None:
        self.last_id: bytes = b""
        """Of the newest event that had one: a stream that breaks goes on behind it."""

        self.retry: float | None = None
        """Seconds that the server wants to pass before a stream is opened again."""

        self._limit = limit
        self._lines = LineSplitter(limit + _FIELD_ROOM)
        self._first = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._bytes = 0
        self._name = b""
        self._id: bytes | None = None
        self._oversize: list[Oversize] = []

    def receive(self, chunk: bytes) -> list[Event]:
        """Return the events that a chunk completes."""
        events = []
        for line in self._lines.receive(self._with_lf(chunk)):
            if line:
                self._take_line(line)
            elif (event := self._end_event()) is not None:
                events.append(event)
        self._oversize += self._lines.take_oversize()
        return events

    def reopened(self) -> None:
        """Forget what a broken connection left unfinished; the stream goes on over another one."""
        self._lines.close()
        self._lines.take_oversize()
        self._data, self._bytes, self._name, self._id = [], 0, b"", None
        self._first, self._after_cr = True, False

    def take_oversize(self) -> list[Oversize]:
        """Return what was too large to be read, each once."""
        taken, self._oversize = self._oversize, []
        return taken

    def _with_lf(self, chunk: bytes) -> bytes:
        if self._first:
            # A mark cut in two is nobody's: no server sends one at all.
            self._first, chunk = False, chunk.removeprefix(_BOM)
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _take_line(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._take_data(value)
        elif field == b"event":
            self._name = value
        elif field == b"id" and b"\0" not in value:
            self._id = value
        elif field == b"retry" and value.isdigit() and len(value) <= _MOST_DIGITS:
            self.retry = int(value) / 1000

    def _take_data(self, value: bytes) -> None:
        self._bytes += len(value) + 1
        if self._bytes <= self._limit + 1:
            self._data.append(value)

    def _end_event(self) -> Event | None:
        data, size, name = self._data, self._bytes, self._name
        if self._id is not None:
            self.last_id = self._id
        self._data, self._bytes, self._name, self._id = [], 0, b"", None
        if size > self._limit + 1:
            self._oversize.append(Oversize(size, b"", b""))
            return None
        joined = data[0] if len(data) == 1 else b"\n".join(data)
        return Event(joined, name) if joined else None
