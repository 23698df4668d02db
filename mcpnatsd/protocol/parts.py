"""Messages larger than NATS takes: cut into frame parts, put together again."""

from collections.abc import Iterator
from typing import Final

from mcpnatsd.errors import RemoteProtocolError, TooLarge

PART_BYTES: Final = 128 * 1024
"""Of one frame part. Measured: parts of this size cost nothing and let other messages pass."""

HEADER_ROOM: Final = 4096
"""What NATS' max_payload must hold beside the body: it counts the headers too."""


def fits(size: int, max_payload: int) -> bool:
    """Say whether a body of that size may travel as one message."""
    return size + HEADER_ROOM <= max_payload


def part_bytes(max_payload: int) -> int:
    """Return the size to cut at."""
    return max(1024, min(PART_BYTES, max_payload - HEADER_ROOM))


def count(size: int, each: int) -> int:
    return max(1, -(-size // each))


def cut(body: bytes, each: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number from 1, of how many, piece); the last piece travels as the frame's body."""
    many = count(len(body), each)
    for number in range(1, many + 1):
        yield number, many, body[(number - 1) * each : number * each]


class Assembler:
    """Puts one message together. Parts come in order, from one publisher."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self.size = 0

    @property
    def started(self) -> bool:
        return bool(self._pieces)

    def receive(self, position: str, piece: bytes) -> None:
        """Take a part; `position` is its `Mcp-Part`, such as `3/7`.

        Raises:
            RemoteProtocolError: It is not the part that comes next.
            TooLarge: The message grew over the limit.
        """
        number, _, _ = position.partition("/")
        if number != str(len(self._pieces) + 1):
            raise RemoteProtocolError(f"frame part {position!r} is out of order")
        self._add(piece)

    def finish(self, body: bytes) -> bytes:
        """Take the frame that ends the message; return it whole.

        Raises:
            TooLarge: The message grew over the limit.
        """
        if not self._pieces:
            return body
        self._add(body)
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return whole

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._limit:
            raise TooLarge(f"a message in parts grew over {self._limit} bytes")
        self._pieces.append(piece)
