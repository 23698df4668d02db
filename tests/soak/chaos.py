"""What is done to the program while it works: reloads, and kills of everything there is."""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from mcpnatsd.protocol.tunnel import BEAT_IDLE
from tests.natsd import NatsServer
from tests.soak import machine, plan
from tests.soak.daemons import Daemon
from tests.soak.ledger import Ledger, Window
from tests.soak.plan import Served, Size
from tests.soak.ways import Way
from tests.waiting import until

ORPHANED_FOR = 12.0
"""Seconds in which the reaper ends what a killed daemon leaves: two stop timeouts and a margin."""

BEFORE_WAYS = "unix http"
"""The ways that lead through the daemon which has no servers."""


class World:
    """All that runs, and what its files say now."""

    def __init__(self, folder: Path, size: Size, token: str, ledger: Ledger) -> None:
        self.folder = folder
        self.size = size
        self.token = token
        self.ledger = ledger
        self.served = plan.servers(size)
        self.versions = {one.name: 1 for one in self.served}
        """Whoever calls from now on is answered by at least this version."""

        self.sockets = {
            one.name: folder / f"{one.name}.sock" for one in self.served[: size.sockets]
        }
        self.records = folder / "records"
        self.records.mkdir()
        self.natsd = NatsServer(folder / "natsd")
        marked = {machine.MARK: token}
        self.behind = Daemon(folder / "behind", "behind", marked)
        self.before = Daemon(folder / "before", "before", marked)
        self.ways = list[Way]()

    def write_behind(self, versions: dict[str, int], absent: set[str]) -> None:
        present = [one for one in self.served if one.name not in absent]
        found = {one.name: one.config(self.record(one), versions[one.name]) for one in present}
        self.behind.write(plan.behind(self.natsd.url, found))

    def write_before(self, port: int, extra: Path | None) -> None:
        self.before.write(plan.before(self.natsd.url, self.sockets, port, extra))

    def record(self, server: Served) -> Path:
        return self.records / server.name


class Reloads:
    """Rewrites the file of the daemon that has the servers, and tells it in every way there is."""

    def __init__(self, world: World, rng: random.Random, port: int) -> None:
        self._world = world
        self._rng = rng
        self._port = port
        self._versions = dict(world.versions)
        self._absent: dict[str, Window] = {}
        self._extra = False

    async def run(self) -> None:
        """Reload every few seconds until cancelled."""
        every = self._world.size.reload_every
        while True:
            await asyncio.sleep(self._rng.uniform(0.5 * every, 1.5 * every))
            if self._rng.random() < 0.15:
                await self._reload_before()
            else:
                await self._reload_behind()

    async def all_back(self) -> None:
        """Put back what is absent."""
        await self._apply(set(self._absent))

    async def _reload_behind(self) -> None:
        coming = [one.name for one in self._world.served if one.fate == "coming and going"]
        changing = [one.name for one in self._world.served if one.fate == "changing"]
        for name in self._rng.sample(changing, min(2, len(changing))):
            self._versions[name] += 1
        await self._apply(set(self._rng.sample(coming, min(3, len(coming)))))

    async def _apply(self, turned: set[str]) -> None:
        """Write the file, each of these servers now there or gone; return with the verdict."""
        world, ledger = self._world, self._world.ledger
        back = turned & set(self._absent)
        for name in turned - back:
            self._absent[name] = ledger.window("removed", server=name)
        versions = dict(self._versions)
        world.write_behind(versions, set(self._absent) - back)
        said = await told(world.behind, self._rng, ledger)
        while not said:
            # It was ended meanwhile: it reads the file when it starts.
            await until(lambda: world.behind.serving, 90)
            said = await told(world.behind, self._rng, ledger)
        world.versions.update(versions)
        for name in back:
            ledger.over(self._absent.pop(name))

    async def _reload_before(self) -> None:
        world = self._world
        self._extra = not self._extra
        world.write_before(self._port, world.folder / "extra.sock" if self._extra else None)
        await told(world.before, self._rng, world.ledger)


async def told(daemon: Daemon, rng: random.Random, ledger: Ledger) -> bool:
    """Have a daemon reload, one way or another; return whether it came to a verdict."""
    way = rng.choice(("verb", "SIGHUP", "file"))
    if not daemon.serving:
        return False
    try:
        if way == "SIGHUP":
            daemon.hang_up()
        elif way == "file":
            await asyncio.sleep(rng.uniform(0.0, 1.0))  # it watches
        verdict = await daemon.ask("reload")
    except (OSError, ValueError, AssertionError):
        ledger.done["reloads that met a killed daemon"] += 1
        return False
    except TimeoutError:
        ledger.violate(f"{daemon.name}: a reload without a verdict")
        return False
    ledger.event(f"{daemon.name} reloaded by {way}: {verdict}")
    if not verdict.get("ok"):
        if not daemon.serving:
            return False  # it says that it is stopping
        ledger.violate(f"{daemon.name}: a reload was refused: {verdict}")
    ledger.done[f"reload of {daemon.name}"] += 1
    return True


class SmallKills:
    """Kills server processes, and has clients vanish."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng

    async def run(self) -> None:
        every = self._world.size.small_kill_every
        while True:
            await asyncio.sleep(self._rng.uniform(0.5 * every, 1.5 * every))
            if self._rng.random() < 0.5:
                self._kill_server()
            else:
                self._end_client()

    def _kill_server(self) -> None:
        found = machine.marked(self._world.token).values()
        servers = sorted((one for one in found if "server.py" in one.command), key=lambda o: o.pid)
        if not servers:
            return
        victim = self._rng.choice(servers)
        name = victim.command.partition("server.py ")[2].split()[0]
        ledger = self._world.ledger
        window = ledger.window("server process killed", server=name)
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        ledger.over(window)

    def _end_client(self) -> None:
        way = self._rng.choice(self._world.ways)
        if way.client.is_connected:
            self._world.ledger.done[f"client vanished ({way.client.who.way})"] += 1
            self._world.ledger.event(f"{way.client.who.name} vanishes")
            way.vanish()


class BigKills:
    """Kills nats-server and the daemons, one after the other."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._turn: list[str] = []
        self.daemons = True
        """Whether daemons are among them."""

    async def run(self) -> None:
        every = self._world.size.big_kill_every
        while True:
            await asyncio.sleep(self._rng.uniform(0.5 * every, 1.5 * every))
            await asyncio.shield(self._one())

    async def _one(self) -> None:
        if not self._turn:
            self._turn = ["nats-server", "behind", "before", "behind, by SIGTERM"]
            self._rng.shuffle(self._turn)
        what = self._turn.pop() if self.daemons else "nats-server"
        if what == "nats-server":
            await self._kill_nats()
        elif what == "before":
            await self._kill(self._world.before, BEFORE_WAYS)
        else:
            await self._kill(self._world.behind, "", gently="SIGTERM" in what)

    async def _kill_nats(self) -> None:
        window = self._world.ledger.window("nats-server killed")
        self._world.natsd.kill()
        await asyncio.sleep(self._rng.choice((0.0, 0.5, 3.0)))
        self._world.natsd.start()
        self._world.ledger.over(window)

    async def _kill(self, daemon: Daemon, way: str, *, gently: bool = False) -> None:
        ledger = self._world.ledger
        window = ledger.window(f"{daemon.name} {'stopped' if gently else 'killed'}", way=way)
        if gently:
            code = await daemon.stop()
            if code:
                ledger.violate(f"{daemon.name} ended with {code} when told to stop")
        else:
            window.unnoticed = BEAT_IDLE
            await daemon.kill()
        await asyncio.sleep(self._rng.choice((0.0, 1.0, 3.0)))
        await daemon.start()
        ledger.over(window)
        await see_orphans(self._world)


async def see_orphans(world: World) -> None:
    """See that what a daemon left behind is ended."""
    with suppress(AssertionError):
        await until(lambda: not machine.orphans(world.token, os.getpid()), ORPHANED_FOR)
        return
    for one in machine.orphans(world.token, os.getpid()).values():
        world.ledger.violate(f"an orphan: {one}")
