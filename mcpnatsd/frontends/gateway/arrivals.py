"""What is on its way to one client's stream."""

import asyncio

from mcpnatsd.frontends.gateway.http_request import KEEP_ALIVE_AFTER, HttpRequest
from mcpnatsd.protocol.event_stream import KEEP_ALIVE


class Arrivals:
    """Pieces that wait, and whoever writes them, woken when there is one."""

    __slots__ = ("_event", "closed", "gone", "items", "waiting_bytes")

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.waiting_bytes = 0
        self.closed = False
        """Nothing more is to come."""

        self.gone = False
        """The client left."""

        self._event = asyncio.Event()

    @property
    def over(self) -> bool:
        return self.closed or self.gone

    def put(self, data: bytes) -> None:
        self.items.append(data)
        self.waiting_bytes += len(data)
        self._event.set()

    def close(self) -> None:
        self.closed = True
        self._event.set()

    def leave(self) -> None:
        self.gone = True
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until something arrives or it is over, but not for longer."""
        if not self.items:
            await self.wait_over(seconds)

    async def wait_over(self, seconds: float) -> None:
        """Wait for the next change, which may be that it is over."""
        if self.over:
            return
        self._event.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return

    def watch(self, http: HttpRequest) -> None:
        """Learn of it when the client of a request leaves."""
        http.on_gone = self.leave
        if http.over:
            self.leave()

    async def follow(self, http: HttpRequest) -> None:
        """Write what arrives to a stream that has begun, until it is over or the client left."""
        self.watch(http)
        while not self.gone:
            items, self.items = self.items, []
            if items:
                await http.write(b"".join(items))
                self.waiting_bytes -= sum(map(len, items))
            elif self.closed:
                http.finish()
                break
            else:
                await self._wait_alive(http)

    async def _wait_alive(self, http: HttpRequest) -> None:
        await self.wait(KEEP_ALIVE_AFTER)
        if not self.items and not self.over:
            await http.write(KEEP_ALIVE)
