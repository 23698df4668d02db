"""Speaks to a legacy server over HTTP: one session, kept by its id.

2025-11-25, Basic, Transports, Streamable HTTP. What a client says goes out in its order: requests
side by side, and what is told (notifications and responses) before anything that follows it.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Final

from mcpnatsd.backends.http_answer import EVENTS, read_events
from mcpnatsd.backends.http_client import Answer, Unreachable
from mcpnatsd.backends.http_exchange import Asked, Exchanges, Owner, Refusal, key_of
from mcpnatsd.backends.http_faults import NOT_FOUND, is_about_era
from mcpnatsd.backends.http_sse import OldHttp
from mcpnatsd.config.model import Transport
from mcpnatsd.errors import Busy, McpnatsdError, ProcessDied
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.event_reader import EventReader
from mcpnatsd.protocol.headers import VERSION
from mcpnatsd.protocol.http_headers import LAST_EVENT, SESSION
from mcpnatsd.protocol.jsonrpc import Key, Message, Notification, Request, Response
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

MOST_WAITING: Final = 4096
"""Messages on their way to the server. More are refused as busy."""

_LONGEST_ID: Final = 1024
"""Of an event: a header must hold it."""

LEAST_PAUSE: Final = 0.1
"""Seconds, whatever the server says: none at all would be a storm."""

FIRST_PAUSE: Final = 1.0
MOST_PAUSE: Final = 30.0
"""Seconds until a stream is opened again, where the server does not say."""

RESUME_ATTEMPTS: Final = 5
"""In a row without an event. Then the request has failed."""

CANCELLED_LINGER: Final = 10.0
"""Seconds that a cancelled request is still listened to."""

_OLD: Final = (400, 404, 405)
"""2025-11-25, "Backwards Compatibility": then it may be a server of HTTP+SSE."""

_ITS_FAULT: Final = 500

_OVER: Final = (400, 404)
"""Answers to a stream that was open before: the server does not know its session any more."""


class SessionHttp:
    """One session of the handshake era."""

    def __init__(self, owner: Owner, pending_bytes: int) -> None:
        self._owner = owner
        self._pending_bytes = pending_bytes
        self._exchanges = Exchanges(owner, self._intercept)
        self._lines: deque[tuple[Message, bytes]] = deque()
        self._queued_bytes = 0
        self._more = asyncio.Event()
        self._open: dict[Key, asyncio.Task[None]] = {}
        self._session = ""
        self._revision = ""
        self._old: OldHttp | None = None
        owner.spawn(self._write_for_ever)

    @property
    def unwritten_bytes(self) -> int:
        return self._queued_bytes + self._exchanges.unwritten_bytes

    def write(self, message: Message, line: bytes) -> None:
        """Send a message, after those before it.

        Raises:
            Busy: As much as may be under way is.
        """
        waiting = self.unwritten_bytes
        full = waiting and waiting + len(line) > self._pending_bytes
        if full or len(self._lines) + len(self._open) >= MOST_WAITING:
            raise Busy(f"server {self._owner.config.name!r} does not take what it is sent")
        self._lines.append((message, line))
        self._queued_bytes += len(line)
        self._more.set()

    async def close(self) -> None:
        """Tell the server that nobody needs the session any more."""
        if self._session:
            with suppress(ProcessDied):
                await self._owner.client.delete(self._headers())

    # Sending.

    async def _write_for_ever(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._lines:
                message, line = self._lines[0]
                await self._send(message, line)
                self._lines.popleft()
                self._queued_bytes -= len(line)

    async def _send(self, message: Message, line: bytes) -> None:
        if isinstance(message, Request):
            await self._send_request(message, line)
        elif self._old is not None:
            await self._old.send(line)
        else:
            await self._tell(message, line)

    async def _send_request(self, request: Request, line: bytes) -> None:
        asked = self._exchanges.ask(request, {}, line)
        if request.method == eras.INITIALIZE:
            await self._initialize(asked)
            self._exchanges.began(asked)
        elif self._old is not None:
            fault = await self._old.send(line)
            self._exchanges.began(asked)
            if fault is not None:
                self._exchanges.fail(asked, fault)
        else:
            self._spawn(asked)

    def _spawn(self, asked: Asked) -> None:
        key = key_of(asked.request.id)
        self._open[key] = task = self._owner.spawn(partial(self._run, asked))
        task.add_done_callback(lambda _: self._forget(asked, key))

    def _forget(self, asked: Asked, key: Key) -> None:
        self._open.pop(key, None)
        self._exchanges.began(asked)

    async def _run(self, asked: Asked) -> None:
        refusal = await self._exchanges.post(asked, self._headers())
        if refusal is not None and refusal.status == 0:
            refusal = await self._resume(asked, refusal)
        if refusal is not None and not asked.answered:
            self._refused(asked, refusal)

    async def _tell(self, message: Message, line: bytes) -> None:
        """Send what wants no answer, before anything that follows it."""
        refusal = await self._exchanges.tell(line, self._headers())
        if refusal is not None and self._session and refusal.status == NOT_FOUND:
            self._owner.gone(_over())
        elif refusal is not None:
            self._exchanges.not_told(message, refusal.fault)
        self._told(message)

    def _told(self, message: Message) -> None:
        if not isinstance(message, Notification):
            return
        if message.method == eras.INITIALIZED:
            self._owner.spawn(self._listen)
        elif message.method == eras.CANCELLED:
            params = jsonrpc.params_of(message.members)
            task = self._open.get(key_of(params.get("requestId")))
            if task is not None:
                asyncio.get_running_loop().call_later(CANCELLED_LINGER, task.cancel)

    # Opening.

    async def _initialize(self, asked: Asked) -> None:
        transport = self._owner.config.transport
        refusal: Refusal | None = None
        if transport is not Transport.SSE:
            refusal = await self._exchanges.post(asked, [], self._learn_session)
            if refusal is None:
                return
        refused = refusal is not None and refusal.response is None and refusal.status in _OLD
        if transport is Transport.SSE or (transport is Transport.AUTO and refused):
            fault = await self._open_old(asked)
            if fault is None:
                return
            refusal = Refusal(0, _both(refusal, fault))
        if refusal is not None:
            self._refused(asked, refusal)

    async def _open_old(self, asked: Asked) -> McpnatsdError | None:
        """Open a session over HTTP+SSE; return why that does not work."""
        old = OldHttp(self._owner)
        fault = await old.open() or await old.send(asked.line)
        if fault is None:
            self._old = old
        return fault

    def _learn_session(self, answer: Answer) -> None:
        id = answer.headers.get(SESSION.lower(), "")  # noqa: A001
        if answer.ok and id.isascii() and id.isprintable():
            self._session = id

    def _intercept(self, asked: Asked, response: Response, line: bytes) -> bytes:
        if asked.request.method == eras.INITIALIZE and not response.is_error:
            result = jsonrpc.object_of(response.members, "result")
            revision = jsonrpc.text_of(result, "protocolVersion") or ""
            self._revision = revision if revision.isascii() and revision.isprintable() else ""
        return line

    def _headers(self) -> list[tuple[str, str]]:
        pairs = ((SESSION, self._session), (VERSION, self._revision))
        return [(name, value) for name, value in pairs if value]

    # What goes wrong.

    def _refused(self, asked: Asked, refusal: Refusal) -> None:
        if self._is_over(refusal):
            self._owner.gone(_over())
        elif not self._owner.heard and not is_about_era(refusal.status):
            self._owner.gone(refusal.fault)
        elif refusal.response is not None:
            self._exchanges.answer(asked, *refusal.response)
        elif not self._owner.heard:
            self._owner.gone(refusal.fault)
        else:
            self._exchanges.fail(asked, refusal.fault)

    def _is_over(self, refusal: Refusal) -> bool:
        # 2025-11-25, "Session Management": 404 for a session is its end. Newer servers say it of
        # an unknown method, too, and name that in the body.
        if not self._session or refusal.status != NOT_FOUND:
            return False
        return refusal.code != jsonrpc.METHOD_NOT_FOUND

    # Streams.

    async def _resume(self, asked: Asked, refusal: Refusal) -> Refusal | None:
        """Go on with the stream of a request behind its last event, if the server can."""
        reader, attempts = asked.reader, 0
        while reader.last_id and attempts < RESUME_ATTEMPTS:
            before, attempts = reader.last_id, attempts + 1
            await asyncio.sleep(_pause(reader, FIRST_PAUSE))
            try:
                async with self._owner.client.get(self._after(reader)) as answer:
                    reader.reopened()
                    again = await self._exchanges.receive(asked, answer)
                if asked.answered:
                    return None
                if again is not None and again.status:
                    return again if again.status == NOT_FOUND else refusal
            except Unreachable as away:
                if await self._exchanges.is_away(away):
                    return None
            except ProcessDied as broken:
                log.debug("stream broke again", extra={"error": str(broken)})
            if reader.last_id != before:
                attempts = 0
        return refusal

    async def _listen(self) -> None:
        """Hold the stream open on which the server says what belongs to no request."""
        reader = EventReader(self._owner.config.limits.output_line_bytes)
        pause, opened = FIRST_PAUSE, False
        while True:
            before = self._owner.line_at
            try:
                async with self._owner.client.get(self._after(reader)) as answer:
                    if answer.ok and answer.kind == EVENTS:
                        opened = True
                        reader.reopened()
                        await read_events(answer, reader, self._take, self._owner.gate)
                    elif opened and answer.status in _OVER:
                        self._owner.gone(_over())
                    elif answer.status < _ITS_FAULT:
                        return  # it has no such stream
            except Unreachable as away:
                if await self._exchanges.is_away(away):
                    return
            except ProcessDied as broken:
                log.debug("stream broke", extra={"error": str(broken)})
            pause = FIRST_PAUSE if self._owner.line_at > before else min(2 * pause, MOST_PAUSE)
            await asyncio.sleep(_pause(reader, pause))

    def _take(self, one: bytes | Oversize) -> bool:
        if isinstance(one, Oversize):
            self._owner.skip(None, one)
        else:
            self._owner.deliver(one)
        return False

    def _after(self, reader: EventReader) -> list[tuple[str, str]]:
        last = reader.last_id.decode("latin-1")
        known = last.isascii() and last.isprintable() and 0 < len(last) <= _LONGEST_ID
        return [*self._headers(), (LAST_EVENT, last)] if known else self._headers()


def _pause(reader: EventReader, otherwise: float) -> float:
    wanted = otherwise if reader.retry is None else reader.retry
    return max(LEAST_PAUSE, min(wanted, MOST_PAUSE))


def _both(refusal: Refusal | None, fault: McpnatsdError) -> McpnatsdError:
    return fault if refusal is None else ProcessDied(f"{refusal.fault}; over HTTP+SSE it {fault}")


def _over() -> ProcessDied:
    return ProcessDied("says that the session is over")
