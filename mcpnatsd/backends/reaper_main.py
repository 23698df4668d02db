"""The program that starts server processes and leaves none of them behind.

The daemon runs it by path, `python -I -S -E reaper_main.py FD`, so it knows the standard library
only, and as little of it as it can: it lives as long as the daemon and should stay small.
FD is a socket to the daemon: JSON objects, each after its length in four bytes, most significant
first; the three standard streams of a new server come along with its `spawn` (SCM_RIGHTS).

    < {"spawn": n, "argv": [...], "env": {...}, "cwd": "..."}    < {"signal": n, "sig": 15}
    > {"started": n, "pid": p}    > {"failed": n, "errno": e, "text": "..."}
    > {"exited": n, "status": s}                                 s < 0: a signal ended it

When the socket ends, the daemon is gone, however it went. Then everything dies that was ever
started here: on Linux this process is the subreaper of all its descendants, so whatever they
leave behind becomes its own. Elsewhere the process groups of the servers have to do.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys

MARKER = "MCPNATSD_PROCESS"
"""Names in the environment of a server, and so of its descendants, whose they are."""

STRAY = 0
"""Owner of an orphan that lost its marker. No server has this number."""

PR_SET_PDEATHSIG = 1
PR_SET_SUBREAPER = 36
FIRST_DELAY_MS, LAST_DELAY_MS = 10, 1000
"""Between two looks at what was killed: it may hang in the kernel for long."""

Table = dict[int, tuple[int, int]]
"""Parent and session of each process."""


def read(path: str) -> bytes:
    """Return a file of /proc, empty when its process is gone or not ours to look at."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # pathlib is not small
            return file.readall()
    except OSError:
        return b""


def table() -> Table:
    """Return every process of this machine; none where there is no /proc."""
    found: Table = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208
            # "pid (name) state parent group session": the name may hold spaces and parentheses
            if name.isdigit() and (stat := read(f"/proc/{name}/stat")):
                fields = stat[stat.rindex(b")") + 2 :].split(None, 4)
                found[int(name)] = int(fields[1]), int(fields[3])
    return found


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where there is such a call."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


class Start:
    """What a server is started with."""

    __slots__ = ("argv", "cwd", "env", "streams")

    def __init__(self, order: dict, env: dict, streams: list[int]) -> None:  # type: ignore[type-arg]
        self.argv: list[str] = order["argv"]
        self.cwd: str = order["cwd"]
        self.env: dict[str, str] = env
        self.streams = streams

    def become(self, errors: int) -> None:
        """Turn this forked process into the server, or tell `errors` why not."""
        place = "start"
        try:
            self._leave_the_reaper()
            place = self.cwd
            os.chdir(self.cwd)
            place = self.argv[0]
            os.execvpe(self.argv[0], self.argv, self.env)  # noqa: S606
        except BaseException as error:  # noqa: BLE001  # whatever it is, nothing else may run here
            code = getattr(error, "errno", None)
            text = f"{os.strerror(code) if code else error}: {place!r}"
            os.write(errors, json.dumps({"errno": code, "text": text}).encode())
        finally:
            os._exit(127)

    def _leave_the_reaper(self) -> None:
        reaper = os.getppid()
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != reaper:
            os._exit(127)  # it died before the line above could take effect
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        signal.set_wakeup_fd(-1)
        # An ignored signal stays ignored after exec. SIGPIPE is ignored by Python, others perhaps
        # by whoever started the daemon: nohup, or a shell that put it into the background.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)


def start(order: Start) -> tuple[int, dict[str, object]]:
    """Start a server; return its pid, or 0 and what went wrong."""
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        return 0, {"errno": error.errno, "text": error.strerror}
    if pid == 0:
        order.become(writing)
    os.close(writing)
    with open(reading, "rb") as errors:  # noqa: PTH123
        told = errors.read()  # ends when exec closes the other end
    if told:
        os.waitpid(pid, 0)
        return 0, dict(json.loads(told))
    return pid, {}


class Reaper:
    """Everything that was started, until nothing of it is left."""

    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._secret = os.urandom(8).hex()
        self._received = bytearray()
        self._streams: list[int] = []
        self._alive: dict[int, int] = {}  # pid: number
        self._dying: dict[int, int] = {}  # number: pid. What is left of these has to go.
        self._delay = FIRST_DELAY_MS
        self._empty = False
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Do as the daemon says, until it is gone; then end everything."""
        poll = select.poll()
        poll.register(self._daemon, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        present = True
        while present:
            ready = [fd for fd, _ in poll.poll(self._delay if self._dying else None)]
            exits = self._reap()
            self._sweep()
            self._tell_exits(exits)
            present = self._daemon.fileno() not in ready or self._receive()
        self._end()

    def _receive(self) -> bool:
        """Carry out what arrived. False: the daemon is gone."""
        space = socket.CMSG_SPACE(3 * 4)
        try:
            data, ancillary, _, _ = self._daemon.recvmsg(65536, space)
        except OSError:
            return False
        for _, _, packed in ancillary:
            self._streams.extend(struct.unpack(f"{len(packed) // 4}i", packed))
        self._received += data
        while len(self._received) >= (end := 4 + int.from_bytes(self._received[:4], "big")):
            order = json.loads(self._received[4:end])
            del self._received[:end]
            self._obey(order)
        return bool(data)

    def _obey(self, order: dict) -> None:  # type: ignore[type-arg]
        if "spawn" in order:
            self._spawn(order["spawn"], order)
        else:
            self._signal(order["signal"], order["sig"])

    def _spawn(self, number: int, order: dict) -> None:  # type: ignore[type-arg]
        streams, self._streams = self._streams[:3], self._streams[3:]
        for stream in streams:
            os.set_inheritable(stream, False)  # noqa: FBT003
        env = {**order["env"], MARKER: f"{self._secret}.{number}"}
        pid, problem = start(Start(order, env, streams))
        for stream in streams:
            os.close(stream)
        if pid:
            self._alive[pid] = number
            self._tell({"started": number, "pid": pid})
        else:
            self._tell({"failed": number, **problem})

    def _signal(self, number: int, sig: int) -> None:
        for pid in [pid for pid, owner in self._alive.items() if owner == number]:
            if sig == signal.SIGKILL:
                self._doom(number, pid)
                self._sweep()  # first, while the tree still tells whose they are
            kill_group(pid, sig)
            kill_group(pid, signal.SIGCONT)  # a stopped process does not hear SIGTERM

    def _tell(self, fact: dict[str, object]) -> None:
        body = json.dumps(fact).encode()
        with contextlib.suppress(OSError):  # it is gone: the next look at the socket says so
            self._daemon.sendall(len(body).to_bytes(4, "big") + body)

    def _tell_exits(self, exits: list[tuple[int, int]]) -> None:
        for number, status in exits:
            self._tell({"exited": number, "status": status})

    def _reap(self) -> list[tuple[int, int]]:
        """Collect every process that ended; return those that the daemon knows, and their ends."""
        with contextlib.suppress(OSError):
            os.read(self._woken, 4096)
        exits = []
        try:
            self._empty = False
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self._alive:
                    number = self._alive.pop(pid)
                    self._doom(number, pid)
                    self._sweep()  # first, while the tree still tells whose they are
                    # Safe after the wait: the number of a group is taken while it has members.
                    kill_group(pid, signal.SIGKILL)
                    exits.append((number, os.waitstatus_to_exitcode(status)))
        except OSError:
            self._empty = True  # ECHILD: there is nothing to wait for
        return exits

    def _doom(self, number: int, pid: int) -> None:
        self._dying[number] = pid
        self._delay = FIRST_DELAY_MS
        if not self._alive:
            self._dying[STRAY] = 0  # whosever they were, it is gone

    def _sweep(self) -> None:
        """Kill what is left of servers that are to go, and forget those with nothing left."""
        if not self._dying:
            return
        everything = table()
        left = set()
        for pid in everything:
            owner = self._owner(pid, everything)
            if owner in self._dying:
                left.add(owner)
                kill(pid, signal.SIGKILL)
        self._dying = {number: pid for number, pid in self._dying.items() if number in left}
        self._delay = min(2 * self._delay, LAST_DELAY_MS)

    def _owner(self, pid: int, everything: Table) -> int | None:
        """Return which server a process belongs to. None: it is no descendant of ours."""
        while pid in everything:
            if pid in self._alive:
                return self._alive[pid]
            parent, session = everything[pid]
            if parent == os.getpid():
                return self._owner_of_orphan(pid, session)
            pid = parent
        return None

    def _owner_of_orphan(self, pid: int, session: int) -> int:
        for variable in read(f"/proc/{pid}/environ").split(b"\0"):
            name, _, number = variable.rpartition(b".")
            if name == f"{MARKER}={self._secret}".encode() and number.isdigit():
                return int(number)
        return next((n for n, leader in self._dying.items() if leader == session), STRAY)

    def _end(self) -> None:
        """Kill everything, and wait until the last of it is gone."""
        for pid, number in self._alive.items():
            self._doom(number, pid)
        while not self._empty:
            self._dying[STRAY] = 0
            for pid in self._alive:
                kill_group(pid, signal.SIGKILL)
            self._sweep()
            select.select([self._woken], [], [], self._delay / 1000)
            self._tell_exits(self._reap())


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    prctl(PR_SET_SUBREAPER, 1)
    daemon = socket.socket(fileno=int(sys.argv[1]))
    daemon.set_inheritable(False)  # in a server's hands it would outlive us
    Reaper(daemon).run()


if __name__ == "__main__":
    main()
