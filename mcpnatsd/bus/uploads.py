"""Requests too large for one NATS message, while their parts arrive."""

import re
from typing import Final

from mcpnatsd.errors import Busy, RemoteProtocolError, TooLarge
from mcpnatsd.protocol import headers
from mcpnatsd.protocol.incoming import Incoming
from mcpnatsd.protocol.parts import Assembler

MOST_BYTES: Final = 128 * 1024 * 1024
"""Of all uploads under way for one server."""

MOST_OPEN: Final = 1024
"""Uploads under way for one server: whoever announces little may not announce for ever."""

GIVE_UP_AFTER: Final = 45.0
"""Seconds without a part after which an upload is forgotten."""

_ID = re.compile(r"[A-Za-z0-9]{32}")


class _Upload:
    def __init__(self, size: int, user: bytes, now: float) -> None:
        self.size = size
        self.user = user
        self.touched_at = now
        self.assembler = Assembler(size)


class Uploads:
    """What was announced, and what of it has come."""

    def __init__(self, line_bytes: int, server: str) -> None:
        self._line_bytes = line_bytes
        self._server = server
        self._open: dict[str, _Upload] = {}

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._open)

    def offer(self, incoming: Incoming, now: float) -> str:
        """Accept an upload before a byte of it is sent; return the id that its opener chose.

        Raises:
            RemoteProtocolError: The announcement is malformed.
            TooLarge: It is over the server's `line_bytes`.
            Busy: Too much is being uploaded already.
        """
        token = incoming.headers.get(headers.TUNNEL, "")
        size = _announced(incoming.headers[headers.UPLOAD])
        if size is None or not _ID.fullmatch(token):
            raise RemoteProtocolError(f"{headers.UPLOAD} needs 'bytes, parts' and an id")
        self.check(size)
        under_way = sum(upload.size for upload in self._open.values())
        if under_way + size > MOST_BYTES or len(self._open) >= MOST_OPEN:
            raise Busy(f"server {self._server!r} is taking in other large requests; try again")
        self._open[token] = _Upload(size, incoming.user, now)
        return token

    def check(self, size: int) -> None:
        """Refuse what the server must not see.

        Raises:
            TooLarge: It is over the server's `line_bytes`.
        """
        if size > self._line_bytes:
            raise TooLarge(
                f"a message of {size} bytes is over the limit of {self._line_bytes} bytes of "
                f"server {self._server!r}; `limits: {{line_bytes: …}}` raises it"
            )

    def receive(self, incoming: Incoming, now: float) -> None:
        """Take a part that is not the last.

        Raises:
            RemoteProtocolError: Nobody announced it, or it is not the next one.
            TooLarge: More came than was announced.
        """
        upload = self._upload_of(incoming)
        upload.touched_at = now
        upload.assembler.receive(incoming.headers.get(headers.PART, ""), incoming.body)

    def finish(self, incoming: Incoming) -> bytes:
        """Return the whole body of a request; the body itself when it came in one message.

        Raises:
            RemoteProtocolError: A part is missing.
            TooLarge: It is over the server's `line_bytes`.
        """
        position = incoming.headers.get(headers.PART)
        if position is None:
            self.check(len(incoming.body))
            return incoming.body
        upload = self._upload_of(incoming)
        del self._open[incoming.pinned_id]
        whole = upload.assembler.finish(incoming.body)
        if len(whole) != upload.size:
            raise RemoteProtocolError(f"{len(whole)} bytes came of {upload.size} announced")
        return whole

    def expire(self, now: float) -> None:
        for token, upload in list(self._open.items()):
            if now - upload.touched_at >= GIVE_UP_AFTER:
                del self._open[token]

    def forget(self) -> None:
        """Give up on all of them: no part can come any more."""
        self._open.clear()

    def _upload_of(self, incoming: Incoming) -> _Upload:
        upload = self._open.get(incoming.pinned_id)
        if upload is None or upload.user != incoming.user:
            raise RemoteProtocolError("nobody announced this upload, or it took too long")
        return upload


def _announced(text: str) -> int | None:
    """Read the size off `bytes, parts`; None when it is malformed."""
    size = text.partition(",")[0].strip()
    return headers.number({headers.UPLOAD: size}, headers.UPLOAD)
