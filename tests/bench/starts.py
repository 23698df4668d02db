"""How long a daemon takes to start, to reload and to stop, with few and with many servers."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from tests.bench import install, programs
from tests.bench.client import BOUND, Failed, initialize
from tests.bench.daemon_probe import Probe, open_probe
from tests.bench.ratios import Ratio
from tests.bench.rounds import Size, said
from tests.natsd import NatsServer
from tests.running import PROGRAM

COUNTS = (10, 100, 1000)
MOST_ROUNDS = 5
STEP = 0.001
IMPORTS = "import os, mcpnatsd.daemon.daemon; os._exit(0)"
NAME = "mcpnatsd"
PEER_COUNTS = (10, 100)
"""It starts each server at once, so a thousand would be a thousand processes."""


@dataclass(slots=True)
class Life:
    """Seconds and MiB of one configuration, a figure for each round."""

    name: str
    servers: int
    control: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    reloaded: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    unchanged: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    failed: str = ""


@dataclass(slots=True)
class Floor:
    """What nothing that does this can be faster than."""

    name: str
    start: Callable[[], float]
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    lives: list[Life]
    floors: list[Floor]


def measure(size: Size, folder: Path) -> Found:
    """Start, reload and stop daemons, the counts in turn."""
    rounds = min(size.starts, MOST_ROUNDS)
    lives = [Life("mcpnatsd", count) for count in COUNTS]
    peers = [Life("mcp-proxy 0.13", count) for count in PEER_COUNTS]
    floors = [
        Floor("python, importing what the daemon does", start_python),
        Floor("nats-server", lambda: start_nats(folder / "floor")),
    ]
    with NatsServer(folder / "nats") as nats:
        for number in range(rounds):
            said(f"starts, round {number + 1} of {rounds}")
            for floor in floors:
                floor.seconds.append(floor.start())
            for life in lives:
                own = folder / f"{life.servers}-{number}"
                asyncio.run(live(life, own, nats.url))
            for peer in peers:
                start_peer(peer, folder / f"proxy-{peer.servers}.json")
    return Found([*lives, *peers], floors)


# Ours.


async def live(life: Life, folder: Path, nats_url: str) -> None:
    """Run a daemon from its start to its end."""
    if life.failed:
        return
    folder.mkdir()
    async with open_probe(nats_url) as probe:
        try:
            async with asyncio.timeout(BOUND):
                await Daemon(life, folder, nats_url, probe).live()
        except (TimeoutError, Failed, OSError) as error:
            life.failed = str(error) or "it took too long"


class Daemon:
    """One daemon, timed from outside."""

    def __init__(self, life: Life, folder: Path, nats_url: str, probe: Probe) -> None:
        self._life = life
        self._config = folder / "mcpnatsd.yaml"
        self._log = folder / "daemon.log"
        self._socket = folder / "run" / f"{NAME}.sock"
        self._nats_url = nats_url
        self._probe = probe
        self._env = programs.isolated(folder)
        self._names = [f"server{number}" for number in range(life.servers)]

    async def live(self) -> None:
        self._write(self._names)
        with closing(notified(self._config.with_name("notify"))) as notify:
            self._env["NOTIFY_SOCKET"] = str(self._config.with_name("notify"))
            with self._log.open("wb") as log:
                began = perf_counter()
                process = await asyncio.create_subprocess_exec(
                    PROGRAM, "run", "--config", str(self._config),
                    env=self._env, stdout=log, stderr=log,
                )  # fmt: skip
            try:
                await self._start(notify, began, process.pid)
                await self._reload()
                began = perf_counter()
                process.send_signal(signal.SIGTERM)
                await process.wait()
                self._life.stopped.append(perf_counter() - began)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _start(self, notify: socket.socket, began: float, pid: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(timed(self._life.control, began, self._control_opens()))
            group.create_task(timed(self._life.ready, began, is_ready(notify)))
            first = self._probe.answered(self._names[-1])
            group.create_task(timed(self._life.answered, began, first))
        self._life.rss.append(programs.rss_mib(pid))

    async def _reload(self) -> None:
        """Add a server, and then reload a file that has not changed."""
        began = perf_counter()
        self._write([*self._names, "added"])
        await self._verdict()
        self._life.reloaded.append(perf_counter() - began)
        await self._probe.answered("added")
        self._life.added.append(perf_counter() - began)
        began = perf_counter()
        await self._verdict()
        self._life.unchanged.append(perf_counter() - began)

    def _write(self, names: list[str]) -> None:
        served = {name: {"command": programs.SERVER} for name in names}
        text = yaml.dump(
            {"nats": {"url": self._nats_url}, "servers": served}, Dumper=yaml.CSafeDumper
        )
        fresh = self._config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._config)

    async def _control_opens(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                await asyncio.sleep(STEP)
            else:
                writer.close()
                return

    async def _verdict(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=1 << 24)
        writer.write(b'{"verb":"reload"}\n')
        verdict: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        if not verdict.get("ok"):
            raise Failed(f"the reload was refused: {verdict}")


async def timed(into: list[float], began: float, what: Any) -> None:
    await what
    into.append(perf_counter() - began)


def notified(path: Path) -> socket.socket:
    """Return a socket such as systemd listens on."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.settimeout(0)  # as asyncio wants it
    found.bind(str(path))
    return found


async def is_ready(notify: socket.socket) -> None:
    while b"READY=1" not in await asyncio.get_running_loop().sock_recv(notify, 4096):
        pass


# What it is compared with.


def start_python() -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return perf_counter() - began


def start_nats(folder: Path) -> float:
    began = perf_counter()
    with NatsServer(folder):
        return perf_counter() - began


def start_peer(life: Life, config: Path) -> None:
    """Start mcp-proxy with named servers, until it answers for the last of them; and end it."""
    if life.failed:
        return
    command, *arguments = programs.SERVER
    names = [f"server{number}" for number in range(life.servers)]
    served = {name: {"command": command, "args": arguments} for name in names}
    config.write_text(json.dumps({"mcpServers": served}))
    port, log = programs.free_ports(1), config.with_suffix(".log")
    argv = [*install.python_program("mcp-proxy"), "--log-level", "ERROR", "--port", str(port)]
    began = perf_counter()
    try:
        with programs.running([*argv, "--named-server-config", str(config)], log) as process:
            programs.wait(lambda: programs.listens(port), process, log)
            life.ready.append(perf_counter() - began)
            greet(port, names[-1])
            life.answered.append(perf_counter() - began)
            life.rss.append(programs.rss_mib(process.pid))
            began = perf_counter()
            process.terminate()
            process.wait(BOUND)
            life.stopped.append(perf_counter() - began)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        life.failed = str(error)


def greet(port: int, name: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)) as connection:
        accept = "application/json, text/event-stream"
        headers = {"Accept": accept, "Content-Type": "application/json"}
        connection.request("POST", f"/servers/{name}/mcp", initialize(), headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise Failed(f"it answers {answer.status}")
        answer.read(1)


def ratios(found: Found) -> Iterator[Ratio]:
    """Say how times grow with the number of servers."""
    ours = {life.servers: life for life in found.lives if life.name == NAME and not life.failed}
    few, many = ours.get(COUNTS[0]), ours.get(COUNTS[-1])
    if few is None or many is None:
        return
    most = f"{COUNTS[-1]:,} servers"
    started = middle(many.ready) / middle(few.ready)
    yield Ratio(f"to READY with {most}, of {COUNTS[0]}", started, 3)
    yield Ratio(f"a reload with {most}", middle(many.reloaded), 0.5, "s")
    yield Ratio(f"to stop with {most}", middle(many.stopped), 2, "s")
    kib = (middle(many.rss) - middle(few.rss)) * 1024 / (many.servers - few.servers)
    yield Ratio("memory of a configured server", kib, 40, "KiB")
    imports = next(one for one in found.floors if "importing" in one.name)
    floor = middle(few.ready) / middle(imports.seconds)
    yield Ratio(f"to READY with {COUNTS[0]} servers, of the imports alone", floor)


def middle(found: list[float]) -> float:
    return sorted(found)[len(found) // 2]
