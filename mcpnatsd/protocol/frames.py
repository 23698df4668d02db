"""The kinds of frames, and the header blocks that a server's side sends them under."""

import re
from enum import StrEnum
from typing import Final

from mcpnatsd.protocol import headers

ALIVE_AFTER: Final = 15.0
"""Seconds of silence after which whoever runs a call says that it still does. Well under 60:
two NATS defaults end a reply path after two minutes of silence."""

LOST_AFTER: Final = 45.0
"""Seconds without the other side after which it is lost, counted only while connected."""

SILENT_AFTER: Final = 20.0
ASK_SILENT_EVERY: Final = 5.0
"""Seconds without a word, although one is due after 15, from which a caller asks, and how often.
A reply path may have ended with the other side alive (`allow_responses`, an export's threshold)."""

ASK_FOR: Final = 15.0
"""Seconds for which a caller asks, once a second, after a reconnect. Instances return later."""

KEEP_FINALS: Final = 60.0
KEEP_FINALS_BYTES: Final = 32 * 1024 * 1024
"""How long, and how much, an instance keeps final frames for callers that ask again."""


_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_instance(text: str) -> bool:
    """Say whether a peer's id of itself is one token, fit for a subject."""
    return _INSTANCE.fullmatch(text) is not None


class Frame(StrEnum):
    """Value of `Mcp-Frame`. A final response has none."""

    NOTE = "note"
    PART = "part"
    ALIVE = "alive"
    UPLOAD = "upload"  # answer to a request that asked to come in parts
    RUNNING = "running"  # answer to a caller that asks after its call
    END = "end"  # a subscription is over, without a response
    CANCEL = "cancel"
    ASK = "ask"
    LEFT = "left"  # a client is gone: what is kept for it alone can go
    OPENED = "opened"  # a tunnel's instance is known
    ACK = "ack"
    RESUME = "resume"
    CLOSE = "close"


class Blocks:
    """Header blocks of one instance, made once where they never change."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._pin: tuple[tuple[str, str], ...] = ()
        self._only_final = headers.encode([(headers.INSTANCE, instance)])

    def pin(self, *, yes: bool) -> None:
        """Have clients send all that follows to this instance, or to any again."""
        self._pin = ((headers.PIN, "1"),) if yes else ()
        self._only_final = headers.encode([(headers.INSTANCE, self._instance), *self._pin])

    def final(self, seq: int, part: str = "") -> bytes:
        """Return the block of a final response; the first frame of an exchange has number 1.

        `part` is set on the last piece of a frame that came in parts, such as `7/7`.
        """
        if seq == 1 and not part:
            return self._only_final
        return self._numbered(seq, part, *self._pin)

    def note(self, seq: int, part: str = "") -> bytes:
        return self._numbered(seq, part, (headers.FRAME, Frame.NOTE))

    def part(self, seq: int, part: str) -> bytes:
        return self._numbered(seq, part, (headers.FRAME, Frame.PART))

    def running(self, seq: int) -> bytes:
        return self._numbered(seq, "", (headers.FRAME, Frame.RUNNING))

    def plain(self, frame: Frame, *more: tuple[str, str]) -> bytes:
        pairs = [(headers.FRAME, str(frame)), (headers.INSTANCE, self._instance), *more]
        return headers.encode(pairs)

    def _numbered(self, seq: int, part: str, *more: tuple[str, str]) -> bytes:
        pairs = [(headers.INSTANCE, self._instance), (headers.SEQ, str(seq)), *more]
        if part:
            pairs.append((headers.PART, part))
        return headers.encode(pairs)
