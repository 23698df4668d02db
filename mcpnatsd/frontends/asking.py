"""A question to one server whose answer is awaited."""

import asyncio
from collections.abc import Callable

from mcpnatsd.bus.call import Call
from mcpnatsd.errors import InstanceLost, McpnatsdError
from mcpnatsd.frontends.edge_bus import Opener
from mcpnatsd.protocol.outgoing import Outgoing


async def ask(
    requester: Opener,
    server: str,
    outgoing: Outgoing,
    edge: str,
    on_note: Callable[[bytes], None] | None = None,
) -> bytes:
    """Return the response to a request, which may be an error. Cancelling the wait cancels it.

    Raises:
        McpnatsdError: There is no response.
    """
    answer = Answer(edge, on_note)
    call = requester.open(server, outgoing, answer)
    try:
        return await answer.line
    finally:
        requester.cancel(call, "the caller gave up")


class Answer:
    """The owner of one call: a future that its end resolves."""

    def __init__(self, edge: str, on_note: Callable[[bytes], None] | None = None) -> None:
        self.edge = edge
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._on_note = on_note

    def receive_note(self, _call: Call, line: bytes) -> None:
        if self._on_note is not None:
            self._on_note(line)

    def receive_final(self, _call: Call, line: bytes) -> None:
        if not self.line.done():
            self.line.set_result(line)

    def receive_end(self, call: Call) -> None:
        self.failed(call, InstanceLost("the server ended it without an answer"))

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        if not self.line.done():
            self.line.set_exception(fault)
