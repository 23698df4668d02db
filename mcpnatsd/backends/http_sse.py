"""Speaks to a server of revision 2024-11-05: one event stream back, and a URL for what we say.

2024-11-05, Basic, Transports, "HTTP with SSE".
"""

import asyncio
import logging
from typing import Final

from mcpnatsd.backends.http_answer import EVENTS, is_message, read_named
from mcpnatsd.backends.http_client import Unreachable
from mcpnatsd.backends.http_exchange import Owner
from mcpnatsd.backends.http_faults import NOT_FOUND, fault_of
from mcpnatsd.errors import McpnatsdError, ProcessDied, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.event_reader import Event, EventReader
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

ENDPOINT_TIMEOUT: Final = 10.0
"""Seconds in which the stream says where to send messages."""

SEND_TIMEOUT: Final = 30.0


class OldHttp:
    """One session: it ends with its stream."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self) -> McpnatsdError | None:
        """Open the stream; return why that does not work."""
        reading = self._owner.spawn(self._read)
        try:
            async with asyncio.timeout(ENDPOINT_TIMEOUT):
                await asyncio.shield(self._endpoint)
        except TimeoutError:
            reading.cancel()
            return ProcessDied(f"said no endpoint at {self._owner.client.where}")
        except McpnatsdError as fault:
            return fault
        return None

    async def send(self, line: bytes) -> McpnatsdError | None:
        """Send a message; return why the server did not take it."""
        try:
            async with (
                asyncio.timeout(SEND_TIMEOUT),
                self._owner.client.post(line, [], self._endpoint.result()) as answer,
            ):
                if answer.ok:
                    return None
                fault = fault_of(self._endpoint.result(), answer)
                if answer.status == NOT_FOUND:
                    self._owner.gone(fault)
        except TimeoutError:
            fault = ProcessDied("did not take a message in time")
        except Unreachable as away:
            self._owner.gone(away)
            return away
        except ProcessDied as broken:
            fault = broken
        log.warning(
            "server did not take a message",
            extra={"server": self._owner.config.name, "error": str(fault)},
        )
        return fault

    async def _read(self) -> None:
        """Read the stream until it ends, and the session with it."""
        fault: McpnatsdError = ProcessDied(f"ended its stream at {self._owner.client.where}")
        reader = EventReader(self._owner.config.limits.output_line_bytes)
        try:
            async with self._owner.client.get([]) as answer:
                if answer.ok and answer.kind == EVENTS:
                    await read_named(answer, reader, self._take, self._owner.gate)
                else:
                    fault = fault_of(self._owner.client.url, answer)
        except ProcessDied as broken:
            fault = broken
        if not self._endpoint.done():
            self._endpoint.set_exception(fault)
        elif self._endpoint.exception() is None:
            self._owner.gone(fault)

    def _take(self, one: Event | Oversize) -> bool:
        if isinstance(one, Oversize):
            self._owner.skip(None, one)
        elif one.name == b"endpoint":
            self._learn(one.data.decode("latin-1"))
        elif is_message(one):
            self._owner.heard = True
            self._owner.deliver(jsonrpc.single_line(one.data))
        return False

    def _learn(self, reference: str) -> None:
        if self._endpoint.done():
            return
        try:
            self._endpoint.set_result(self._owner.client.within(reference))
        except RemoteProtocolError as fault:
            self._endpoint.set_exception(fault)
