"""A seat on a shared legacy process, which its taker sees as a process of its own.

Lines that it writes go to the shared process under ids of the process' own; what comes back is
read as if the process had said it. It answers `initialize` from the one handshake.
"""

import asyncio
from collections.abc import Callable

from mcpnatsd.backends.launch import Listener
from mcpnatsd.backends.legacy_shared import Member, SharedLegacy
from mcpnatsd.backends.process import Exit, Process
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import McpnatsdError
from mcpnatsd.protocol import jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Message, Request


class Seat:
    """One member of a shared process. It is what a tunnel is to the others."""

    full = False
    noise_lines = 0
    oversize_lines = 0

    def __init__(self, config: ServerConfig, shared: SharedLegacy, listener: Listener) -> None:
        self.started_at = asyncio.get_running_loop().time()
        self._name = config.name
        self._shared = shared
        self._listener = listener
        self._exit: Exit | None = None
        self._member: Member = shared.open(self, counted=False)

    # As a process.

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def stderr_lines(self) -> int:
        return 0

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        return self._process.stderr_tail if self._process is not None else ()

    @property
    def unwritten_bytes(self) -> int:
        return self._process.unwritten_bytes if self._process is not None else 0

    @property
    def _process(self) -> Process | None:
        return self._shared.process

    def rss_bytes(self) -> int | None:
        return None

    def write(self, line: bytes) -> None:
        """Give a line to the process, once that is there."""
        if self._exit is not None:
            return
        message = jsonrpc.decode(line)
        name = None
        if isinstance(message, Request):
            name = outgoing.name_of(message.method, jsonrpc.params_of(message.members))
        self._member.receive_line(message, name, line)

    def pause(self) -> None:
        """Go on: others read from the same process."""

    def resume(self) -> None:
        """Go on."""

    async def stop(self) -> Exit:
        """Leave; the process goes on for the others."""
        self.kill()
        return self._exit or Exit(status=0, signal=None, stderr_tail=(), oversize=False)

    def kill(self) -> None:
        """Leave. Whether the process lives is for those to say who share it."""
        if self._exit is None:
            self._shared.leave(self._member)
            self._end("was left")

    # As a tunnel.

    def send(self, line: bytes) -> None:
        if self._exit is None:
            self._listener.receive_output(line)

    def refuse(self, message: Message, fault: McpnatsdError) -> None:
        if isinstance(message, Request):
            self.send(jsonrpc.error_of(message.id, fault))

    def close(self, fault: McpnatsdError | None) -> None:
        self._end(str(fault or "ended").removeprefix(f"server {self._name!r} "))

    def hold(self, *, yes: bool) -> None:
        """Go on: who waits for a turn waits before this."""

    def _end(self, reason: str) -> None:
        if self._exit is None:
            self._exit = Exit(
                status=None, signal=None, stderr_tail=(), oversize=False, reason=reason
            )
            self._listener.exited(self._exit)


class Seats:
    """Where a translator gets its process from when there is one for everybody."""

    def __init__(self, shared: Callable[[], SharedLegacy]) -> None:
        self._shared = shared

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        """Take a seat."""
        return Seat(config, self._shared(), listener)
