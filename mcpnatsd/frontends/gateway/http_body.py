"""The body of one HTTP request while it arrives, with a bound."""

import asyncio
from typing import Final

from mcpnatsd.errors import TooLarge

READS_AHEAD: Final = 64 * 1024
"""Bytes of a body that are taken before anybody wants them."""


class Gone(Exception):
    """The client is not there any more: nobody needs an answer."""


class HttpBody:
    """Filled by the connection, taken by whoever answers. After its end nothing is kept."""

    __slots__ = ("_data", "_over", "_waiter", "wanted", "whole")

    def __init__(self) -> None:
        self._data = bytearray()
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self.wanted = False
        """Whether somebody waits for it."""

        self.whole = False
        """Whether all of it is there."""

    @property
    def ahead(self) -> bool:
        """Whether more came than anybody needs now."""
        return not self.wanted and len(self._data) > READS_AHEAD

    def feed(self, data: bytes) -> None:
        """Take a piece."""
        if not self._over:
            self._data += data
            self._wake()

    def feed_end(self) -> None:
        self.whole = True
        self._wake()

    def end(self) -> None:
        """Learn that nobody needs it any more: there is an answer, or no client."""
        self._over = True
        self._data = bytearray()
        self._wake()

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data

    def check_size(self, most: int, declared: int) -> None:
        """Refuse what is too long, or is said to become so.

        Raises:
            TooLarge: It is.
        """
        # The connection stays: closed now, it would be reset, and the answer lost with it.
        if max(declared, len(self._data)) > most:
            raise TooLarge(f"the body is over the limit of {most} bytes")

    async def wait_whole(self, most: int) -> None:
        """Wait for the end.

        Raises:
            TooLarge: It is longer than `most`.
            Gone: Nobody waits for an answer any more.
        """
        while not self.whole and not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self.check_size(most, 0)
        if self._over:
            raise Gone

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
