"""The installed program in real processes: daemons, shims, and raw clients for both eras."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

PROGRAM = str(Path(sys.executable).with_name("mcpnatsd"))
SERVERS = Path(__file__).parent / "servers"
BOUND = 20.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def server(name: str, *arguments: str) -> list[str]:
    """Return the command of one of our own test servers."""
    return [sys.executable, str(SERVERS / f"{name}.py"), *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing of this machine's daemons is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MCPNATSD_")}
    own = {"RUNTIME_DIRECTORY": "run", "STATE_DIRECTORY": "state", "HOME": "home"}
    own["MCPNATSD_RUNTIME_DIRECTORY"] = "run"  # the only one in which daemons are looked for
    for folder_name in set(own.values()):
        (folder / folder_name).mkdir(mode=0o700, exist_ok=True)
    return {**kept, **{key: str(folder / value) for key, value in own.items()}}


class Running:
    """One process of the program, its stderr gathered line by line."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.log: list[str] = []
        self._said = asyncio.Event()
        self._reading = asyncio.create_task(self._gather())

    @property
    def pid(self) -> int:
        return self.process.pid

    async def said(self, text: str, *, since: int = 0, bound: float = BOUND) -> str:
        """Wait until a line of its log holds that text; return the line."""
        async with asyncio.timeout(bound):
            while True:
                for line in self.log[since:]:
                    if text in line:
                        return line
                assert not self._reading.done(), f"it ended without {text!r}: {self.log[-20:]}"
                self._said.clear()
                await self._said.wait()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def stop(self, bound: float = 40.0) -> int:
        """End it as systemd does; return its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(bound):
            return await self.process.wait()

    async def ended(self, bound: float = BOUND) -> int:
        async with asyncio.timeout(bound):
            return await self.process.wait()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _gather(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())
            self._said.set()
        asyncio.get_running_loop().call_soon(self._said.set)


@asynccontextmanager
async def daemon(
    folder: Path,
    servers: Mapping[str, Any],
    *,
    nats_url: str = "",
    variables: Mapping[str, str] | None = None,
    stdout: int = asyncio.subprocess.DEVNULL,
    **config: Any,
) -> AsyncIterator[Running]:
    """Run a daemon in a folder of its own; without `nats_url` on a NATS of its own.

    `servers` is the `servers:` section; a list in place of a mapping is just its command.
    `variables` are added to its environment, and `stdout` is where its greeting goes.
    """
    folder.mkdir(exist_ok=True, parents=True)
    sections = {
        "nats": {"url": nats_url} if nats_url else {"embedded": {}},
        "servers": {
            name: {"command": one} if isinstance(one, list) else one
            for name, one in servers.items()
        },
        **config,
    }
    path = folder / "mcpnatsd.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    async with daemon_of(folder, path, variables=variables, stdout=stdout) as running:
        yield running


@asynccontextmanager
async def daemon_of(
    folder: Path,
    path: Path,
    *,
    variables: Mapping[str, str] | None = None,
    stdout: int = asyncio.subprocess.DEVNULL,
    within: Sequence[str] = (),
) -> AsyncIterator[Running]:
    """Run a daemon of a file that is there already. `within` is a command that starts another."""
    process = await asyncio.create_subprocess_exec(
        *within, PROGRAM, "run", "--config", str(path),
        stdout=stdout, stderr=asyncio.subprocess.PIPE,
        env={**environment(folder), **(variables or {})}, limit=1 << 24,
    )  # fmt: skip
    running = Running(process, folder)
    try:
        await running.said(" ready ")
        yield running
        await running.stop()
    finally:
        await running.close()


class Shim(Running):
    """A shim, and the raw client on its stdio."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        super().__init__(process, folder)
        self._last = 0
        self.notes: list[dict[str, Any]] = []
        self.unasked: list[dict[str, Any]] = []

    def write(self, line: bytes | dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line if isinstance(line, bytes) else encoded(line))

    async def read(self, bound: float = BOUND) -> dict[str, Any]:
        """Return the next line it writes."""
        assert self.process.stdout is not None
        async with asyncio.timeout(bound):
            line = await self.process.stdout.readline()
        assert line, f"the shim ended: {self.log}"
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    async def answer(self, id: object, bound: float = BOUND) -> dict[str, Any]:
        """Return the response with that id; notifications before it are in `notes`."""
        for response in self.unasked:
            if response.get("id") == id and type(response["id"]) is type(id):
                self.unasked.remove(response)
                return response
        while True:
            message = await self.read(bound)
            if "method" in message:
                self.notes.append(message)
            elif message.get("id") == id and type(message["id"]) is type(id):
                return message
            else:
                self.unasked.append(message)

    def modern(self, method: str, *, id: object = None, **params: Any) -> object:
        """Send a modern request; return its id."""
        if id is None:
            self._last += 1
            id = self._last
        meta = {**META, **params.pop("_meta", {})}
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
        self.write(body)
        return id

    def legacy(self, method: str, *, id: object = None, **params: Any) -> object:
        """Send a legacy request; return its id."""
        if id is None:
            self._last += 1
            id = self._last
        self.write({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return id

    async def initialize(self, bound: float = BOUND) -> dict[str, Any]:
        """Shake hands as a legacy client; return the response."""
        asked = self.legacy(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "test", "version": "1"},
        )
        response = await self.answer(asked, bound)
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return response

    async def call(
        self, tool: str, *, era: str = "modern", bound: float = BOUND, **arguments: Any
    ) -> dict[str, Any]:
        """Call a tool in one of the eras; return the response."""
        send = self.modern if era == "modern" else self.legacy
        return await self.answer(send("tools/call", name=tool, arguments=arguments), bound)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def shim(folder: Path, name: str, *arguments: str, **extra_environment: str) -> Shim:
    """Start a shim that finds the daemon which runs in that folder, or what `arguments` say."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "connect", name, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment(folder), **extra_environment}, limit=1 << 25,
    )  # fmt: skip
    return Shim(process, folder)


class SocketClient(Shim):
    """The same raw client on a connection of its own, with no process in between."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.log: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.unasked: list[dict[str, Any]] = []
        self._last = 0

    def write(self, line: bytes | dict[str, Any]) -> None:
        self.writer.write(line if isinstance(line, bytes) else encoded(line))

    async def read(self, bound: float = BOUND) -> dict[str, Any]:
        async with asyncio.timeout(bound):
            line = await self.reader.readline()
        assert line, "the connection ended"
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def abort(self) -> None:
        """Vanish as a client that was killed does."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.abort()


async def socket_client(path: Path | str) -> SocketClient:
    """Connect to an endpoint's unix socket."""
    return SocketClient(*await asyncio.open_unix_connection(str(path), limit=1 << 25))


def connect_command(folder: Path, name: str, *arguments: str) -> list[str]:
    """Return the command of a shim as a host's file has it, for the daemon in that folder."""
    found = f"MCPNATSD_RUNTIME_DIRECTORY={folder / 'run'}"
    return ["env", found, PROGRAM, "connect", name, *arguments]


def text_of(response: dict[str, Any]) -> str:
    """Return the text of a tool's result."""
    assert "result" in response, response
    text = response["result"]["content"][0]["text"]
    assert isinstance(text, str)
    return text


async def status(folder: Path) -> dict[str, Any]:
    """Return what `mcpnatsd status --json` says of the daemon in that folder."""
    out = await command(folder, "status", "--json")
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


async def command(folder: Path, *arguments: str, code: int = 0, bound: float = 60.0) -> str:
    """Run a verb to its end; return its stdout, or its stderr where it should fail."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment(folder),
    )  # fmt: skip
    async with asyncio.timeout(bound):
        out, err = await process.communicate()
    assert process.returncode == code, (process.returncode, out, err)
    return (out if code == 0 else err).decode()


@dataclass(frozen=True)
class Ended:
    """A verb that has run to its end."""

    code: int
    out: str
    err: str


async def verb(folder: Path, *arguments: str, bound: float = 60.0, **extra: str) -> Ended:
    """Run a verb to its end; return all it said. `extra` is added to its environment."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**environment(folder), **extra},
    )  # fmt: skip
    try:
        async with asyncio.timeout(bound):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
