"""The daemon: builds the arrows between the rooms, and keeps them alive.

start → serve → drain → stop. It starts without NATS, says so, and keeps trying.
"""

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from mcpnatsd import loop
from mcpnatsd.backends.bridge import Bridge, Place
from mcpnatsd.backends.reaper import Reaper, open_reaper
from mcpnatsd.backends.recall import Recall
from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.bus.connection import Connection, masked, open_connection
from mcpnatsd.bus.finals import Finals
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.service import ServiceResponder
from mcpnatsd.config import runtime
from mcpnatsd.config.load import load
from mcpnatsd.config.model import Config, NatsConfig
from mcpnatsd.daemon import banner, status
from mcpnatsd.daemon.control import ControlSocket
from mcpnatsd.daemon.embedded import EmbeddedNats
from mcpnatsd.daemon.endpoints import Frontend, frontend
from mcpnatsd.daemon.fresh import FreshNats
from mcpnatsd.daemon.guard import contained, guarded
from mcpnatsd.daemon.launchers import Launchers
from mcpnatsd.daemon.view import View
from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.log import is_journal, set_up
from mcpnatsd.protocol.subjects import Prefix

log = logging.getLogger(__name__)

DRAIN_FOR: Final = 30.0
"""Seconds that open calls have to finish after SIGTERM. systemd's stop timeout is longer."""

CONNECT_FOR: Final = 2.0
"""Seconds for which the greeting waits for NATS."""

SETTLE_FOR: Final = 10.0
"""Seconds for which the greeting waits for servers with `start: eager`."""


def run(path: Path) -> int:
    """Run the daemon of a configuration file until it is told to stop.

    Raises:
        ConfigError: The file is wrong, or the machine lacks what it asks for.
    """
    set_up()
    config = load(path, os.environ)
    return loop.run(Daemon(config, path).run())


class Daemon:
    """One configuration, made real."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config = config
        self.path = path
        self.name = os.environ.get("MCPNATSD_NAME") or config.name
        self.version = metadata.version("mcpnatsd")
        self.instance = secrets.token_hex(8)
        self.started_at = time.monotonic()
        self.bridges: list[Bridge] = []
        self.frontends: list[Frontend] = []
        self.embedded: EmbeddedNats | None = None
        self.connection: Connection | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; a second one does not wait for open calls."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, self._told_to_stop)
        loop.on_signal(signal.SIGHUP, self._told_to_reload)
        facts = {"version": self.version, "config": str(self.path), "daemon": self.name}
        log.info("starting", extra=facts)
        folder = runtime.own_folder(os.environ)
        runtime.refuse_second(folder, self.name, os.getpid())
        async with AsyncExitStack() as stack:
            reaper = await stack.enter_async_context(open_reaper())
            nats = await self._nats(folder, reaper, stack)
            fresh = nats if self.embedded else FreshNats(nats, self._read_nats)
            self.connection = await open_connection(fresh, name=f"mcpnatsd {self.name}", wait=False)
            stack.push_async_callback(self.connection.close)
            runtime.write(folder, self._running(nats))
            stack.callback(runtime.remove, folder, self.name)
            control = ControlSocket(
                runtime.socket_path(folder, self.name), {"status": lambda: status.of(self.view())}
            )
            await control.open()
            stack.callback(control.close)
            await self._serve(reaper, self.connection, Prefix.parse(nats.prefix))
        log.info("stopped")
        return 0

    # Building.

    async def _nats(self, folder: Path, reaper: Reaper, stack: AsyncExitStack) -> NatsConfig:
        nats = self.config.nats
        if nats.embedded is None:
            return nats
        self.embedded = EmbeddedNats(nats.embedded, folder / f"{self.name}.nats", reaper)
        await self.embedded.start()
        stack.push_async_callback(self.embedded.stop)
        return replace(nats, urls=(self.embedded.url,), token=self.embedded.token, embedded=None)

    def _read_nats(self) -> NatsConfig:
        return load(self.path, os.environ).nats

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
        inbox = Inbox(connection)
        service = ServiceResponder(connection)
        # Whoever lists services tells them apart by their ids: each server has one of its own.
        here = partial(Place, connection, inbox, prefix, version=self.version, finals=Finals())
        launcher = Launchers(reaper, self.config.servers.values())
        recall = Recall(state_folder(os.environ))
        self.bridges = [
            Bridge(config, here(instance=secrets.token_hex(8)), launcher, recall)
            for config in self.config.servers.values()
        ]
        async with aclosing(launcher), asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in self._parts()]
            if self.config.endpoints:
                run = partial(self._run_endpoints, connection, prefix, inbox)
                tasks.append(group.create_task(guarded("endpoints", run)))
            for bridge in self.bridges:
                service.add(bridge)
            tasks.append(group.create_task(contained("greeting", self._greet)))
            await self._stop.wait()
            await self._drain(service)
            for task in tasks:
                task.cancel()

    async def _run_endpoints(self, connection: Connection, prefix: Prefix, inbox: Inbox) -> None:
        """Open what clients of this machine connect to; we are their user on NATS."""
        bus = await client_bus(connection, prefix, inbox)
        folder = state_folder(os.environ)
        self.frontends = [frontend(endpoint, bus, folder) for endpoint in self.config.endpoints]
        async with asyncio.TaskGroup() as group:
            group.create_task(guarded("requests", bus.requester.run))
            for one in self.frontends:
                group.create_task(guarded(f"endpoint {one.place}", one.run))

    def _parts(self) -> list[Coroutine[None, None, None]]:
        parts = [guarded(f"server {one.server}", one.run) for one in self.bridges]
        if self.embedded is not None:
            parts.append(guarded("embedded NATS", self.embedded.run))
        return parts

    # Ending.

    async def _drain(self, service: ServiceResponder) -> None:
        """Let other instances have the requests, and finish what is open here."""
        if self.connection is None:
            return
        log.info("draining", extra={"open": status.open_work(self.bridges, self.frontends)})
        now = asyncio.get_running_loop().time
        deadline = now() + DRAIN_FOR
        async with asyncio.TaskGroup() as group:
            draining: list[Bridge | Frontend] = [*self.bridges, *self.frontends]
            pending = {group.create_task(one.drain()) for one in draining}
            hurry = group.create_task(self._wait_hurry())
            while pending and not hurry.done() and now() < deadline:
                left = deadline - now()
                done, _ = await asyncio.wait(
                    {*pending, hurry}, timeout=min(5.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                pending -= done
                if not done:
                    still_open = status.open_work(self.bridges, self.frontends)
                    facts = {"open": still_open, "left": f"{left:.0f} s"}
                    log.info("still draining", extra=facts)
            if pending:
                why = "told twice" if hurry.done() else f"{DRAIN_FOR:.0f} s are over"
                still_open = status.open_work(self.bridges, self.frontends)
                level = logging.INFO if still_open == "nothing" else logging.WARNING
                log.log(level, "stopping now", extra={"why": why, "open": still_open})
            for task in (*pending, hurry):
                task.cancel()
        service.stop()

    async def _wait_hurry(self) -> None:
        await self._hurry.wait()

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
            bridges=tuple(self.bridges),
            frontends=tuple(self.frontends),
        )

    def _told_to_stop(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _told_to_reload(self) -> None:
        log.warning("SIGHUP: this version does not reload; restart it to read the file again")

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
