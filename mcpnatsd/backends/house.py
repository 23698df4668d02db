"""A short legacy session of our own: for a call by somebody who knows nothing of MCP."""

import asyncio
from collections.abc import Mapping

from mcpnatsd.backends.faults import call_timed_out, output_too_large, start_timed_out
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import McpnatsdError, ProcessDied, ProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Request, Response
from mcpnatsd.protocol.lines import Oversize


class HouseSession:
    """One process, one `initialize`, then requests one after the other."""

    def __init__(self, config: ServerConfig, launcher: Launcher, version: str) -> None:
        self._config = config
        self._launcher = launcher
        self._version = version
        self._process: Process | None = None
        self._last = 0
        self._answer: asyncio.Future[tuple[Response, bytes]] | None = None

    async def open(self) -> Response:
        """Start the process and shake hands; return the answer to `initialize`.

        Raises:
            BackendError: It cannot be started, or does not answer.
            Reported: It wants no session.
        """
        self._process = await self._launcher.start(self._config, self)
        limit = self._config.limits.start_timeout
        try:
            response, _ = await self._ask(
                eras.INITIALIZE, eras.our_initialize(self._version), limit
            )
        except TimeoutError:
            raise start_timed_out(self._config, self._process.stderr_tail) from None
        if response.is_error:
            raise jsonrpc.reported(jsonrpc.encode(response.members))
        self._process.write(jsonrpc.notification(eras.INITIALIZED, {}))
        return response

    async def ask(self, method: str, params: Mapping[str, object]) -> tuple[Response, bytes]:
        """Send a request; return its response, taken apart and as it came.

        Raises:
            BackendError: The server died, or did not answer within `call_timeout`.
            TooLarge: Its answer is over `output_line_bytes`.
        """
        try:
            return await self._ask(method, params, self._config.limits.call_timeout)
        except TimeoutError:
            raise call_timed_out(self._config) from None

    async def close(self) -> None:
        if self._process is not None:
            await self._process.stop()

    def receive_output(self, line: bytes) -> None:
        try:
            message = jsonrpc.decode(line)
        except ProtocolError:
            return
        if isinstance(message, Response) and jsonrpc.key_of(message.id) == self._last:
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((message, line))
        elif isinstance(message, Request) and self._process is not None:
            text = "this caller can answer no requests"
            self._process.write(jsonrpc.error(message.id, jsonrpc.METHOD_NOT_FOUND, text))

    def receive_oversize(self, skipped: Oversize) -> None:
        self._fail(output_too_large(self._config, skipped.size))

    def exited(self, exit: Exit) -> None:  # noqa: A002
        self._fail(ProcessDied(f"server {self._config.name!r} {exit.sentence()}"))

    async def _ask(
        self, method: str, params: Mapping[str, object], seconds: float
    ) -> tuple[Response, bytes]:
        if self._process is None:
            raise ProcessDied(f"server {self._config.name!r} is not running")
        self._last += 1
        self._answer = asyncio.get_running_loop().create_future()
        message = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        self._process.write(jsonrpc.encode(message))
        async with asyncio.timeout(seconds):
            return await self._answer

    def _fail(self, fault: McpnatsdError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(fault)
