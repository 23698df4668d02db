"""Whoever waits for an answer of a modern process: a caller on the bus, or the bridge itself."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Members, Request, Response


class Caller(Protocol):
    """One request and its caller. `bus.served.Served` is one."""

    asked: Asked
    opened_at: float
    error: str | None
    """Set before `finish` when the answer tells of a failure: for the statistics."""

    on_cancel: Callable[[str], None] | None

    @property
    def edge(self) -> str:
        """What names its client in the tokens of its calls; empty when nothing does."""

    @property
    def user(self) -> bytes:
        """The caller as NATS enforces it; empty where the prefix names none."""

    @property
    def base(self) -> str:
        """The prefix as the caller published it."""

    def note(self, line: bytes) -> None: ...

    def finish(self, line: bytes) -> None: ...

    def fail(self, fault: McpnatsdError) -> None: ...

    def end(self, line: bytes) -> None: ...


class OwnRequest:
    """A request of our own: what `answer` returns is its response."""

    edge = ""
    user = b""
    base = ""

    def __init__(self, method: str, params: Mapping[str, object]) -> None:
        members: Members = {
            "jsonrpc": Raw(b'"2.0"'),
            "id": Raw(b"0"),
            "method": Raw(jsonrpc.encode(method)),
            "params": Raw(jsonrpc.encode(params)),
        }
        request = Request(members["id"], method, members)
        self.asked = Asked(request, jsonrpc.params_of(members), None, bare=False)
        loop = asyncio.get_running_loop()
        self.opened_at = loop.time()
        self.error: str | None = None
        self.on_cancel: Callable[[str], None] | None = None
        self._answer: asyncio.Future[bytes] = loop.create_future()

    def note(self, line: bytes) -> None:
        """Ignore a notification: nothing of ours asks for any."""

    def finish(self, line: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(line)

    def fail(self, fault: McpnatsdError) -> None:
        if not self._answer.done():
            self._answer.set_exception(fault)

    def end(self, line: bytes) -> None:
        """Ignore the end of a subscription: nothing of ours opens one."""

    async def answer(self, timeout: float) -> Response:  # noqa: ASYNC109
        """Wait for the response.

        Raises:
            TimeoutError: It did not come in time; the request is given up.
            BackendError: The process ended first.
            ProtocolError: It is no response.
        """
        try:
            async with asyncio.timeout(timeout):
                line = await self._answer
        except TimeoutError:
            if self.on_cancel is not None:
                self.on_cancel("no answer in time")
            raise
        message = jsonrpc.decode(line)
        if not isinstance(message, Response):
            raise RemoteProtocolError("the server answered with something else")
        return message
