"""How much of a legacy server modern clients may take."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest_asyncio

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.launch import Launcher, Listener
from mcpnatsd.backends.process import Process
from mcpnatsd.backends.recall import Recall
from mcpnatsd.backends.shared import MOST_WAITING
from mcpnatsd.backends.translated_client import MOST_SPARES
from mcpnatsd.backends.translator import DISCOVER_WITHIN, Translator
from mcpnatsd.config.model import Isolation, Limits, ServerConfig
from mcpnatsd.errors import Busy, McpnatsdError, ProcessDied, Reported
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.parked import Seal

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
}
CONFIG = ServerConfig(name="one", command=("serve",), limits=Limits(concurrency=2, call_timeout=5))


class Asker:
    """A caller that only learns of faults."""

    user = b""
    base = ""

    def __init__(self, method: str = "tools/call", edge: str = "e", **params: Any) -> None:
        given = {"name": "a", "_meta": ENVELOPE, **params}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
        request = jsonrpc.decode(json.dumps(body).encode())
        assert isinstance(request, Request)
        self.asked = Asked(request, jsonrpc.params_of(request.members), given["name"], bare=False)
        self.edge = edge
        self.opened_at = asyncio.get_running_loop().time()
        self.error: str | None = None
        self.on_cancel: Callable[[str], None] | None = None
        self.fault: McpnatsdError | None = None

    def note(self, line: bytes) -> None: ...

    def finish(self, line: bytes) -> None: ...

    def end(self, line: bytes) -> None: ...

    def fail(self, fault: McpnatsdError) -> None:
        assert self.fault is None, "answered twice"
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


class Bridge:
    """What a translator needs of its bridge."""

    def __init__(self, config: ServerConfig = CONFIG) -> None:
        self.launcher = Stuck()
        self.room = 1000
        self.failures: list[int] = []
        self.forwarded: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        catalogue = Catalogue(config, Recall(None))
        seal = Seal("i1", b"key")
        self.translator = Translator(config, self.launcher, catalogue, self, seal=seal, version="1")
        self.translator._askers.learn(("tools/call", "a"))

    def spawn(self, part: Coroutine[None, None, None]) -> None:
        self.tasks.append(asyncio.create_task(part))

    def modern_ready(self) -> None: ...

    def start_failed(self, failures: int, fault: McpnatsdError) -> None:  # noqa: ARG002
        self.failures.append(failures)

    def list_changed(self, what: str) -> None: ...

    def has_room(self) -> bool:
        self.room -= 1
        return self.room >= 0

    def forward(self, caller: Caller, instance: str) -> None:  # noqa: ARG002
        self.forwarded.append(instance)

    def receive(self, many: int = 1, **asked: Any) -> list[Asker]:
        askers = [Asker(**asked) for _ in range(many)]
        for asker in askers:
            self.translator.receive(asker)
        return askers


async def stop(bridge: Bridge) -> None:
    for task in bridge.tasks:
        task.cancel()
    await asyncio.gather(*bridge.tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """Return a bridge that knows of its server's tool `a` that it asks."""
    bridge = Bridge()
    yield bridge
    await stop(bridge)


async def test_a_client_without_room_for_a_session_is_refused_as_busy(bridge: Bridge) -> None:
    bridge.room = 0
    (one,) = bridge.receive()

    assert isinstance(one.fault, Busy)
    assert bridge.translator.sessions == []
    assert bridge.translator._clients == {}


async def test_one_client_has_only_so_many_sessions_and_the_rest_waits(bridge: Bridge) -> None:
    askers = bridge.receive(MOST_SPARES + 2)

    assert len(bridge.translator.sessions) == MOST_SPARES
    assert bridge.translator.queued == 2
    assert {one.fault for one in askers} == {None}


async def test_what_is_known_not_to_ask_has_one_session_for_all(bridge: Bridge) -> None:
    bridge.translator._askers.clear(("tools/call", "quiet"))
    bridge.receive(5, name="quiet")

    assert (len(bridge.translator.sessions), bridge.translator.queued) == (1, 3)


async def test_what_nobody_knows_is_tried_one_at_a_time_in_one_session(bridge: Bridge) -> None:
    bridge.receive(3, name="new")

    assert (len(bridge.translator.sessions), bridge.translator.queued) == (1, 2)


async def test_where_each_client_has_one_process_it_never_has_a_second() -> None:
    bridge = Bridge(replace(CONFIG, isolation=Isolation.SESSION))
    bridge.receive(3)
    assert (len(bridge.translator.sessions), bridge.translator.queued) == (1, 2)

    bridge.receive(1, name="quiet")  # waits for nobody
    assert (len(bridge.translator.sessions), bridge.translator.queued) == (1, 2)
    await stop(bridge)


async def test_what_was_learnt_while_it_waited_holds_nobody_up(bridge: Bridge) -> None:
    bridge.translator._askers.clear(("tools/call", "quiet"))
    first = bridge.receive(2, name="quiet")  # as many as may run
    bridge.receive(1)
    bridge.receive(1, name="learnt")
    last = bridge.receive(1, name="quiet")[0]
    bridge.translator._askers.learn(("tools/call", "learnt"))
    (client,) = bridge.translator._clients.values()
    for one in first:
        assert one.on_cancel is not None
        one.on_cancel("enough")
    client.freed(client.sessions[0])

    assert [len(session._early) for session in client.sessions] == [2, 1]
    assert last in client.sessions[0]._early


async def test_a_client_that_gets_no_second_session_waits_for_its_first(bridge: Bridge) -> None:
    bridge.room = 1
    askers = bridge.receive(2)

    assert (len(bridge.translator.sessions), bridge.translator.queued) == (1, 1)
    assert {one.fault for one in askers} == {None}


async def test_only_so_many_wait_for_a_turn(bridge: Bridge) -> None:
    askers = bridge.receive(MOST_SPARES + MOST_WAITING + 1)

    assert [isinstance(one.fault, Busy) for one in askers[-2:]] == [False, True]


async def test_who_gives_up_waits_no_more(bridge: Bridge) -> None:
    last = bridge.receive(MOST_SPARES + 1)[-1]
    assert last.on_cancel is not None
    last.on_cancel("enough")

    assert bridge.translator.queued == 0


async def test_a_start_that_fails_is_told_to_all_who_wait_and_not_repeated(bridge: Bridge) -> None:
    askers = bridge.receive(MOST_SPARES + 2)
    bridge.launcher.gate.set()
    await asyncio.gather(*bridge.tasks)

    assert all(isinstance(one.fault, ProcessDied) for one in askers)
    assert bridge.launcher.starts == MOST_SPARES
    assert bridge.failures == list(range(1, MOST_SPARES + 1))
    assert bridge.translator._clients == {}


async def test_who_waits_for_a_turn_is_given_up_like_a_call(bridge: Bridge) -> None:
    askers = bridge.receive(MOST_SPARES + 1)
    now = askers[-1].opened_at
    bridge.translator.tick(now + 4.9)
    assert askers[-1].fault is None

    bridge.translator.tick(now + 5)
    assert askers[-1].fault is not None
    assert askers[-1].fault.jsonrpc_code == -31008


async def test_discovery_is_not_waited_for_longer_than_clients_do(bridge: Bridge) -> None:
    asker = Asker("server/discover")
    bridge.translator.discover(asker)
    bridge.translator.tick(asker.opened_at + DISCOVER_WITHIN - 0.1)
    assert asker.fault is None
    bridge.translator.tick(asker.opened_at + DISCOVER_WITHIN)

    assert isinstance(asker.fault, Reported)
    assert asker.fault.jsonrpc_code == -32601


async def test_an_instance_that_stops_starts_nothing_more(bridge: Bridge) -> None:
    askers = bridge.receive(MOST_SPARES + 2) + bridge.receive(5, edge="")
    await asyncio.sleep(0)
    for task in list(bridge.tasks):
        task.cancel()
    await asyncio.gather(*bridge.tasks, return_exceptions=True)

    assert all(one.fault is not None for one in askers)
    assert all(task.done() for task in bridge.tasks)


async def test_the_session_unused_for_longest_makes_room(bridge: Bridge) -> None:
    askers = [bridge.receive(edge=edge)[0] for edge in ("a", "b")]
    assert not bridge.translator.end_longest_idle()
    for one in askers:
        assert one.on_cancel is not None
        one.on_cancel("enough")
    first, second = bridge.translator.sessions
    first.used_at, second.used_at = 2.0, 1.0

    assert bridge.translator.end_longest_idle()
    assert bridge.translator.sessions == [first]


async def test_a_state_of_another_instance_goes_there(bridge: Bridge) -> None:
    other = Asker(requestState="mcpnatsd.1.i2.e30.mac")
    theirs = Asker(requestState="some server's own")

    assert bridge.translator.takes(other)
    assert bridge.forwarded == ["i2"]
    assert not bridge.translator.takes(theirs)
