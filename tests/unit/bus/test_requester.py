"""Exchanges from the caller's side, as far as no time must pass."""

import asyncio
import json

import pytest

from mcpnatsd.bus.call import Call, Phase
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import Forbidden, McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc, outgoing
from mcpnatsd.protocol.frames import LOST_AFTER, SILENT_AFTER
from mcpnatsd.protocol.jsonrpc import Request
from tests.unit.bus.wires import Sent, Wire

FINAL = b'{"jsonrpc":"2.0","id":1,"result":{}}'


class Client:
    """Whoever opens calls."""

    def __init__(self, edge: str = "e" * 32) -> None:
        self.edge = edge
        self.notes: list[bytes] = []
        self.finals: list[bytes] = []
        self.ends = 0
        self.faults: list[McpnatsdError] = []

    def receive_note(self, _call: Call, line: bytes) -> None:
        self.notes.append(line)

    def receive_final(self, _call: Call, line: bytes) -> None:
        self.finals.append(line)

    def receive_end(self, _call: Call) -> None:
        self.ends += 1

    def failed(self, _call: Call, fault: McpnatsdError) -> None:
        self.faults.append(fault)


class BrokenClient(Client):
    def failed(self, _call: Call, _fault: McpnatsdError) -> None:
        raise ValueError


class Side:
    """A requester, its client, and the wire under them."""

    def __init__(self, max_payload: int = 1 << 20) -> None:
        self.wire = Wire(max_payload)
        inbox = Inbox(self.wire.connection)
        self.requester = Requester(self.wire.connection, inbox, "mcp")
        self.client = Client()

    @property
    def last(self) -> Sent:
        return self.wire.sent[-1]

    def call(
        self, server: str = "git", method: str = "tools/call", client: Client | None = None,
        **params: object,
    ) -> Call:  # fmt: skip
        sent = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "x", **params}}
        line = json.dumps(sent).encode()
        request = jsonrpc.decode(line)
        assert isinstance(request, Request)
        own = jsonrpc.params_of(request.members)
        wanted = outgoing.read(request, line, own, jsonrpc.object_of(own, "_meta"))
        return self.requester.open(server, wanted, client or self.client)

    def answer(self, call: Call, *pairs: tuple[str, str], body: bytes = b"", on: int = -1) -> None:
        self.wire.arrive(call.replies[on], body, *pairs)


def pinned(call_subject: str) -> str | None:
    tokens = call_subject.split(".")
    return tokens[3] if tokens[1] == "ses" else None


@pytest.fixture
async def side() -> Side:
    return Side()


async def test_an_upload_goes_where_its_instance_is_whatever_subject_it_names() -> None:
    side = Side(max_payload=8192)
    call = side.call(text="x" * 10_000)
    announced = side.last

    side.answer(
        call, ("Mcp-Frame", "upload"), ("Mcp-Instance", "i1"), ("Mcp-Subject", "mcp.cxl.other")
    )

    where = f"mcp.ses.git.i1.{announced.headers['Mcp-Tunnel']}.tools.call.x"
    parts = side.wire.sent[1:]
    assert {part.subject for part in parts} == {where}
    assert b"".join(part.body for part in parts) == call.outgoing.line


@pytest.mark.parametrize("instance", ["a.b", "*", ">", "", "x y", "x" * 65, "é"])
async def test_an_instance_that_is_no_token_gets_no_upload(instance: str) -> None:
    side = Side(max_payload=8192)
    call = side.call(text="x" * 10_000)

    side.answer(call, ("Mcp-Frame", "upload"), ("Mcp-Instance", instance))

    assert len(side.wire.sent) == 1
    assert isinstance(side.client.faults[0], RemoteProtocolError)


async def test_an_upload_that_nats_denies_fails_its_call() -> None:
    side = Side(max_payload=8192)
    call = side.call(text="x" * 10_000)
    side.answer(call, ("Mcp-Frame", "upload"), ("Mcp-Instance", "i1"))

    side.wire.deny(side.last.subject)

    assert [type(fault) for fault in side.client.faults] == [Forbidden]


@pytest.mark.parametrize(("instance", "goes_to"), [("i1", "i1"), ("i.1", None), (">", None)])
async def test_only_a_token_is_an_instance_to_come_back_to(
    side: Side, instance: str, goes_to: str | None
) -> None:
    state = b'{"jsonrpc":"2.0","id":1,"result":{"requestState":"s"}}'
    side.answer(side.call(), ("Mcp-Instance", instance), ("Mcp-Pin", "1"), body=state)

    assert pinned(side.call().subject) == goes_to
    assert pinned(side.call(requestState="s").subject) == goes_to


async def test_a_request_for_one_holder_goes_there_in_the_clients_own_place(side: Side) -> None:
    wanted = side.call(requestState="s").outgoing
    own = Client("f" * 32 + ".1")
    call = side.requester.open("git", wanted, own, holder="i7", prefix="mcp.alice")

    assert call.subject.startswith("mcp.alice.ses.git.i7.")
    assert side.last.headers["Mcp-Call"].startswith("f" * 32 + ".1.")
    side.requester.cancel(call)
    assert side.last.subject == "mcp.alice.cxl.git"


async def test_who_holds_a_state_may_come_back_later_than_we_do(side: Side) -> None:
    """A broker's restart takes everybody off; who is not back yet is not gone."""
    state = b'{"jsonrpc":"2.0","id":1,"result":{"requestState":"s"}}'
    side.answer(side.call(), ("Mcp-Instance", "i1"), body=state)
    side.wire.returned = True
    side.wire.come_back()
    call = side.call(requestState="s")
    call.receive(b"", b"", b"NATS/1.0 503\r\n\r\n")

    assert side.client.faults == []
    assert call.refused_at is not None


@pytest.mark.parametrize("pin", [(), (("Mcp-Pin", "1"),)], ids=["any", "pinned"])
async def test_a_question_that_reaches_nobody_neither_repeats_nor_denies_a_call(
    side: Side, pin: tuple[tuple[str, str], ...]
) -> None:
    """It may have run: only silence for as long as the wire says ends it, as unknown."""
    side.answer(side.call(), ("Mcp-Instance", "i1"), *pin, body=FINAL)
    call = side.call()
    call.heard_at, call.asked_since = call.heard_at - SILENT_AFTER, call.asked_since - SILENT_AFTER
    side.requester._tick_all()
    question = side.last
    assert question.headers["Mcp-Frame"] == "ask"

    side.wire.refuse(question.reply)

    assert side.last is question
    assert side.client.faults == []
    call.heard_at -= LOST_AFTER
    side.requester._tick_all()
    assert [fault.data for fault in side.client.faults] == [{"outcome": "unknown"}]


async def test_a_state_belongs_to_its_server(side: Side) -> None:
    state = b'{"jsonrpc":"2.0","id":1,"result":{"taskId":"1"}}'
    side.answer(side.call("git"), ("Mcp-Instance", "i1"), body=state)

    assert pinned(side.call("git", "tasks/get", taskId="1").subject) == "i1"
    assert pinned(side.call("time", "tasks/get", taskId="1").subject) is None


async def test_a_client_that_left_is_forgotten_and_its_servers_are_told(side: Side) -> None:
    other = Client("f" * 32)
    for client in (side.client, other):
        call = side.call(client=client)
        side.answer(call, ("Mcp-Instance", "i1"), ("Mcp-Pin", "1"), body=FINAL)

    side.requester.leave(side.client.edge)

    assert side.last.headers == {"Mcp-Frame": "left"}
    assert side.last.subject == "mcp.cxl.git"
    assert json.loads(side.last.body) == {"client": side.client.edge}
    assert pinned(side.call().subject) is None
    assert pinned(side.call(client=other).subject) == "i1"


async def test_whoever_stops_says_that_its_clients_left(side: Side) -> None:
    for server in ("git", "time"):
        side.answer(side.call(server), body=FINAL)

    side.requester.stop()

    told = {one.subject for one in side.wire.sent if one.headers.get("Mcp-Frame") == "left"}
    assert told == {"mcp.cxl.git", "mcp.cxl.time"}


async def test_reply_subjects_before_the_one_in_use_are_closed(side: Side) -> None:
    call = side.call()
    for _ in range(5):
        side.wire.come_back()
    asked = list(call.replies)
    running = ("Mcp-Frame", "running"), ("Mcp-Instance", "i1"), ("Mcp-Seq", "0")

    side.answer(call, *running, on=3)

    assert call.replies == asked[3:]
    assert len(side.requester.inbox._receivers) == 3
    note = ("Mcp-Frame", "note"), ("Mcp-Seq", "1")
    side.wire.arrive(asked[2], b"too old", *note)
    side.wire.arrive(asked[3], b"note", *note)
    side.wire.arrive(asked[5], FINAL, ("Mcp-Seq", "2"))
    assert (side.client.notes, side.client.finals) == ([b"note"], [FINAL])
    assert not side.requester.inbox._receivers


@pytest.mark.parametrize("frame", ["note", "part", ""])
async def test_a_subscription_that_lost_a_frame_is_over(side: Side, frame: str) -> None:
    call = side.call(method="subscriptions/listen")
    pairs = [("Mcp-Frame", frame)] if frame else []

    side.answer(call, *pairs, ("Mcp-Seq", "3"), body=FINAL)

    assert call.phase is Phase.ENDED
    assert (side.client.notes, side.client.finals, side.client.ends) == ([], [], 1)


async def test_one_call_that_cannot_tick_stops_no_other(side: Side) -> None:
    broken, sound = BrokenClient(), Client()
    held = [side.call(client=client) for client in (broken, sound)]
    for call in held:
        call.heard_at -= 60

    side.requester._tick_all()

    assert len(sound.faults) == 1


async def test_a_request_without_a_connection_is_held_until_there_is_one(side: Side) -> None:
    side.wire.connected = False
    call = side.call()
    assert (call.phase, side.wire.sent) == (Phase.HELD, [])

    side.wire.connected = True
    side.wire.come_back()
    await asyncio.sleep(0)

    assert side.last.subject == "mcp.req.git.tools.call.x"


class Flapping(Side):
    """A side whose broker restarts every 9 s, for the clocks that begin anew with it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 1000.0
        self.requester._now = lambda: self.seconds

    def restart(self) -> None:
        self.seconds += 9.0
        self.requester._tick_all()
        for _on_up, on_down in self.wire.watchers:
            on_down()
        self.seconds += 30.0  # an outage counts for nothing
        self.wire.returned = True
        self.wire.come_back()
        self.requester._tick_all()


async def test_a_broker_that_restarts_all_the_time_keeps_no_call_open() -> None:
    side = Flapping()
    side.wire.come_back()
    call = side.call()
    side.answer(call, ("Mcp-Frame", "alive"))

    for _ in range(4):
        side.restart()
    assert side.client.faults == []
    for _ in range(2):
        side.restart()

    (fault,) = side.client.faults
    assert "whether it ran is unknown" in str(fault)


async def test_a_broker_that_restarts_all_the_time_loses_no_call_that_is_heard_of() -> None:
    side = Flapping()
    side.wire.come_back()
    call = side.call()
    side.answer(call, ("Mcp-Frame", "alive"))
    for _ in range(20):
        side.restart()
        side.answer(call, ("Mcp-Frame", "running"))

    assert side.client.faults == []


async def test_a_server_that_is_gone_is_told_though_its_broker_restarts_all_the_time() -> None:
    side = Flapping()
    side.wire.come_back()
    first = side.call()
    side.answer(first, body=FINAL)
    call = side.call()
    for _ in range(6):
        side.restart()
        call.phase = Phase.SENT
        side.requester.refused(call, "503")

    (fault,) = side.client.faults
    assert "nobody serves 'git'" in str(fault)
