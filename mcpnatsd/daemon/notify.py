"""What systemd is told of the daemon (sd_notify(3)): that it is ready, how it is, that it lives.

Without NOTIFY_SOCKET, nothing. Nobody's service fails because its manager does not listen: a
notification that cannot be sent is said once, and that is all.
"""

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

log = logging.getLogger(__name__)

STATUS_EVERY: Final = 5.0
"""Seconds between two texts of status, if they differ at all."""

MOST_CHARS: Final = 500
"""Of a text of status: it is one line of `systemctl status`."""

_EXTENDED: Final = "EXTEND_TIMEOUT_USEC=15000000"
"""A stop may go on so long after each sign of life, also beyond the unit's TimeoutStopSec."""

_STATES: Final = ("READY=", "RELOADING=", "MONOTONIC_USEC=", "STOPPING=")

MOST_PENDING: Final = 16
"""Datagrams kept for a systemd that does not keep up; then the oldest go."""

Text = Callable[[], str]


class Notifier:
    """A way to systemd, for one daemon."""

    def __init__(self, environ: Mapping[str, str], text: Text) -> None:
        self.watchdog = watchdog_interval(environ, os.getpid())
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._text = text
        self._told = ""
        self._pending: deque[list[str]] = deque(maxlen=MOST_PENDING)
        """What systemd had no room for yet, and must know."""

        self._failed = False
        self._up = False
        self._stopping = False

    def ready(self) -> None:
        """Tell that the daemon serves. Only from then on systemd waits for signs of life."""
        self._up = True
        self._send(["READY=1", *self._status()])

    def reloading(self) -> None:
        """Tell that a reload begins; one while it starts or stops is nothing to systemd."""
        if self._up and not self._stopping:
            # Both in one datagram: systemd takes the second for the time of the first.
            now = time.monotonic_ns() // 1000
            self._send(["RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading"])
            self._told = "reloading"

    def reloaded(self, _verdict: object) -> None:
        """Tell that a reload is over, whatever came of it: systemd waits, and knows no refusal."""
        if self._up and not self._stopping:
            self.ready()

    def stopping(self) -> None:
        """Tell that the daemon ends, and takes its time."""
        self._stopping = True
        self._send(["STOPPING=1", _EXTENDED, *self._status()])

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Give signs of life for as long as the context is open."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        if self._address is None:
            return
        every = min(STATUS_EVERY, self.watchdog or STATUS_EVERY)
        while True:
            await asyncio.sleep(every)
            self.tick()

    def tick(self) -> None:
        """Tell what is due. It is the event loop that calls: one that hangs gives no sign."""
        signs = ["WATCHDOG=1"] if self.watchdog and self._up else []
        signs += [_EXTENDED] if self._stopping else []
        self._send([*signs, *self._status()])

    def _status(self) -> list[str]:
        if self._address is None or not (self._up or self._stopping):
            return []
        try:
            text = " ".join(self._text().split())[:MOST_CHARS]
        except Exception:
            log.exception("there is no status to tell")  # which is no reason to look dead
            return []
        if text == self._told:
            return []
        self._told = text
        return [f"STATUS={text}"]

    def _send(self, lines: list[str]) -> None:
        if self._address is None:
            return
        if lines:
            self._pending.append(lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(0)
                while self._pending:
                    datagram = "\n".join(self._pending[0])
                    channel.sendto(datagram.encode("utf-8", "backslashreplace"), self._address)
                    self._pending.popleft()
        except BlockingIOError:
            self._keep_states()
        except OSError as error:
            self._pending.clear()
            level = logging.DEBUG if self._failed else logging.WARNING
            log.log(level, "systemd was not told", extra={"error": str(error)})
            self._failed = True

    def _keep_states(self) -> None:
        """Keep for the next time what is no sign of life; the status is told anew then."""
        self._told = ""
        states = [[one for one in lines if one.startswith(_STATES)] for lines in self._pending]
        self._pending = deque(filter(None, states), maxlen=MOST_PENDING)


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds a sign of life is due; None when nobody waits for ours."""
    microseconds, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or whose not in ("", str(pid)):
        return None
    return int(microseconds) / 2e6


def _address(text: str) -> str | None:
    """Return the address of a unix socket; `@` stands for the NUL of an abstract one."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None
