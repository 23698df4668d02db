"""One soak, from the first process to the last."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2

from mcpnatsd.protocol.tunnel import LOST_AFTER
from tests.gateways import free_port
from tests.running import PROGRAM
from tests.soak import machine, plan
from tests.soak.chaos import BigKills, Reloads, SmallKills, World, see_orphans
from tests.soak.client import Client
from tests.soak.daemons import Daemon
from tests.soak.ledger import Ledger
from tests.soak.machine import Held
from tests.soak.plan import Size
from tests.soak.ways import Bus, EdgeWay, ShimWay, UnixWay, Way, open_bus
from tests.soak.web import HttpWay
from tests.waiting import until

BUSES = 4
HANGS_AFTER = 100.0
"""Seconds. An instance counts as lost after 45 without a word, a broker's return starts that anew,
and then there are 15 to find another."""

HEAL_WITHIN = 60.0
SAMPLE_EVERY = 2.0
STALLS_AFTER = 2.0
GONE_WITHIN = LOST_AFTER + plan.SESSION_TIMEOUT + 15.0
"""Seconds until the process of a client ends that was killed, or that left a session behind."""


class Soak:
    """Everything that one soak has."""

    def __init__(self, size: Size, seed: int, folder: Path) -> None:
        self.size = size
        self.seed = seed
        self.folder = folder
        self.ledger = Ledger()
        self.token = f"{os.getpid()}-{seed}"
        self.world = World(folder, size, self.token, self.ledger)
        self.port = free_port()
        self.memory = dict[str, list[Held]]()
        self.watched_from = 0.0

    def rng(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {what}")

    async def run(self) -> None:
        """Run it; what came of it is in the ledger."""
        world = self.world
        try:
            world.write_behind(world.versions, set())
            world.write_before(self.port, None)
            await asyncio.gather(world.behind.start(), world.before.start())
            async with self._clients() as ways:
                world.ways = ways
                await self._trouble(ways)
                await self._heal(ways)
            await self._idle()
            await self._stop()
        finally:
            for daemon in (world.behind, world.before):
                if daemon.alive:
                    await daemon.kill()
            world.natsd.stop()
        self._check_logs()
        self._check_records()

    # The load.

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[list[Way]]:
        """Connect all clients; they leave with the block."""
        buses = [await open_bus(self.world.natsd.url) for _ in range(BUSES)]
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=1.0)
        url = f"http://127.0.0.1:{self.port}"
        async with httpx2.AsyncClient(base_url=url, limits=limits) as http:
            ways = list(self._ways(buses, http))
            tasks = [asyncio.create_task(one.run()) for one in (*buses, *ways)]
            try:
                yield ways
            finally:
                for way in ways:
                    way.leave()
                for task in reversed(tasks):
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                for error in ended:
                    if error is not None and not isinstance(error, asyncio.CancelledError):
                        self.ledger.violate(f"a client of the soak failed: {error!r}")

    def _ways(self, buses: list[Bus], http: httpx2.AsyncClient) -> Iterator[Way]:
        world = self.world
        for at, who in enumerate(plan.clients(self.size, world.served)):
            client = Client(who, self.ledger, self.rng(who.name), world.versions)
            rng = self.rng(f"{who.name}'s way")
            match who.way:
                case "edge":
                    yield EdgeWay(client, buses[at % len(buses)])
                case "unix":
                    yield UnixWay(client, rng, world.sockets[who.server.name])
                case "http":
                    yield HttpWay(client, rng, http)
                case "shim":
                    argv = [PROGRAM, "connect", who.server.name, "--nats", world.natsd.url]
                    log = self.folder / f"{who.name}.log"
                    env = {**world.before.env, "MCPNATSD_NAME": "soak"}
                    yield ShimWay(client, rng, argv, env, log, self.ledger.violate)

    async def _act(self, client: Client, rng: random.Random) -> None:
        mean = self.size.clients / self.size.calls_a_second
        while True:
            await asyncio.sleep(rng.expovariate(1 / mean))
            client.act()

    async def _trouble(self, ways: list[Way]) -> None:
        """Load and trouble, for as long as was asked."""
        world = self.world
        reloads = Reloads(world, self.rng("reloads"), self.port)
        big = BigKills(world, self.rng("big kills"))
        troubles = [reloads.run(), SmallKills(world, self.rng("small kills")).run(), big.run()]
        acting = [self._act(way.client, self.rng(f"{way.client.who.name} acts")) for way in ways]
        tasks = [asyncio.create_task(one) for one in (*troubles, *acting, self._watch())]
        first = self.size.seconds * self.size.daemons_die_for
        try:
            await self._sleep(first, tasks)
            big.daemons = False
            self.watched_from = self.ledger.at
            await self._sleep(self.size.seconds - first, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: world.behind.serving and world.before.serving, 90)
        await reloads.all_back()

    async def _sleep(self, seconds: float, tasks: list[asyncio.Task[None]]) -> None:
        """Let time pass; a task that ends by itself is an error of this test."""
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task

    async def _watch(self) -> None:
        """Look for calls that hang, and at what the daemons hold."""
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            self._see_hangs()
            for daemon in (self.world.behind, self.world.before):
                if daemon.serving:
                    await self._see_stall(daemon)
                if daemon.alive:
                    key = f"{daemon.name} {daemon.lives}"
                    with suppress(OSError, ValueError, IndexError):
                        self.memory.setdefault(key, []).append(
                            machine.held(daemon.pid, self.ledger.at)
                        )

    async def _see_stall(self, daemon: Daemon) -> None:
        """Note when a daemon does nothing at all: what its clients see then is no riddle."""
        try:
            await daemon.ask("status", STALLS_AFTER)
        except TimeoutError:
            self.ledger.done[f"{daemon.name} silent for {STALLS_AFTER:.0f} s"] += 1
            self.ledger.event(f"{daemon.name} is silent: {machine.doing(daemon.pid)}")
        except (OSError, ValueError, AssertionError):
            return  # it was killed just now

    def _see_hangs(self) -> None:
        began = self.ledger.began
        late = [
            one
            for one in self.ledger.open.values()
            if self.ledger.at - (one.began - began) > HANGS_AFTER
        ]
        for call in late:
            self.ledger.violate(f"a call hangs: {call.shown(began)}")
            del self.ledger.open[call.nonce]

    # The end.

    async def _heal(self, ways: list[Way]) -> None:
        """See that every call ends, and that every client is served again."""
        with suppress(AssertionError):
            await until(lambda: not self.ledger.open, HANGS_AFTER)
        self._see_hangs()
        seen = {way: way.client.answers for way in ways}
        rng = self.rng("healing")
        deadline = self.ledger.at + HEAL_WITHIN
        while ill := [way for way in ways if way.client.answers == seen[way]]:
            if self.ledger.at > deadline:
                for way in ill:
                    self.ledger.violate(f"not served again: {way.client.who}")
                return
            for way in ill:
                if not way.client.is_waiting:
                    way.client.act()
            await asyncio.sleep(rng.uniform(0.2, 0.4))

    async def _idle(self) -> None:
        """See that with its clients each process of a server goes."""

        def left() -> list[machine.Process]:
            found = machine.marked(self.token).values()
            return [one for one in found if "server.py" in one.command]

        with suppress(AssertionError):
            await until(lambda: not left(), GONE_WITHIN)
            return
        await self._keep_status()
        for one in left():
            self.ledger.violate(f"still there {GONE_WITHIN:.0f} s after its last client: {one}")

    async def _keep_status(self) -> None:
        """Write down what the daemons say of themselves, as evidence."""
        for daemon in (self.world.behind, self.world.before):
            path = self.folder / f"{daemon.name}.status"
            path.write_text(json.dumps(await daemon.ask("status"), indent=1), encoding="utf-8")

    async def _stop(self) -> None:
        for daemon in (self.world.before, self.world.behind):
            code = await daemon.stop()
            if code:
                self.ledger.violate(f"{daemon.name} ended with {code}")
        await see_orphans(self.world)

    def _check_logs(self) -> None:
        """No log may tell of an error that nobody foresaw."""
        for log in sorted(self.folder.rglob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            for number, line in enumerate(lines):
                if any(word in line for word in ("Traceback", "a part failed", "never retrieved")):
                    end = "\n    ".join(lines[number : number + 12])
                    self.ledger.violate(
                        f"{log.name} of {log.parent.name}, line {number + 1}: {end}"
                    )

    def _check_records(self) -> None:
        """No call ran twice, and none ran that was told not to have."""
        calls, seen = self.ledger.calls, set[str]()
        for path in sorted(self.world.records.iterdir()):
            for nonce in path.read_text(encoding="utf-8").split():
                call = calls.get(nonce)
                if call is None or call.who.server.name != path.name:
                    self.ledger.violate(f"{path.name} ran {nonce}, which nobody sent there")
                elif nonce in seen:
                    self.ledger.violate(f"ran twice: {call.shown(self.ledger.began)}")
                elif call.outcome == "not-executed":
                    self.ledger.violate(
                        f"ran, and was told not to have: {call.shown(self.ledger.began)}"
                    )
                seen.add(nonce)
        for call in calls.values():
            if call.how == "answer" and call.method == "tools/call" and call.nonce not in seen:
                self.ledger.violate(f"answered, but never ran: {call.shown(self.ledger.began)}")
