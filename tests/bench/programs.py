"""What is measured, running: daemons, shims, and the bridges of others."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import install
from tests.bench.client import BOUND, Failed
from tests.running import PROGRAM, environment

Ready = Callable[[], bool]

SERVER = [sys.executable, str(Path(__file__).with_name("server.py"))]


@dataclass(frozen=True, slots=True)
class Daemon:
    pid: int
    folder: Path

    def connect(self, name: str = "bench") -> list[str]:
        return [PROGRAM, "connect", name]

    @property
    def env(self) -> dict[str, str]:
        return isolated(self.folder)


@contextmanager
def running(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program in the background, its output in a file."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # what a bridge leaves behind


@contextmanager
def daemon(
    folder: Path, nats_url: str, servers: Mapping[str, Any], *endpoints: Mapping[str, Any]
) -> Iterator[Daemon]:
    """Run a daemon in a folder of its own."""
    folder.mkdir()
    config, log = folder / "mcpnatsd.yaml", folder / "daemon.log"
    wanted = {"nats": {"url": nats_url}, "servers": dict(servers), "endpoints": [*endpoints]}
    config.write_text(yaml.safe_dump(wanted))
    env = isolated(folder)
    with running([PROGRAM, "run", "--config", str(config)], log, env) as process:
        wait(lambda: " ready " in log.read_text(errors="replace"), process, log)
        yield Daemon(process.pid, folder)


@dataclass(frozen=True, slots=True)
class Peer:
    """A bridge of others: its HTTP side before our server, its stdio side before our client."""

    name: str
    port: int
    serve: list[str]
    connect: list[str]


def mcp_proxy(port: int) -> list[str]:
    """Return the HTTP side of mcp-proxy."""
    proxy = install.python_program("mcp-proxy")
    return [*proxy, "--log-level", "ERROR", "--port", str(port), "--", *SERVER]


def supergateway(port: int) -> list[str]:
    """Return the HTTP side of supergateway."""
    options = ["--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none"]
    gateway = install.node_program("supergateway")
    return [*gateway, "--stdio", " ".join(SERVER), "--port", str(port), *options]


def peers(port: int) -> list[Peer]:
    """The bridges, the first one on that port, the others on those after it."""
    proxy, gateway = install.python_program("mcp-proxy"), install.node_program("supergateway")
    remote = install.node_program("mcp-remote")
    url = "http://127.0.0.1:{}/mcp".format
    proxy_connect = [*proxy, "--log-level", "ERROR", "--transport", "streamablehttp"]
    return [
        Peer("mcp-proxy 0.13", port, mcp_proxy(port), [*proxy_connect, url(port)]),
        Peer(
            "supergateway 4",
            port + 1,
            supergateway(port + 1),
            [*gateway, "--streamableHttp", url(port + 1), "--logLevel", "none"],
        ),
        Peer(
            "supergateway 4 + mcp-remote 0.15",
            port + 2,
            supergateway(port + 2),
            [*remote, url(port + 2), "--allow-http", "--transport", "http-only"],
        ),
    ]


@contextmanager
def serving(peer: Peer, folder: Path) -> Iterator[int]:
    """Run the HTTP side of a bridge; yield its process id."""
    log = folder / f"{peer.port}.log"
    with running(peer.serve, log) as process:
        wait(lambda: listens(peer.port), process, log)
        yield process.pid


def isolated(folder: Path) -> dict[str, str]:
    """Return an environment in which only the daemon of that folder is found."""
    return {**environment(folder), "MCPNATSD_RUNTIME_DIRECTORY": str(folder / "run")}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> int:
    """Return the first of that many neighbouring ports that nobody listens on."""
    for first in range(20000, 30000, count):
        if not any(listens(port) for port in range(first, first + count)):
            return first
    raise Failed("no free ports")


def wait(ready: Ready, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + BOUND
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"it does not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.02)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def descendants(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for text in found for one in (int(text), *descendants(int(text)))]
