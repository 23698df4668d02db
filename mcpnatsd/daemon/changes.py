"""Makes a difference between two configurations real in a daemon that runs, or leaves it as it was.

What can fail comes first, and new before old: endpoints are opened, NATS is proven, and only then
servers change and what is no longer wanted leaves.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable

from mcpnatsd import log as logs
from mcpnatsd.config.diff import Change, Diff, Endpoint
from mcpnatsd.config.files import endpoint_files, nats_files, refuse_unreadable
from mcpnatsd.config.model import HttpEndpoint, NatsConfig
from mcpnatsd.daemon.launchers import Launchers
from mcpnatsd.daemon.missing import refuse_missing
from mcpnatsd.daemon.opened import Endpoints
from mcpnatsd.daemon.servers import Servers
from mcpnatsd.errors import ConfigError

log = logging.getLogger(__name__)

Move = Callable[[NatsConfig], Awaitable[None]]
"""Goes over to another NATS, or to other credentials; raises when that does not work."""


class Changes:
    """What a reload may change of one daemon."""

    def __init__(
        self,
        servers: Servers,
        endpoints: Endpoints,
        launchers: Launchers,
        move: Move,
        refuse_stopping: Callable[[], None],
    ) -> None:
        """Take the parts that change, and what raises ConfigError once all of them are to end."""
        self._refuse_stopping = refuse_stopping
        self._servers = servers
        self._endpoints = endpoints
        self._launchers = launchers
        self._move = move

    async def apply(self, diff: Diff) -> None:
        """Apply a difference; when that fails, flip what was done of it.

        Raises:
            McpnatsdError: It cannot be; everything is as it was, or the text says what is not.
        """
        self._check(diff)
        begun: dict[str, Change[Endpoint]] = {}
        try:
            await self._open(diff, begun)
            self._refuse_stopping()
            await self._go_over(diff)
            await self._change_servers(diff)
        except Exception:
            await self._undo(Diff({}, begun).flipped())
            raise
        self._endpoints.close(key for key, one in diff.endpoints.items() if one.new is None)
        if diff.log is not None and diff.log.new is not None:
            logs.set_level(diff.log.new.level)

    async def _change_servers(self, diff: Diff) -> None:
        """Replace servers; not by such as cannot start, unless we are at another NATS already."""
        await self._servers.change(
            [one.new for one in diff.servers.values() if one.new is not None],
            [name for name, one in diff.servers.items() if one.new is None],
            prove=diff.nats is None,
        )

    async def _go_over(self, diff: Diff) -> None:
        """Go over to another NATS, the last that can fail for it: that is not taken back."""
        if diff.nats is None or diff.nats.new is None:
            return
        await self._move(diff.nats.new)
        try:
            self._refuse_stopping()
        except ConfigError as fault:
            raise ConfigError(f"{fault}, but it has gone over to the other NATS") from None

    async def _open(self, diff: Diff, begun: dict[str, Change[Endpoint]]) -> None:
        """Open what is new or changed. Who has a new one's port must leave it first."""
        leaving = [key for key, one in diff.endpoints.items() if one.new is None]
        for key, change in diff.endpoints.items():
            if change.new is None:
                continue
            for other in leaving:
                if _same_port(diff.endpoints[other].old, change.new):
                    begun[other] = diff.endpoints[other]
                    self._endpoints.close([other])
            begun[key] = change
            await self._endpoints.open(key, change.new)

    async def _undo(self, diff: Diff) -> None:
        self._endpoints.close(key for key, one in diff.endpoints.items() if one.new is None)
        for key, change in diff.endpoints.items():
            if change.new is None or self._endpoints.has(key, change.new):
                continue
            try:
                await self._endpoints.open(key, change.new)
            except ConfigError as fault:
                facts = {"endpoint": key, "error": str(fault)}
                log.error("an endpoint cannot be opened again", extra=facts)  # noqa: TRY400

    def _check(self, diff: Diff) -> None:
        """Refuse what can be known to fail, before anything is touched.

        Raises:
            ConfigError: A command, a folder, a file or a package is not there.
        """
        for change in diff.servers.values():
            if change.new is not None:
                self._launchers.of(change.new)
                refuse_missing(change.new)
        files = nats_files(diff.nats.new) if diff.nats and diff.nats.new else ()
        refuse_unreadable([*files, *_files(diff.endpoints.values())])


def _files(changes: Iterable[Change[Endpoint]]) -> list[str]:
    return [file for one in changes if one.new is not None for file in endpoint_files(one.new)]


def _same_port(old: Endpoint | None, new: Endpoint) -> bool:
    """Say whether two listeners cannot be open together, for all that their addresses tell."""
    if not isinstance(old, HttpEndpoint) or not isinstance(new, HttpEndpoint):
        return False
    port = new.address.rpartition(":")[2]
    return int(port) != 0 and old.address.rpartition(":")[2] == port
