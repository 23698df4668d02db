"""The connection to NATS, as the rest of the bus sees it."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mcpnatsd.bus.client import Events, NatsClient
from mcpnatsd.bus.credentials import Settings
from mcpnatsd.bus.direct import is_refusal, reason_of
from mcpnatsd.bus.parser import OnMsg
from mcpnatsd.errors import BrokerAway, BusError, ConfigError, Forbidden

if TYPE_CHECKING:
    from mcpnatsd.bus.handover import Handover

__all__ = ["Connection", "OnMsg", "open_connection"]

log = logging.getLogger(__name__)

_AWAY: Final = "NATS is away"
_REFUSED: Final = "NATS refuses us"
_NOT_ASKED: Final = "we cannot log in to NATS"
"""Nobody was asked: a file of ours that says who we are cannot be read, or holds something else."""

OnDenied = Callable[[str, str], None]
"""Takes "publish" or "subscribe", and the subject."""

PING_INTERVAL = 5.0  # two may be unanswered: a frozen broker is noticed after 15 s
FIRST_TIMEOUT = 3.0  # of `open_connection(wait=True)`
CLOSE_TIMEOUT = 2.0  # to send what is pending when closing


class Connection:
    """One connection to NATS, which comes back by itself until it is closed."""

    def __init__(self, settings: Settings, *, name: str, ping_interval: float) -> None:
        self.name = name
        self.inbox = f"{settings.inbox_prefix}.{secrets.token_urlsafe(16)}."
        self._settings = settings
        self._ping_interval = ping_interval
        self._watchers: dict[object, tuple[Callable[[], None], Callable[[], None]]] = {}
        self._denied: dict[object, OnDenied] = {}
        self._away_said = False
        self._refusal_said = False
        self._was_ever_denied = False
        """Whether somebody was told of a subject that is denied: others may be, after a move."""

        self._failures = 0
        self.refusals = 0
        """How often NATS did not like our credentials."""

        self._moved: Handover | None = None
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._up = False
        self._up_at = 0.0
        self.down_at = asyncio.get_running_loop().time()
        """When it was lost, or began to be looked for."""

        self.connects = 0
        self.returned = False
        """Whether a warning that NATS is away came before the connection that is up now."""

        self.trouble: str | None = None
        """Why it is not connected, as NATS or the system says; None while it is."""

        self._opening: asyncio.Task[None] | None = None
        self._events = Events(
            on_up=self._went_up,
            on_down=self._went_down,
            on_failure=self._failed,
            on_denied=self._was_denied,
        )
        self._client = NatsClient(settings, self._events)

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def up(self) -> bool:
        """Whether it is connected, and every watcher knows: only then clocks may run."""
        return self._up and self._client.is_connected

    def returned_within(self, seconds: float) -> bool:
        """Say whether NATS came back that recently: instances may need a moment more."""
        return self.returned and asyncio.get_running_loop().time() - self._up_at < seconds

    @property
    def max_payload(self) -> int:
        """Bytes that headers and body of one message may have together."""
        return self._client.max_payload

    @property
    def url(self) -> str:
        """Where we are connected, or try to be. Holds no credentials."""
        server = self._client._current_server  # noqa: SLF001  # nats-py's own shows a password
        return masked(server.uri.geturl() if server else self._settings.urls[0])

    @property
    def congested(self) -> bool:
        """Whether more than 4 MiB wait for nats-server to read them."""
        return self._client.congested

    def publish(self, subject: str, body: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Publish; `headers` is a complete header block. It never waits.

        What was not handed to the kernel when the connection drops is lost, not sent again.

        Raises:
            BrokerAway: Not connected. Nothing was sent.
            TooLarge: Headers and body are larger than `max_payload`.
        """
        self._client.send(subject, body, reply, headers)

    def subscribe(self, subject: str, on_msg: OnMsg, queue: str = "") -> int:
        """Subscribe, also while NATS is away; return the number to unsubscribe with.

        `on_msg` is called from within the reading: it must not take long. What it raises is logged.
        """
        return self._client.listen(subject, queue, on_msg)

    def unsubscribe(self, sid: int) -> None:
        """Unsubscribe. A message that is on its way is dropped."""
        self._client.forget(sid)

    def leave(self, sid: int) -> None:
        """Unsubscribe, and still take what is on its way; `unsubscribe` is the end of that."""
        self._client.leave(sid)

    async def flush(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # callers want BrokerAway
        """Return when nats-server has read all that was published before.

        Raises:
            BrokerAway: The connection was lost, or nats-server did not answer in time.
        """
        await self._client.flush(timeout)

    async def wait_writable(self) -> None:
        """Return when less than 1 MiB waits to be sent, or the connection dropped."""
        await self._client.writable()

    def watch(
        self, *, on_up: Callable[[], None], on_down: Callable[[], None]
    ) -> Callable[[], None]:
        """Have `on_up` called after each (re)connect, and `on_down` at each loss.

        When `on_up` is called, nats-server has read all subscriptions. Returns how to stop it.
        """
        key = object()
        self._watchers[key] = on_up, on_down
        return lambda: void(self._watchers.pop(key, None))

    def watch_denied(self, on_denied: OnDenied) -> Callable[[], None]:
        """Have `on_denied` called when NATS denies a subject. Returns how to stop it."""
        key = object()
        self._denied[key] = on_denied
        return lambda: void(self._denied.pop(key, None))

    async def close(self) -> None:
        """Send what is pending, within 2 s, and close. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._client.shut(CLOSE_TIMEOUT)

    async def move(self, settings: Settings) -> None:
        """Go over to what other settings say. While both are there, no message is lost by it.

        Raises:
            BrokerAway: Nobody is there. All is as it was.
            Forbidden: NATS there does not like our credentials. All is as it was.
        """
        # A shim never moves, and starts the faster.
        from mcpnatsd.bus.handover import Handover  # noqa: PLC0415

        if self._moved is not None:
            await self._moved.wait_over()
        successor = await open_connection(
            settings, name=self.name, wait=True, ping_interval=self._ping_interval
        )
        old, new = self._client, successor._client  # noqa: SLF001  # one of our own class

        def flip() -> None:
            self._client, self._settings = new, settings
            new.report_to(self._events)

        handover = Handover(old, new)
        try:
            smooth = await handover.run(flip)
        except BrokerAway:
            await successor.close()
            raise
        self._moved = handover
        old.report_to(_NOBODY)
        if self._opening is not None:
            self._opening.cancel()  # it may never have been connected
        await old.shut(CLOSE_TIMEOUT)
        log.info("NATS connection moved", extra={"url": self.url})
        if not smooth or self._was_ever_denied:
            self._was_ever_denied = False
            await self._tell_moved()

    async def _tell_moved(self) -> None:
        """Have everybody ask, as after any other reconnect, what became of what was under way."""
        if self._up:
            self._went_down("moved")
        try:
            await self._client.flush()
        except BrokerAway:
            return  # it is looked for, and tells when it is up
        self._went_up()

    async def wait_up(self) -> None:
        """Return when connected, however long that takes."""
        up = asyncio.Event()
        unwatch = self.watch(on_up=up.set, on_down=lambda: None)
        try:
            if not self._up:
                await up.wait()
        finally:
            unwatch()

    def start(self) -> None:
        """Connect, in a task of our own."""
        opening = self._client.open(name=self.name, ping_interval=self._ping_interval)
        self._opening = asyncio.create_task(opening, name="connect to NATS")
        self._opening.add_done_callback(self._opened)

    async def wait_first(self) -> None:
        """Return when connected.

        Raises:
            BrokerAway: No server is there, or none answers within 3 s.
            Forbidden: One is there, but does not like our credentials.
        """
        try:
            async with asyncio.timeout(FIRST_TIMEOUT):
                await self._first
        except TimeoutError:
            raise self._away("no answer") from None

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if opening.cancelled() or (error := opening.exception()) is None:
            return
        log.error("NATS cannot be connected", extra={"url": self.url, "reason": reason_of(error)})
        if not self._first.done():
            self._give_up(BusError(f"NATS cannot be connected at {self.url}: {reason_of(error)}"))

    def _away(self, reason: str) -> BrokerAway:
        urls = ", ".join(masked(url) for url in self._settings.urls)
        return BrokerAway(f"NATS is away at {urls}: {reason}")

    def _went_up(self) -> None:
        log.info("NATS is up", extra={"url": self.url})
        self.connects += 1
        self.returned, self._up_at = self._away_said, asyncio.get_running_loop().time()
        if not self._first.done():
            self._first.set_result(None)
        self._tell(on_up for on_up, _ in list(self._watchers.values()))
        self._away_said = self._refusal_said = False
        self.trouble = None
        self._up = True

    def _went_down(self, reason: str) -> None:
        self._up = False
        self.down_at = asyncio.get_running_loop().time()
        if not self._closed:
            self._say_away(reason)
        self._tell(on_down for _, on_down in list(self._watchers.values()))

    def _failed(self, error: Exception) -> None:
        reason = reason_of(error)
        self._failures += 1
        refused = is_refusal(error)
        self.refusals += refused
        self._say_away(reason, _REFUSED if refused else _phrase(error))
        if self._first.done():
            return
        if refused:
            self._give_up(Forbidden(f"NATS refuses us at {self.url}: {reason}"))
        elif self._failures >= len(self._settings.urls):
            self._give_up(self._away(reason))

    def _give_up(self, error: BusError) -> None:
        self._first.set_exception(error)
        self._first.exception()  # with wait=False nobody waits for it

    def _say_away(self, reason: str, phrase: str = _AWAY) -> None:
        """Warn once of each kind; the many attempts after that are for the curious."""
        ours = phrase != _AWAY
        said = self._refusal_said if ours else self._away_said
        self._away_said = True
        self._refusal_said |= ours
        self.trouble = f"{phrase}: {reason}"
        log.log(logging.DEBUG if said else logging.WARNING, phrase, extra=self._facts(reason))

    def _facts(self, reason: str) -> dict[str, str]:
        return {"url": self.url, "reason": reason}

    def _was_denied(self, kind: str, subject: str) -> None:
        self._was_ever_denied = True
        log.warning("NATS denies a subject", extra={"kind": kind, "subject": subject})
        self._tell(partial(told, kind, subject) for told in list(self._denied.values()))

    def _tell(self, listeners: Iterable[Callable[[], None]]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception as error:
                log.exception("a watcher failed", extra={"reason": reason_of(error)})


_NOBODY = Events(
    on_up=lambda: None,
    on_down=lambda _reason: None,
    on_failure=lambda _error: None,
    on_denied=lambda _kind, _subject: None,
)


async def open_connection(
    config: Settings, *, name: str, wait: bool, ping_interval: float = PING_INTERVAL
) -> Connection:
    """Connect to NATS.

    With `wait` it returns connected. Without, it returns at once, and keeps trying for ever.

    Raises:
        BrokerAway: With `wait`: no server is there.
        Forbidden: With `wait`: the server does not like our credentials.
    """
    connection = Connection(config, name=name, ping_interval=ping_interval)
    connection.start()
    if wait:
        try:
            await connection.wait_first()
        except BaseException:
            await connection.close()
            raise
    return connection


def _phrase(error: Exception) -> str:
    return _NOT_ASKED if isinstance(error, ConfigError) else _AWAY


def masked(url: str) -> str:
    """Return a URL without user, password or token."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def void(_: object) -> None:
    """Turn an expression into nothing."""
