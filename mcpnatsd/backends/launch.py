"""Starts a configured server: its environment, its limits, its place."""

import os
from typing import Final, Protocol

from mcpnatsd.backends.environment import server_environment
from mcpnatsd.backends.process import Exit, Process, Spec
from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.protocol.lines import Oversize

_PENDING_BYTES: Final = 32 << 20
"""What may wait to be written to a server, at least: more than a client's window holds."""


class Listener(Protocol):
    """Whoever is told what a process says."""

    def receive_output(self, line: bytes) -> None: ...

    def receive_oversize(self, skipped: Oversize) -> None: ...

    def exited(self, exit: Exit) -> None:  # noqa: A002
        """Learn that it ended. Called once, after its last line."""


class Launcher(Protocol):
    """Where a bridge gets its server from."""

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        """Start the server.

        Raises:
            ProcessDied: It cannot be started.
        """
        ...


class ProcessLauncher:
    """Starts processes under one reaper, so that none outlives the daemon."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper

    async def start(self, config: ServerConfig, listener: Listener) -> Process:
        """Start the server's process.

        Raises:
            ProcessDied: The command cannot be run.
        """
        return await self._reaper.spawn(
            _spec(config),
            on_line=listener.receive_output,
            on_exit=listener.exited,
            on_oversize=listener.receive_oversize,
        )


def _spec(config: ServerConfig) -> Spec:
    return Spec(
        name=config.name,
        command=config.command,
        env=server_environment(os.environ, config.env),
        cwd=config.cwd,
        output_line_bytes=config.limits.output_line_bytes,
        pending_bytes=max(_PENDING_BYTES, 4 * config.limits.line_bytes),
        stop_timeout=config.limits.stop_timeout,
    )
