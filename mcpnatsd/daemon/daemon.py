"""The daemon: builds the arrows between the rooms, and keeps them alive.

start → serve → reload → drain → stop. It starts without NATS, says so, and keeps trying.
"""

import asyncio
import faulthandler
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from mcpnatsd import loop
from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.place import Place
from mcpnatsd.backends.reaper import Reaper, open_reaper
from mcpnatsd.backends.recall import Recall
from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.bus.connection import Connection, masked, open_connection
from mcpnatsd.bus.finals import Finals
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.service import ServiceResponder
from mcpnatsd.config import runtime
from mcpnatsd.config.diff import Diff, place_keys
from mcpnatsd.config.load import Loaded, load_all
from mcpnatsd.config.model import Config, NatsConfig, ServerConfig
from mcpnatsd.daemon import banner, missing, status
from mcpnatsd.daemon.changes import Changes
from mcpnatsd.daemon.control import ControlSocket
from mcpnatsd.daemon.draining import Draining
from mcpnatsd.daemon.embedded import EmbeddedNats
from mcpnatsd.daemon.endpoints import Frontend
from mcpnatsd.daemon.fresh import FreshNats, refuse_another_user
from mcpnatsd.daemon.guard import contained, guarded
from mcpnatsd.daemon.health import Health
from mcpnatsd.daemon.launchers import Launchers
from mcpnatsd.daemon.notify import Notifier
from mcpnatsd.daemon.opened import Endpoints
from mcpnatsd.daemon.probes import Probes
from mcpnatsd.daemon.reload import Reloader
from mcpnatsd.daemon.servers import Servers
from mcpnatsd.daemon.status_line import StatusLine
from mcpnatsd.daemon.view import View
from mcpnatsd.daemon.watch import FileWatch
from mcpnatsd.errors import ConfigError, LocalProtocolError
from mcpnatsd.log import is_journal, set_level, set_up
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

CONNECT_FOR: Final = 2.0
"""Seconds for which the greeting waits for NATS, and then for endpoints."""

SETTLE_FOR: Final = 10.0
"""Seconds for which the greeting waits for servers with `start: eager`."""


def run(path: Path) -> int:
    """Run the daemon of a configuration file until it is told to stop.

    Raises:
        ConfigError: The file is wrong, or the machine lacks what it asks for.
    """
    # A watchdog's SIGABRT then tells where the daemon hung.
    faulthandler.enable()
    set_up()
    loaded = load_all(path, os.environ)
    set_level(loaded.config.log.level)
    return loop.run(Daemon(loaded, path).run())


class Daemon:
    """One configuration, made real."""

    def __init__(self, loaded: Loaded, path: Path) -> None:
        self.path = path
        self.name = os.environ.get("MCPNATSD_NAME") or loaded.config.name
        self.version = metadata.version("mcpnatsd")
        self.instance = secrets.token_hex(8)
        self.started_at = time.monotonic()
        self.reloader = Reloader(path, os.environ, loaded, self._apply)
        self.servers: Servers | None = None
        self.endpoints: Endpoints | None = None
        self.embedded: EmbeddedNats | None = None
        self.connection: Connection | None = None
        self.draining = Draining(lambda: [*self.bridges, *self.leaving], list)
        self.closing = Draining(list, lambda: self.frontends)
        """Of our own clients: only a stop does that."""

        self.health = Health(path, self.draining, self.view)
        self.notifier = Notifier(os.environ, StatusLine(self.view, self.draining))
        self.reloader.told.append(self.notifier)
        self._changes: Changes | None = None
        self._inbox: Inbox | None = None
        self._stop = asyncio.Event()

    @property
    def config(self) -> Config:
        """What runs; a reload changes it."""
        return self.reloader.loaded.config

    @property
    def bridges(self) -> list[Bridge]:
        return self.servers.bridges if self.servers is not None else []

    @property
    def leaving(self) -> list[Bridge]:
        """Bridges that a reload replaced or removed, and that finish what is open."""
        return self.servers.leaving if self.servers is not None else []

    @property
    def frontends(self) -> list[Frontend]:
        return self.endpoints.frontends if self.endpoints is not None else []

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; a second one does not wait for open calls."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self._told_to_stop)
        loop.on_signal(signal.SIGHUP, self._told_to_reload)
        facts = {"version": self.version, "config": str(self.path), "daemon": self.name}
        log.info("starting", extra=facts)
        missing.warn(self.config)
        folder = runtime.own_folder(os.environ)
        runtime.refuse_second(folder, self.name, os.getpid())
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.notifier.beating())
            await self._open_probes(stack)
            reaper = await stack.enter_async_context(open_reaper())
            nats = await self._nats(folder, reaper, stack)
            fresh = nats if self.embedded else FreshNats(nats, self._read_nats, self._refusals)
            self.connection = await open_connection(fresh, name=f"mcpnatsd {self.name}", wait=False)
            stack.push_async_callback(self.connection.close)
            self.connection.watch(on_up=self.reloader.nats_is_up, on_down=lambda: None)
            runtime.write(folder, self._running(nats))
            stack.callback(runtime.remove, folder, self.name)
            control = ControlSocket(
                runtime.socket_path(folder, self.name),
                {"status": self._tell_status, "reload": self._tell_reload},
            )
            await control.open()
            stack.callback(control.close)
            await self._serve(reaper, self.connection, Prefix.parse(nats.prefix))
        log.info("stopped")
        return 0

    # Building.

    async def _open_probes(self, stack: AsyncExitStack) -> None:
        """Listen before anything else is there: who probes is told what is missing."""
        if self.config.metrics is not None:
            probes = Probes(self.config.metrics, self.health, self.view)
            await probes.listener.open()
            stack.callback(probes.listener.close)

    async def _nats(self, folder: Path, reaper: Reaper, stack: AsyncExitStack) -> NatsConfig:
        nats = self.config.nats
        if nats.embedded is None:
            return nats
        self.embedded = EmbeddedNats(nats.embedded, folder / f"{self.name}.nats", reaper)
        await self.embedded.start()
        stack.push_async_callback(self.embedded.stop)
        return replace(nats, urls=(self.embedded.url,), token=self.embedded.token, embedded=None)

    def _read_nats(self) -> NatsConfig:
        """Return what the files say now, to reconnect with; many servers take a second to read."""
        if self.reloader.fresh:
            return self.config.nats
        return load_all(self.path, os.environ).config.nats

    def _refusals(self) -> int:
        return self.connection.refusals if self.connection is not None else 0

    def _running(self, nats: NatsConfig) -> runtime.Running:
        urls = tuple(map(masked, nats.urls))
        return runtime.Running(
            name=self.name,
            pid=os.getpid(),
            instance=self.instance,
            prefix=nats.prefix,
            url=urls[0],
            urls=urls,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            token=self.embedded.token if self.embedded else None,
        )

    async def _serve(self, reaper: Reaper, connection: Connection, prefix: Prefix) -> None:
        inbox = self._inbox = Inbox(connection)
        service = ServiceResponder(connection)
        # Whoever lists services tells them apart by their ids: each server has one of its own.
        here = partial(Place, connection, inbox, prefix, version=self.version, finals=Finals())
        recall = Recall(state_folder(os.environ))

        def make(config: ServerConfig, launcher: Launcher) -> Bridge:
            return Bridge(config, here(instance=secrets.token_hex(8)), launcher, recall)

        launchers = Launchers(reaper)
        for one in self.config.servers.values():
            launchers.of(one)  # what is not installed ends the start here, in one sentence
        async with asyncio.TaskGroup() as group:
            self.servers = Servers(make, launchers, service, group, flush=connection.flush)
            self.endpoints = Endpoints(
                partial(client_bus, connection, prefix, inbox), group, state_folder(os.environ)
            )
            self._changes = Changes(
                self.servers, self.endpoints, launchers, self._move, self._refuse_stopping
            )
            await self.servers.change(self.config.servers.values())
            self.endpoints.start(place_keys(self.config.endpoints))
            tasks = [group.create_task(part) for part in self._parts()]
            drained = [group.create_task(one.run()) for one in (self.draining, self.closing)]
            self.health.serving = True
            await self._stop.wait()
            self.draining.begin()
            self.closing.begin()
            self.notifier.stopping()
            await asyncio.wait(drained)
            service.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self.endpoints.stop()
            await self.servers.close()

    def _parts(self) -> list[Coroutine[None, None, None]]:
        parts = [
            guarded("reload", self.reloader.run),
            guarded("watching files", FileWatch(self.reloader, self.path).run),
            contained("greeting", self._greet),
        ]
        if self.embedded is not None:
            parts.append(guarded("embedded NATS", self.embedded.run))
        return parts

    # Reloading.

    async def _apply(self, diff: Diff) -> None:
        self._refuse_stopping()
        if self._changes is not None:
            await self._changes.apply(diff)

    def _refuse_stopping(self) -> None:
        if self._changes is None or self.draining.begun:
            raise ConfigError("the daemon is stopping: it takes nothing over any more")

    async def _move(self, nats: NatsConfig) -> None:
        """Go over to another NATS, or to other credentials, and say so to who looks for us.

        Raises:
            BusError: It is not there, or refuses us.
        """
        if self.connection is not None and self._inbox is not None:
            fresh = FreshNats(nats, self._read_nats, self._refusals)
            if Prefix.parse(nats.prefix).names_caller:
                await refuse_another_user(self.connection, self._inbox, fresh)
            await self.connection.move(fresh)
            try:
                runtime.write(runtime.own_folder(os.environ), self._running(nats))
            except ConfigError as fault:  # all requests come by the other NATS already
                facts = {"error": str(fault)}
                log.error("shims and verbs are not told of the move", extra=facts)  # noqa: TRY400

    def _told_to_reload(self) -> None:
        self.reloader.ask("SIGHUP")

    async def _tell_reload(self) -> Mapping[str, object]:
        return (await self.reloader.reload("mcpnatsd reload")).as_json()

    async def _tell_status(self) -> Mapping[str, object]:
        return status.of(self.view())

    def view(self) -> View:
        """Return what status and greeting show.

        Raises:
            LocalProtocolError: There is no connection yet: nothing may ask before there is.
        """
        if self.connection is None:
            raise LocalProtocolError("the daemon has not started")
        return View(
            name=self.name,
            version=self.version,
            path=self.path,
            started_at=self.started_at,
            connection=self.connection,
            embedded=self.embedded is not None,
            draining=self.draining.begun,
            bridges=tuple(self.bridges),
            leaving=tuple(self.leaving),
            reloader=self.reloader,
            frontends=tuple(self.frontends),
            closed=tuple(self.endpoints.closed) if self.endpoints is not None else (),
        )

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            self.draining.hurry()
            self.closing.hurry()
        self._stop.set()

    async def _wait_connected(self, connection: Connection) -> None:
        """Give NATS a moment: usually it is there, and the greeting may say so."""
        up = asyncio.Event()
        unwatch = connection.watch(on_up=up.set, on_down=lambda: None)
        try:
            async with asyncio.timeout(0 if connection.connected else CONNECT_FOR):
                await up.wait()
        except TimeoutError:
            pass
        finally:
            unwatch()

    async def _greet(self) -> None:
        """Say what is on the bus and what to try, once eager servers have had their start."""
        if self.connection is not None:
            await self._wait_connected(self.connection)
        self.notifier.ready()
        if self.endpoints is not None:
            await self.endpoints.wait_tried(CONNECT_FOR)
        try:
            async with asyncio.timeout(SETTLE_FOR):
                for bridge in self.bridges:
                    await bridge.settled.wait()
        except TimeoutError:
            late = ",".join(one.server for one in self.bridges if not one.settled.is_set())
            log.info("servers are still starting", extra={"servers": late})
        log.info("ready", extra={"servers": len(self.bridges), "pid": os.getpid()})
        journal = is_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", ""))
        if not journal and os.environ.get("LOG_FORMAT") != "json":
            banner.show(self.view(), sys.stdout)


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return where what was learnt of servers is kept between runs."""
    own = environ.get("STATE_DIRECTORY")
    if own:
        return Path(own.split(":")[0])
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mcpnatsd"
