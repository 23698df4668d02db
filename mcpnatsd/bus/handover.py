"""Hands the subscriptions of one NATS client over to another, and loses no message by it.

Both listen for a moment: of a queue group each gets its share, and of everything else what both
get is passed on once. Then what is published goes out by the successor, after all that the old
client sent; and only then the old one leaves. So it works between two servers of one NATS, and
between two that know nothing of each other.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final

from mcpnatsd.bus.client import NatsClient
from mcpnatsd.bus.direct import subscribe_line
from mcpnatsd.errors import BrokerAway

log = logging.getLogger(__name__)

SPREAD_FOR: Final = 0.25
"""Seconds in which the servers of a cluster tell each other of subscriptions. Also a single one may
have looked up who gets a message, and not delivered it yet."""

LATE_BY: Final = 2.0
"""Seconds by which one connection may get a message later than another: by more in a cluster."""

MOST_SEEN: Final = 200_000
"""Messages that are remembered, in about 40 MB, to pass on each once. Beyond that, as above."""

MOST_HELD_BYTES: Final = 64 * 1024 * 1024
"""What arrives while both listen. Beyond that it counts as lost, and callers ask."""

_Msg = tuple[bytes, tuple[bytes, bytes, bytes, bytes | None]]
"""Number of the subscription, and its message: subject, reply, body, headers."""


class Handover:
    """One of them, from `run` to its end."""

    def __init__(self, old: NatsClient, new: NatsClient) -> None:
        self._old = old
        self._new = new
        self._routes = dict(old.routes)
        self._seen: Counter[bytes] = Counter()
        """What came to the old client while both listen, by digest."""

        self._over = asyncio.Event()

        self._twice: set[bytes] = set()
        """Subscriptions of which both get everything."""

        self._held: list[_Msg] = []
        self._held_bytes = 0
        self._lost = False

    async def wait_over(self) -> None:
        """Return when nothing comes late any more: only then may another one begin."""
        await self._over.wait()

    async def run(self, flip: Callable[[], None]) -> bool:
        """Hand over; say whether that was without a gap. `flip` has everybody use the successor.

        Raises:
            BrokerAway: The successor was lost. All is as it was, and nothing was flipped.
        """
        was_connected = self._old.is_connected
        if was_connected:
            await self._listen_twice()
        self._flip(flip)
        smooth = was_connected
        try:
            if was_connected:
                await self._send_in_order()
                await self._leave()
        except BrokerAway as fault:
            smooth = False
            log.info("a NATS connection broke in a move", extra={"reason": str(fault)})
        self._settle()
        return smooth and not self._lost

    async def _listen_twice(self) -> None:
        old, new = self._old, self._new
        for sid, (subject, queue) in list(old.interests.items()):
            new.interests[sid] = subject, queue
            new.routes[sid] = self._routes[sid] if queue else partial(self._hold, sid)
            if not queue:
                self._twice.add(sid)
                old.routes[sid] = partial(self._receive_old, sid)
            new.command(subscribe_line(sid, subject, queue))
        try:
            await new.flush()
        except BrokerAway:
            old.routes.update({sid: self._routes[sid] for sid in old.routes.keys() & self._routes})
            raise
        await asyncio.sleep(SPREAD_FOR)

    def _flip(self, flip: Callable[[], None]) -> None:
        """Let the successor be the one; what changed meanwhile is made up for."""
        old, new = self._old, self._new
        for sid, interest in old.interests.items():
            if sid not in new.interests:
                new.interests[sid] = interest
                new.command(subscribe_line(sid, *interest))
        for sid in [sid for sid in new.interests if sid not in old.interests]:
            del new.interests[sid]
            new.command(b"UNSUB %s\r\n" % sid)
        for sid, route in old.routes.items():
            self._routes.setdefault(sid, route)
            new.routes.setdefault(sid, route)
        for sid in [sid for sid in new.routes if sid not in old.routes]:
            del new.routes[sid]
        new.number_after(old)
        flip()

    async def _send_in_order(self) -> None:
        """Let the successor write once nats-server has read all that the old client wrote."""
        self._new.wait_to_write(yes=True)
        try:
            await self._old.flush()
        finally:
            self._new.wait_to_write(yes=False)

    async def _leave(self) -> None:
        """Have the old client get no more, and return when both have what was on its way."""
        for sid in self._old.interests:
            self._old.command(b"UNSUB %s\r\n" % sid)
        await self._old.flush()
        await self._new.flush()

    def _receive_old(
        self, sid: bytes, subject: bytes, reply: bytes, body: bytes, block: bytes | None
    ) -> None:
        if len(self._seen) >= MOST_SEEN:
            self._lost = True  # the successor's copy is the one that counts
            return
        self._seen[_digest(sid, (subject, reply, body, block))] += 1
        self._routes[sid](subject, reply, body, block)

    def _hold(
        self, sid: bytes, subject: bytes, reply: bytes, body: bytes, block: bytes | None
    ) -> None:
        self._held_bytes += len(body) + len(block or b"")
        if self._held_bytes > MOST_HELD_BYTES:
            self._lost = True
        else:
            self._held.append((sid, (subject, reply, body, block)))

    def _settle(self) -> None:
        """Pass on what only the successor has got. What comes is passed on as it comes."""
        self._route_directly()
        for sid, msg in self._held:
            if not self._is_known(sid, msg):
                self._new.deliver(sid, msg)
        if any(self._seen.values()):
            for sid in self._new.routes.keys() & self._twice:
                self._new.routes[sid] = partial(self._receive_late, sid)
            asyncio.get_running_loop().call_later(LATE_BY, self._end)
        else:
            self._over.set()

    def _end(self) -> None:
        self._route_directly()
        self._over.set()

    def _route_directly(self) -> None:
        known = self._new.routes.keys() & self._routes
        self._new.routes.update({sid: self._routes[sid] for sid in known})

    def _receive_late(
        self, sid: bytes, subject: bytes, reply: bytes, body: bytes, block: bytes | None
    ) -> None:
        if not self._is_known(sid, (subject, reply, body, block)):
            self._routes[sid](subject, reply, body, block)

    def _is_known(self, sid: bytes, msg: tuple[bytes, bytes, bytes, bytes | None]) -> bool:
        """Say whether the old client got this one too; each counts once."""
        digest = _digest(sid, msg)
        if self._seen[digest] <= 0:
            return False
        self._seen[digest] -= 1
        return True


def _digest(sid: bytes, msg: tuple[bytes, bytes, bytes, bytes | None]) -> bytes:
    """Return what stands for a message: a body may be large, and many are remembered."""
    found = blake2b(digest_size=16)
    for piece in (sid, *msg):
        found.update(b"-" if piece is None else b"%d " % len(piece))
        found.update(piece or b"")
    return found.digest()
