"""One request to an HTTP server: sent, and all that comes back for it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.backends.http_answer import (
    EVENTS,
    JSON,
    messages_in,
    read_body,
    read_events,
    read_json,
)
from mcpnatsd.backends.http_client import Answer, HttpClient, Unreachable
from mcpnatsd.backends.http_faults import fault_of, named, unknown_outcome
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import McpnatsdError, ProcessDied, ProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.event_reader import EventReader
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Request, Response
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

TELL_TIMEOUT: Final = 30.0
"""Seconds in which a server takes what wants no answer."""

_WORDS_BYTES: Final = 64 << 10
"""Of the body of a refusal: a page of HTML may be longer, and says no more."""


Part = Callable[[], Coroutine[None, None, None]]


class Owner(Protocol):
    """Whoever stands in for a server that is not ours to start."""

    config: ServerConfig
    client: HttpClient
    heard: bool
    """Whether the server answered anything yet."""

    line_at: float
    """When it last said anything."""

    gate: asyncio.Event
    """Set while whoever listens to the server keeps up."""

    def spawn(self, part: Part) -> asyncio.Task[None]:
        """Run a part until it is over, or all is."""

    def deliver(self, line: bytes) -> None:
        """Pass on what the server said."""

    def skip(self, id: Raw | None, skipped: Oversize) -> None:  # noqa: A002
        """Tell of a message that was too large, and of the request that it was for."""

    def drop(self, reason: str) -> None:
        """Count what is no message."""

    def gone(self, fault: McpnatsdError) -> None:
        """End it all: the server is away, or its session is over."""


@dataclass(slots=True)
class Asked:
    """One request, until it is answered."""

    request: Request
    params: Members
    line: bytes
    reader: EventReader
    answered: bool = False
    own: Response | None = None
    """The response of a request that we make for ourselves."""

    is_own: bool = False
    unwritten: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What came in place of a response."""

    status: int
    """0: nothing at all."""

    fault: McpnatsdError
    response: tuple[Response, bytes] | None = None
    """An error in the body of a refusal."""

    @property
    def code(self) -> int | None:
        if self.response is None:
            return None
        error = jsonrpc.object_of(self.response[0].members, "error")
        code = jsonrpc.key_of(error.get("code"))
        return code if isinstance(code, int) else None


def key_of(id: Raw | None) -> Key:  # noqa: A002
    """Return under what a request is found; what is no id finds none."""
    key = jsonrpc.key_of(id)
    return f"no id: {bytes(id or b'').decode('latin-1')}" if key is None else key


class Exchanges:
    """Requests of one owner, each over a POST of its own."""

    def __init__(self, owner: Owner, intercept: Callable[[Asked, Response, bytes], bytes]) -> None:
        self.unwritten_bytes = 0
        """Of requests whose answer has not begun."""

        self._owner = owner
        self._intercept = intercept

    def ask(self, request: Request, params: Members, line: bytes) -> Asked:
        """Enter a request, which counts as unwritten until its answer begins, or `began`."""
        reader = EventReader(self._owner.config.limits.output_line_bytes)
        self.unwritten_bytes += len(line)
        return Asked(request, params, line, reader, unwritten=len(line))

    def began(self, asked: Asked) -> None:
        self.unwritten_bytes -= asked.unwritten
        asked.unwritten = 0

    async def post(
        self,
        asked: Asked,
        headers: list[tuple[str, str]],
        on_answer: Callable[[Answer], None] = lambda _answer: None,
    ) -> Refusal | None:
        """Send a request, pass on what comes for it, and return what came in place of a response.

        None: it was answered, or nobody is there, which is told to the owner.
        """
        try:
            lasting = asked.request.method == eras.LISTEN
            async with self._owner.client.post(asked.line, headers, lasting=lasting) as answer:
                self.began(asked)
                on_answer(answer)
                return await self.receive(asked, answer)
        except Unreachable as fault:
            return None if await self.is_away(fault) else Refusal(0, fault)
        except ProcessDied as fault:
            return None if asked.answered else Refusal(0, unknown_outcome(fault))
        finally:
            self.began(asked)

    async def receive(self, asked: Asked, answer: Answer) -> Refusal | None:
        """Take an answer to a request.

        Raises:
            ProcessDied: The connection broke.
        """
        if not answer.ok:
            return await self._refusal(answer)
        take = self._taker(asked)
        if answer.kind == EVENTS:
            await read_events(answer, asked.reader, take, self._owner.gate)
        elif answer.kind == JSON:
            await read_json(answer, self._owner.config.limits.output_line_bytes, take)
        else:
            return Refusal(answer.status, fault_of(self._owner.client.url, answer))
        if asked.answered:
            return None
        where = self._owner.client.where
        return Refusal(0, unknown_outcome(ProcessDied(f"ended its answer early at {where}")))

    async def tell(
        self, line: bytes, headers: list[tuple[str, str]], url: str = ""
    ) -> Refusal | None:
        """Send what wants no answer; return why it was not taken.

        It is sent once more when the connection broke: nothing in MCP minds to be told twice.
        """
        client, fault = self._owner.client, ProcessDied("did not take it in time")
        for _ in range(2):
            try:
                async with asyncio.timeout(TELL_TIMEOUT), client.post(line, headers, url) as answer:
                    if answer.ok:
                        return None
                    return Refusal(answer.status, fault_of(url or client.url, answer))
            except Unreachable as away:
                await self.is_away(away)
                return Refusal(0, away)
            except TimeoutError:
                break
            except ProcessDied as broken:
                fault = broken
        return Refusal(0, fault)

    async def is_away(self, fault: Unreachable) -> bool:
        """Tell whether nobody is there indeed, which ends it all; or one connection failed."""
        if self._owner.heard and not self._owner.client.is_proxied:
            try:
                await self._owner.client.check(within=0)
            except Unreachable:
                pass
            else:
                return False
        self._owner.gone(fault)
        return True

    def not_told(self, message: Message, fault: McpnatsdError) -> None:
        what = "response" if isinstance(message, Response) else message.method
        facts = {"server": self._owner.config.name, "what": what, "error": str(fault)}
        log.warning("server did not take a message", extra=facts)

    def answer(self, asked: Asked, response: Response, line: bytes) -> None:
        """Pass on the response of a request. It is known by its POST, whatever its id says."""
        if bytes(response.id) != bytes(asked.request.id):
            line = response.with_id(asked.request.id)
        asked.answered = self._owner.heard = True
        line = self._intercept(asked, response, line)
        if asked.is_own:
            asked.own = response
        else:
            self._owner.deliver(line)

    def fail(self, asked: Asked, fault: McpnatsdError) -> None:
        """Answer a request with an error of ours."""
        asked.answered = True
        said = named(self._owner.config.name, fault)
        self._owner.deliver(jsonrpc.error_of(asked.request.id, said))

    async def _refusal(self, answer: Answer) -> Refusal:
        fault = fault_of(self._owner.client.url, answer)
        body = await read_body(answer, _WORDS_BYTES)
        lines = [] if isinstance(body, Oversize) else messages_in(body)
        for line in map(jsonrpc.single_line, lines):
            try:
                message = jsonrpc.decode(line)
            except ProtocolError:
                continue
            if isinstance(message, Response) and message.is_error:
                return Refusal(answer.status, fault, (message, line))
        return Refusal(answer.status, fault)

    def _taker(self, asked: Asked) -> Callable[[bytes | Oversize], bool]:
        def take(one: bytes | Oversize) -> bool:
            if isinstance(one, Oversize):
                asked.answered = self._owner.heard = True
                self._owner.skip(asked.request.id, one)
                return True
            try:
                message = jsonrpc.decode(one)
            except ProtocolError as fault:
                self._owner.drop(str(fault))
                return False
            if isinstance(message, Response):
                self.answer(asked, message, one)
                return True
            self._owner.deliver(one)
            return False

        return take
