"""The whole chain beside its floor and the bridges of others: calls, and starts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import programs, starting
from tests.bench.client import Client, Era, Failed
from tests.bench.paths import Measured, NatsPy, client
from tests.bench.ratios import Found
from tests.bench.rounds import Size, in_turn, said
from tests.bench.starting import Started
from tests.natsd import NatsServer

ERAS: tuple[Era, ...] = ("modern", "legacy")


class Chain:
    """Everything that runs meanwhile."""

    def __init__(self, size: Size, folder: Path, stack: ExitStack) -> None:
        self._size = size
        self._stack = stack
        self._clients = 0
        self.folder = folder
        self.nats = stack.enter_context(NatsServer(self.folder / "nats"))
        servers = {"bench": {"command": programs.SERVER}}
        daemon = programs.daemon(self.folder / "daemon", self.nats.url, servers)
        self._daemon = stack.enter_context(daemon)
        self._peers = programs.peers(programs.free_ports(3))
        self._absent = {peer.name: self._serve(peer) for peer in self._peers}

    def calls(self) -> Found:
        """Measure calls, round by round."""
        found = Found(
            Measured("plain stdio", self._client(programs.SERVER, "modern")),
            Measured("nats-py", NatsPy(self.nats.url, self._stack)),
            Measured("nats-py on uvloop", NatsPy(self.nats.url, self._stack, "uvloop")),
            [Measured(f"mcpnatsd, {era}", self._shim(era)) for era in ERAS],
            [self._measured(peer) for peer in self._peers],
        )
        in_turn("calls", found.every, self._size)
        return found

    def starts(self) -> list[Started]:
        """Start everything again and again, in turn."""
        started = list(self._started())
        said("starts")
        for number in range(self._size.starts):
            for one in started:
                one.round(number)
        return started

    def _started(self) -> Iterator[Started]:
        times, log = self._size.starts, self.folder / "start.log"
        yield Started("python -c pass", starting.python("pass"), times)
        yield Started("python, importing nats-py", starting.python(starting.IMPORTS), times)
        connect, env = self._daemon.connect(), self._daemon.env
        for era in ERAS:
            start = starting.bridge(connect, era, log, env)
            yield Started(f"mcpnatsd connect, {era}", start, times)
        for peer in self._peers:
            start = starting.bridge(peer.connect, "legacy", log, None)
            yield Started(peer.name, start, min(times, 5), failed=self._absent[peer.name])

    def _serve(self, peer: programs.Peer) -> str:
        """Start a bridge of others; return why it does not run, if so."""
        try:
            self._stack.enter_context(programs.serving(peer, self.folder))
        except (Failed, OSError) as error:
            return str(error)
        return ""

    def _measured(self, peer: programs.Peer) -> Measured:
        if absent := self._absent[peer.name]:
            return Measured(peer.name, None, failed=absent)
        try:
            way = self._client(peer.connect, "legacy")
        except (Failed, OSError) as error:
            return Measured(peer.name, None, failed=str(error))
        return Measured(peer.name, way, large=False)

    def _shim(self, era: Era) -> Client:
        return self._client(self._daemon.connect(), era, self._daemon.env)

    def _client(self, argv: Sequence[str], era: Era, env: dict[str, str] | None = None) -> Client:
        self._clients += 1
        log = self.folder / f"client-{self._clients}.log"
        return self._stack.enter_context(client(argv, era, log, env))
