"""A client of a daemon's metrics listener."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.running import BOUND, PROGRAM, Running, environment

LISTEN = {"listen": "127.0.0.1:0"}


class Probed(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    text: str


async def probe(address: str, path: str, method: str = "GET", **headers: str) -> Probed:
    """Ask; an underscore in a header's name stands for a hyphen."""
    fields = {"Host": address, **{key.replace("_", "-"): one for key, one in headers.items()}}
    lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {one}" for key, one in fields.items())]
    return await sent(address, "\r\n".join([*lines, "", ""]).encode())


async def drain(address: str, method: str = "GET", **headers: str) -> Probed:
    """Have a daemon leave the bus, as a hook of Kubernetes does."""
    return await probe(address, "/drain", method, **{"Mcpnatsd_Drain": "yes", **headers})


async def sent(address: str, request: bytes, bound: float = 60.0) -> Probed:
    """Send raw bytes, and read until the connection ends."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(bound):
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    finally:
        writer.transport.abort()
    first, *lines = head.split("\r\n")
    headers = {key.lower(): one for key, _, one in (line.partition(": ") for line in lines)}
    return Probed(int(first.split(" ")[1]), headers, body)


async def address_of(daemon: Running) -> str:
    """Return where a daemon can be probed."""
    line = await daemon.said("metrics listener open")
    return line.partition("http=http://")[2].split()[0]


async def becomes(address: str, path: str, status: int, *words: str, bound: float = BOUND) -> str:
    """Wait until a path answers so; return the line."""
    found = await probe(address, path)
    async with asyncio.timeout(bound):
        while found.status != status or not all(word in found.text for word in words):
            await asyncio.sleep(0.01)
            found = await probe(address, path)
    return found.text


@asynccontextmanager
async def starting(folder: Path, **config: Any) -> AsyncIterator[tuple[Running, str]]:
    """Run a daemon without waiting for more than its listener; yield it and the address."""
    path = folder / "mcpnatsd.yaml"
    path.write_text(yaml.safe_dump({"metrics": LISTEN, **config}), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "run", "--config", str(path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment(folder),
    )  # fmt: skip
    daemon = Running(process, folder)
    try:
        yield daemon, await address_of(daemon)
    finally:
        await daemon.close()
