"""How many processes the modern side of a server starts at most, for either era."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest_asyncio
from msgspec import Raw

from mcpnatsd.backends import modern
from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.launch import Launcher, Listener
from mcpnatsd.backends.modern import Modern
from mcpnatsd.backends.process import Process
from mcpnatsd.backends.recall import Recall
from mcpnatsd.backends.shared import MOST_WAITING
from mcpnatsd.config.model import EraChoice, Isolation, Limits, ServerConfig
from mcpnatsd.errors import Busy, McpnatsdError, ProcessDied
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.parked import Seal
from tests.waiting import until

CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}'
CONCURRENCY = 3


class Asker:
    """A caller that only learns of faults."""

    def __init__(self, edge: str = "", *, bare: bool = False) -> None:
        request = jsonrpc.decode(CALL)
        assert isinstance(request, Request)
        params = jsonrpc.params_of(request.members)
        params[eras.META] = Raw(jsonrpc.encode(eras.our_meta("1")))
        self.asked = Asked(request, params, "a", bare=bare)
        self.edge = edge
        self.user = b""
        self.base = ""
        self.opened_at = 0.0
        self.error: str | None = None
        self.on_cancel: Callable[[str], None] | None = None
        self.fault: McpnatsdError | None = None

    def note(self, line: bytes) -> None: ...

    def finish(self, line: bytes) -> None: ...

    def end(self, line: bytes) -> None: ...

    def fail(self, fault: McpnatsdError) -> None:
        self.fault = fault


class Stuck(Launcher):
    """Starts that come to nothing, all when `gate` is opened."""

    def __init__(self) -> None:
        self.starts = 0
        self.gate = asyncio.Event()

    async def start(self, config: ServerConfig, listener: Listener) -> Process:  # noqa: ARG002
        self.starts += 1
        await self.gate.wait()
        raise ProcessDied("it never started")


class Owner:
    """A bridge's task group, and nothing else of it."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, part: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(part))

    def modern_ready(self) -> None: ...

    def start_failed(self, failures: int, fault: McpnatsdError) -> None: ...

    def list_changed(self, what: str) -> None: ...

    def has_room(self) -> bool:
        return True

    def forward(self, caller: Caller, instance: str) -> None: ...


@pytest_asyncio.fixture
async def owner() -> AsyncIterator[Owner]:
    owner = Owner()
    yield owner
    for task in owner.tasks:
        task.cancel()
    await asyncio.gather(*owner.tasks, return_exceptions=True)


def side(owner: Owner, launcher: Launcher, **settings: Any) -> Modern:
    limits = Limits(concurrency=CONCURRENCY)
    config = ServerConfig(name="one", command=("serve",), limits=limits, **settings)
    seal = Seal("one", b"key")
    return Modern(config, launcher, Catalogue(config, Recall(None)), owner, "1", seal=seal)


async def test_only_so_many_clients_have_a_process_each(owner: Owner) -> None:
    one = side(owner, Stuck(), isolation=Isolation.SESSION)
    clients = [Asker(f"edge{number}") for number in range(modern.MOST_SESSIONS)]
    for caller in clients:
        one.receive(caller)
    late, again = Asker("late"), Asker("edge0")
    one.receive(late)
    one.receive(again)

    assert len(one.shared) == modern.MOST_SESSIONS
    assert isinstance(late.fault, Busy)
    assert again.fault is None
    assert {caller.fault for caller in clients} == {None}


async def test_calls_with_bare_arguments_wait_for_their_turn(owner: Owner) -> None:
    launcher = Stuck()
    one = side(owner, launcher, era=EraChoice.LEGACY)
    callers = [Asker(bare=True) for _ in range(2 * CONCURRENCY)]
    for caller in callers:
        one.receive(caller)
    for _ in range(10):
        await asyncio.sleep(0)  # all that can run has run

    assert launcher.starts == CONCURRENCY
    launcher.gate.set()
    await until(lambda: all(caller.fault for caller in callers))
    assert launcher.starts == len(callers)
    assert all(isinstance(caller.fault, ProcessDied) for caller in callers)


async def test_more_than_may_wait_are_refused_as_busy(owner: Owner) -> None:
    one = side(owner, Stuck(), era=EraChoice.LEGACY)
    callers = [Asker(bare=True) for _ in range(CONCURRENCY + MOST_WAITING + 2)]
    for caller in callers:
        one.receive(caller)
    for _ in range(10):
        await asyncio.sleep(0)

    assert [isinstance(caller.fault, Busy) for caller in callers[-3:]] == [False, True, True]
