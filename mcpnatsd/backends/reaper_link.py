"""The daemon's end of the socket to one reaper program.

It starts the program, tells it what to spawn and to signal, and reports what it says. What is
asked and answered is written down in `reaper_main`. Every method but `close` is synchronous.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcpnatsd.errors import ProcessDied

log = logging.getLogger(__name__)

_PROGRAM: Final = Path(__file__).with_name("reaper_main.py")
_PASSED: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What an interpreter may need to start; nothing else of our environment is its business."""

_CLOSE_TIMEOUT: Final = 10.0
"""Seconds for the reaper to kill everything. Past that it is stuck with a process in the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the reaper needs to start a server. The streams are the link's to close."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    streams: tuple[int, int, int]


@dataclass(slots=True)
class _Entry:
    """A server from its order to its end."""

    started: asyncio.Future[int]
    on_exit: Callable[[int | None], None]
    pid: int | None = None


class ReaperLink:
    """One reaper program: what it was told, and what it holds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._entries: dict[int, _Entry] = {}
        self._last = 0
        self._received = bytearray()
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._closing = False
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._program = _start_program(theirs.fileno())
        self._socket.settimeout(0)
        self._loop.add_reader(self._socket, self._receive)

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def is_lost(self) -> bool:
        return self._closing or self._lost.done()

    def spawn(
        self, order: Order, on_exit: Callable[[int | None], None]
    ) -> tuple[int, asyncio.Future[int]]:
        """Start a server; return its number and what will be its pid.

        `on_exit` gets the exit code (negative: a signal), or None when the reaper itself is gone.
        Cancelling the future ends the server, if it starts at all.
        """
        self._last += 1
        entry = self._entries[self._last] = _Entry(self._loop.create_future(), on_exit)
        fields = {"argv": order.command, "env": dict(order.env), "cwd": order.cwd}
        self._send({"spawn": self._last, **fields}, order.streams)
        return self._last, entry.started

    def send_signal(self, number: int, sig: int) -> None:
        """Signal the process group of a server; SIGKILL reaches all its descendants."""
        if number in self._entries:
            self._send({"signal": number, "sig": int(sig)})

    async def close(self) -> None:
        """End the program and, through it, whatever it still holds."""
        self._closing = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await asyncio.shield(self._lost)
        except TimeoutError:
            log.error("reaper does not end", extra={"pid": self._program.pid})  # noqa: TRY400
        finally:
            self._lose()

    def _send(self, message: Mapping[str, object], streams: tuple[int, ...] = ()) -> None:
        body = json.dumps(message).encode()
        self._unsent.append((len(body).to_bytes(4, "big") + body, streams))
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        """Send what the socket takes now; the rest follows as soon as it takes more."""
        try:
            while self._unsent:
                self._send_first()
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._socket, self._flush)
            return
        except OSError:
            self._drop_unsent()  # it is gone, which `_receive` finds out
        self._loop.remove_writer(self._socket)

    def _send_first(self) -> None:
        unsent, streams = self._unsent[0]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", streams))] if streams else []
        sent = self._socket.sendmsg([unsent], rights)
        _close_all(streams)
        if sent < len(unsent):
            self._unsent[0] = (unsent[sent:], ())
        else:
            self._unsent.popleft()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._received += data
        while len(self._received) >= (end := 4 + int.from_bytes(self._received[:4], "big")):
            fact = json.loads(self._received[4:end])
            del self._received[:end]
            self._learn(fact)

    def _learn(self, fact: Mapping[str, int]) -> None:
        match fact:
            case {"started": number, "pid": pid}:
                self._started(number, pid)
            case {"failed": number, "text": text}:
                entry = self._entries.pop(number)
                if not entry.started.done():
                    entry.started.set_exception(ProcessDied(str(text)))
            case {"exited": number, "status": status}:
                # A pass later each, so that one that raises does not take the others with it.
                self._loop.call_soon(self._entries.pop(number).on_exit, status)
            case _:
                log.error("reaper says what nobody understands", extra={"fact": dict(fact)})

    def _started(self, number: int, pid: int) -> None:
        entry = self._entries[number]
        entry.pid = pid
        if entry.started.done():  # nobody waits any more
            self.send_signal(number, signal.SIGKILL)
        else:
            entry.started.set_result(pid)

    def _lose(self) -> None:
        """Settle everything: the program is gone, or we end it now."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._drop_unsent()
        _collect(self._program)
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            self._lose_entry(entry)
        if not self._lost.done():
            self._lost.set_result(None)
        if not self._closing:
            log.error("reaper ended", extra={"status": self._program.returncode})

    def _lose_entry(self, entry: _Entry) -> None:
        if entry.pid is None:
            if not entry.started.done():
                entry.started.set_exception(ProcessDied("the reaper ended"))
            return
        with suppress(OSError):  # the server died with its reaper; its group may not have
            os.killpg(entry.pid, signal.SIGKILL)
        self._loop.call_soon(entry.on_exit, None)

    def _drop_unsent(self) -> None:
        for _, streams in self._unsent:
            _close_all(streams)
        self._unsent.clear()


def _start_program(fd: int) -> "subprocess.Popen[bytes]":
    command = (sys.executable, "-I", "-S", "-E", "-X", "utf8", str(_PROGRAM), str(fd))
    return subprocess.Popen(  # noqa: S603
        command,
        pass_fds=(fd,),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env={name: os.environ[name] for name in _PASSED if name in os.environ},
    )


def _collect(program: "subprocess.Popen[bytes]") -> None:
    """Wait for a program that has closed its socket, which is the last thing it does."""
    try:
        program.wait(timeout=1)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def _close_all(streams: tuple[int, ...]) -> None:
    for stream in streams:
        os.close(stream)
