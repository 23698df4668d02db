"""nats-py's client, mended where it would die for good.

nats-py keeps what it does well: INFO, CONNECT, authentication, TLS, pings, the pool of servers,
and JetStream on top. The loop that connects is ours; the data path is in `direct.py`. What nats-py
would do otherwise is shown beside each hazard in `tests/integration/bus/test_nats_hazards.py`.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcpnatsd.bus import credentials
from mcpnatsd.bus.credentials import Settings
from mcpnatsd.bus.direct import DirectClient, reason_of, subscribe_line
from mcpnatsd.bus.engine import Client, Srv, errors
from mcpnatsd.bus.parser import Parser
from mcpnatsd.bus.transport import Socket, open_transport
from mcpnatsd.errors import BrokerAway, BusError

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # instances must be back within seconds of a broker's restart
LONGEST_PAUSE = 2.0
STEADY_AFTER = 5.0  # a connection that lived this long lets the pause start small again
CONNECT_TIMEOUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Whom the client tells. None of them may raise."""

    on_up: Callable[[], None]
    on_down: Callable[[str], None]
    on_failure: Callable[[Exception], None]
    """An attempt to connect failed; there will be another."""
    on_denied: Callable[[str, str], None]


class NatsClient(DirectClient):
    """One connection to NATS that is only ever closed by us."""

    def __init__(self, settings: Settings, events: Events) -> None:
        super().__init__()
        self._settings = settings
        self._events = events
        self._pause = 0.0
        self._up_at = 0.0

    async def open(self, *, name: str, ping_interval: float) -> None:
        """Return when connected for the first time; whatever it takes.

        Raises:
            BusError: The configured URLs make no sense.
        """
        try:
            await self.connect(
                list(self._settings.urls),
                name=name,
                error_cb=self._note,
                lame_duck_mode_cb=self._leave_lame_duck,
                connect_timeout=CONNECT_TIMEOUT,
                max_reconnect_attempts=-1,
                ping_interval=ping_interval,  # type: ignore[arg-type]  # asyncio takes floats
                skip_subject_validation=True,
                **self._identity(),
            )
        except errors.Error as error:
            raise BusError(str(error)) from None

    async def shut(self, flush_timeout: float) -> None:
        """Send what is pending, if that works in time, and close."""
        if self.is_connected:
            try:
                await self.flush(flush_timeout)
            except BrokerAway as error:
                log.debug("NATS did not take the rest", extra={"reason": str(error)})
        was_connected = self.is_connected
        self._status = Client.DISCONNECTED
        self._discard()
        if was_connected:
            self._events.on_down("closed")
        await self._close(Client.CLOSED, do_cbs=False)

    def report_to(self, events: Events) -> None:
        """Tell somebody else from now on."""
        self._events = events

    # Connecting

    def _identity(self) -> dict[str, Any]:
        ours = self._settings
        callbacks: dict[str, Any] = {}
        if ours.credentials is not None:
            callbacks["signature_cb"] = self._sign_as_user
            callbacks["user_jwt_cb"] = lambda: credentials.user_jwt(ours.credentials or "")
        elif ours.nkey is not None:
            callbacks["signature_cb"] = self._sign_with_nkey
        return callbacks | {"user": ours.user, "password": ours.password, "token": ours.token}

    def _sign_as_user(self, nonce: str) -> bytes:
        return credentials.sign(credentials.user_seed(self._settings.credentials or ""), nonce)[1]

    def _sign_with_nkey(self, nonce: str) -> bytes:
        seed = credentials.nkey_seed(self._settings.nkey or "")
        self._public_nkey, signature = credentials.sign(seed, nonce)
        return signature

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return credentials.tls_context(self._settings.tls)

    async def _select_next_server(self) -> None:
        """Leave the choice to `_process_connect_init`, which is what nats-py calls next."""
        self._current_server = self._server_pool[0]

    async def _process_connect_init(self) -> None:
        """Connect to any server of the pool, with a growing pause after each round."""
        failures = 0
        while True:
            share = self._pause / len(self._server_pool)
            await asyncio.sleep(share * random.uniform(0.5, 1.0))  # noqa: S311  # spreads a fleet
            server = self._server_pool.pop(0)
            self._server_pool.append(server)
            try:
                await self._attempt(server)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next attempt may work
                failures += 1
                if failures % len(self._server_pool) == 0:
                    self._lengthen_pause()
                self._discard()
                self._reason = reason_of(error)
                self._events.on_failure(error)
            else:
                return

    async def _attempt(self, server: Srv) -> None:
        self._current_server = server
        first = bool(self._settings.tls and self._settings.tls.first)
        self.options["tls_handshake_first"] = first and server.uri.scheme not in ("ws", "wss")
        self._socket = await open_transport(server.uri, CONNECT_TIMEOUT, lambda: self.ssl_context)
        self._transport = self._socket
        await super()._process_connect_init()
        if self._status != Client.CONNECTED:  # nats-py takes the end of the stream for a welcome
            raise errors.UnexpectedEOF
        self._resume(self._socket)

    async def _process_info(
        self,
        info: dict[str, Any],
        initial_connection: bool = False,  # noqa: FBT001, FBT002  # nats-py's signature
    ) -> None:
        """Refuse to speak in clear where TLS was asked for. nats-py would just not use it."""
        if initial_connection and self._wants_tls and not self.options["tls_handshake_first"]:
            info["tls_required"] = info.get("tls_required") or info.get("tls_available", False)
            if not info["tls_required"]:
                raise errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)

    @property
    def _wants_tls(self) -> bool:
        scheme = self._current_server.uri.scheme if self._current_server else ""
        return scheme == "tls" or (self._settings.tls is not None and scheme == "nats")

    def _resume(self, socket: Socket) -> None:
        """Replay the subscriptions; whoever waits for us hears of it once NATS has read them."""
        loop = asyncio.get_running_loop()
        self._up_at = loop.time()
        self._reason = ""
        replay = [subscribe_line(sid, *interest) for sid, interest in self._interests.items()]
        for number, theirs in self._subs.items():
            replay.append(subscribe_line(b"%d" % number, theirs._subject, theirs._queue))  # noqa: SLF001
        pong: asyncio.Future[bool] = loop.create_future()
        pong.add_done_callback(self._replayed)
        self._pongs.append(pong)
        self._write(b"".join(replay) + b"PING\r\n")
        parser = Parser(
            self._routes, on_stray=self._stray, on_line=self._line, on_fault=self._fault
        )
        socket.divert(partial(self._receive, parser, socket), partial(self._ended, socket))

    def _replayed(self, pong: asyncio.Future[bool]) -> None:
        if pong.exception() is None:
            self._events.on_up()

    # Losing it

    def _ended(self, socket: object, reason: str) -> None:
        if socket is self._socket:
            self._drop(self._complaint or reason)

    def _drop(self, reason: str) -> None:
        """Give this connection up at once, and go for another.

        nats-py waits for the peer to read what is left, which a frozen one never does.
        """
        if not self.is_connected:
            return
        self._reason = reason
        self._status = Client.RECONNECTING
        self._discard()
        loop = asyncio.get_running_loop()
        if loop.time() - self._up_at > STEADY_AFTER:
            self._pause = 0.0
        self._lengthen_pause()
        self._reconnection_task = loop.create_task(self._process_connect_init())
        self._events.on_down(reason)

    def _discard(self) -> None:
        """Abort the socket, with all that belongs to it."""
        tasks = (self._reading_task, self._ping_interval_task)
        for task in tasks:
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if self._socket is not None:
            self._socket.abort()
        self._pending.clear()
        self._pending_data_size = 0
        pongs, self._pongs = self._pongs, []
        for pong in pongs:
            if not pong.done():
                pong.set_exception(BrokerAway(f"NATS is away: {self._reason}"))
                pong.exception()  # nobody need have waited for it

    def _denied(self, kind: str, subject: str) -> None:
        self._events.on_denied(kind, subject)

    def _lengthen_pause(self) -> None:
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))

    async def _process_op_err(self, e: Exception) -> None:
        self._drop(reason_of(e))

    async def force_reconnect(self) -> None:
        self._drop("asked to reconnect")

    async def _leave_lame_duck(self) -> None:
        """Move while there is time. Where there is no other server, stay as long as we may."""
        if len(self._server_pool) > 1:
            self._drop("nats-server is about to stop")

    async def _note(self, error: Exception) -> None:
        log.debug("nats-py reports", extra={"reason": reason_of(error)})
