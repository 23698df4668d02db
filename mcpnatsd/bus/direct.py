"""The data path over nats-py's client: what each message passes.

nats-py gives each subscription a queue and a task, and each publish a wake-up of a flusher. Here a
message goes from the socket to its subscriber in one call, and what is published in one pass of
the loop leaves in one write.
"""

import asyncio
import json
import logging
import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

from mcpnatsd.bus.engine import Client, errors
from mcpnatsd.bus.parser import OnMsg, Parser
from mcpnatsd.bus.transport import HIGH_WATER, Socket
from mcpnatsd.errors import BrokerAway, RemoteProtocolError, TooLarge
from mcpnatsd.loop import BATCH

log = logging.getLogger(__name__)

RARE_STEPS = 65_536  # messages to nats-py's own subscriptions that may wait

_DENIED = re.compile(
    r'Permissions Violation for (Publish|Subscription) to "([^"]*)"', re.IGNORECASE
)


_BATCH_PIECES = 4 * BATCH  # a message is four pieces: line, headers, body, end


class DirectClient(Client):
    """A client that reads and writes without tasks. Its life is left to the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self._routes: dict[bytes, OnMsg] = {}
        self._interests: dict[bytes, tuple[str, str]] = {}
        self._faulty: set[bytes] = set()
        self._scheduled = False
        self._reason = ""  # why we are not connected
        self._complaint = ""  # the last -ERR, until something else arrives
        self._socket: Socket | None = None
        self._waits = False
        """Whether what is published waits until a client before us has sent all of its own."""

        self._rare: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue(RARE_STEPS)

    @abstractmethod
    def _drop(self, reason: str) -> None:
        """Give the connection up."""

    @abstractmethod
    def _ended(self, socket: Socket, reason: str) -> None:
        """Hear that a socket is of no more use."""

    @abstractmethod
    def _denied(self, kind: str, subject: str) -> None:
        """Hear that NATS denies a subject."""

    def send(self, subject: str, body: bytes, reply: str, headers: bytes) -> None:
        """Publish in this pass of the loop.

        Raises:
            BrokerAway: Not connected. Nothing was sent.
            TooLarge: NATS takes no message of this size.
        """
        if self._status != Client.CONNECTED:
            raise BrokerAway(f"NATS is away: {self._reason or 'not connected yet'}")
        size = len(headers) + len(body)
        if size > self._max_payload:
            raise TooLarge(f"{size} bytes are more than NATS takes: {self._max_payload}")
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n"
            self._pending += (line.encode(), headers, body, b"\r\n")
        else:
            line = f"PUB {subject} {reply} {size}\r\n"
            self._pending += (line.encode(), body, b"\r\n")
        self._pending_data_size += len(line) + size + 2
        if not self._scheduled:
            self._schedule()
        elif len(self._pending) > _BATCH_PIECES:
            self._hand_over()

    def listen(self, subject: str, queue: str, on_msg: OnMsg) -> int:
        """Subscribe, now and after each reconnect."""
        self._sid += 1
        sid = b"%d" % self._sid
        self._routes[sid] = on_msg
        self._interests[sid] = subject, queue
        if self.is_connected:
            self._write(subscribe_line(sid, subject, queue))
        return self._sid

    def forget(self, number: int) -> None:
        """Unsubscribe."""
        sid = b"%d" % number
        self._faulty.discard(sid)
        self._routes.pop(sid, None)
        self.leave(number)

    def leave(self, number: int) -> None:
        """Ask for no more, and still take what is on its way."""
        sid = b"%d" % number
        if self._interests.pop(sid, None) is not None and self.is_connected:
            self._write(b"UNSUB %s\r\n" % sid)

    async def flush(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # nats-py's signature
        """Return when nats-server has read all that was published.

        Raises:
            BrokerAway: The connection is gone, or nats-server does not answer.
        """
        if not self.is_connected:
            raise BrokerAway(f"NATS is away: {self._reason or 'not connected yet'}")
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._send_ping(pong)
        try:
            async with asyncio.timeout(timeout):
                await pong
        except TimeoutError:
            raise BrokerAway(f"NATS did not answer within {timeout:g} s") from None

    @property
    def congested(self) -> bool:
        return self._unsent_bytes > HIGH_WATER

    async def writable(self) -> None:
        """Return when the congestion is over, or the connection."""
        self._kick()
        if self._socket is not None and self.is_connected:
            try:
                await self._socket.drain()
            except OSError:
                return

    # Taking the place of another client

    @property
    def routes(self) -> dict[bytes, OnMsg]:
        """Who gets the messages of each subscription."""
        return self._routes

    @property
    def interests(self) -> dict[bytes, tuple[str, str]]:
        """Subject and queue group of each subscription."""
        return self._interests

    def command(self, line: bytes) -> None:
        """Say something to nats-server, in order with what is published."""
        if self.is_connected:
            self._write(line)

    def deliver(self, sid: bytes, msg: tuple[bytes, bytes, bytes, bytes | None]) -> None:
        """Pass a message on as if it had just arrived."""
        route = self._routes.get(sid)
        try:
            if route is not None:
                route(*msg)
        except Exception as error:  # noqa: BLE001  # one subscriber's fault is not the others'
            self._fault(sid, msg[0], error)

    def number_after(self, other: "DirectClient") -> None:
        """Number subscriptions where another client stopped."""
        self._sid = max(self._sid, other._sid)  # noqa: SLF001  # one of our own class

    def wait_to_write(self, *, yes: bool) -> None:
        """Keep what is published, or let it go."""
        self._waits = yes
        if not yes:
            self._kick()

    # Reading

    def _receive(self, parser: Parser, socket: Socket, data: bytes) -> None:
        self._pings_outstanding = 0
        self._complaint = ""
        try:
            parser.feed(data)
        except RemoteProtocolError as error:
            self._ended(socket, str(error))

    def _line(self, line: bytes) -> None:
        match line[:4].upper():
            case b"PING":
                self._write(b"PONG\r\n")
            case b"PONG":
                self._pong()
            case b"-ERR":
                self._error(line[4:].decode(errors="replace").strip().strip("'"))
            case b"INFO":
                self._info(line[4:])
            case b"+OK":
                pass
            case _:
                raise RemoteProtocolError("NATS sent what is not its protocol")

    def _pong(self) -> None:
        """Resolve the oldest flush, which may have given up: nats-py's reader would die of that."""
        pong = self._pongs.pop(0) if self._pongs else None
        if pong is not None and not pong.done():
            pong.set_result(True)

    def _error(self, text: str) -> None:
        """Note an error. nats-server closes the connection where it must; nats-py does for good."""
        if (denied := _DENIED.match(text)) is not None:
            kind = "publish" if denied[1].lower() == "publish" else "subscribe"
            self._denied(kind, denied[2])
            return
        self._complaint = text
        log.warning("NATS reports an error", extra={"reason": text})

    def _info(self, text: bytes) -> None:
        try:
            info = json.loads(text)
        except ValueError:
            raise RemoteProtocolError("NATS sent an INFO that is not JSON") from None
        self._server_info |= info
        self._max_payload = info.get("max_payload", self._max_payload)
        self._put(partial(self._process_info, info))

    def _stray(
        self, sid: bytes, subject: bytes, reply: bytes, body: bytes, headers: bytes | None
    ) -> None:
        """Leave messages of nats-py's own subscriptions, JetStream's for example, to nats-py."""
        if int(sid) in self._subs:
            step = partial(self._process_msg, int(sid), subject, reply, body, headers)  # type: ignore[arg-type]  # nats-py sends it None
            self._put(step)

    def _fault(self, sid: bytes, subject: bytes, error: Exception) -> None:
        level = logging.DEBUG if sid in self._faulty else logging.ERROR
        self._faulty.add(sid)
        where = {"subject": subject.decode(errors="replace"), "reason": reason_of(error)}
        log.log(level, "a message was not understood", extra=where, exc_info=error)

    def _put(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            self._rare.put_nowait(step)
        except asyncio.QueueFull:
            self._drop("its messages are not read")

    async def _read_loop(self) -> None:
        """Let nats-py have, in order, what is rare. It cannot end the reading."""
        while True:
            step = await self._rare.get()
            try:
                await step()
            except Exception as error:  # nats-py's reader would be dead now
                log.warning("nats-py failed", extra={"reason": reason_of(error)}, exc_info=error)

    # Writing

    def _write(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._kick)

    def _kick(self) -> None:
        """Hand over what this pass of the loop has gathered, in one write."""
        self._scheduled = False
        self._hand_over()

    def _hand_over(self) -> None:
        if self._pending and self._socket is not None and self.is_connected and not self._waits:
            data = b"".join(self._pending)
            self._pending.clear()
            self._pending_data_size = 0
            self._socket.write(data)

    @property
    def _unsent_bytes(self) -> int:
        if self._socket is None or not self.is_connected:
            return 0
        return self._pending_data_size + self._socket.unsent_bytes

    async def _send_command(
        self,
        cmd: bytes,
        priority: bool = False,  # noqa: ARG002, FBT001, FBT002  # nats-py's signature
    ) -> None:
        """Write for nats-py, and wait where it would: but a cancelled wait stays cancelled."""
        self._write(cmd)
        if self._unsent_bytes > self._max_pending_size:
            await self.writable()

    async def _flush_pending(
        self,
        force_flush: bool = False,  # noqa: ARG002, FBT001, FBT002  # nats-py's signature
    ) -> None:
        self._kick()

    async def _flusher(self) -> None:
        """Have nothing to do: `_kick` does it."""

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._write(b"PING\r\n")


def reason_of(error: BaseException) -> str:
    """Return why something failed, in words fit for a log line."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError) and not str(error):
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).removeprefix("nats: ").strip("'")


def is_refusal(error: BaseException) -> bool:
    """Tell whether nats-server did not like who we are."""
    return isinstance(error, errors.Error) and bool(
        re.search("(?i)authori[sz]|authent", str(error))
    )


def subscribe_line(sid: bytes, subject: str, queue: str) -> bytes:
    return b"SUB %s %s %s\r\n" % (subject.encode(), queue.encode(), sid)
