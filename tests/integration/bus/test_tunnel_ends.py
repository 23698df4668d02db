"""Both ends of a tunnel over a real nats-server: what is refused, what is kept, how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.pipe import Pipe, Target
from mcpnatsd.bus.tunnel_client import Tunnel
from mcpnatsd.bus.tunnel_server import ServedTunnel, ServedTunnels
from mcpnatsd.errors import InstanceLost, McpnatsdError, RemoteProtocolError
from mcpnatsd.frontends.edge import Edge
from mcpnatsd.frontends.legacy import HOLD_FOR
from mcpnatsd.frontends.output import Output
from mcpnatsd.protocol import headers, incoming, jsonrpc
from mcpnatsd.protocol.incoming import PINNED_TOKENS, REQUEST_TOKENS
from mcpnatsd.protocol.jsonrpc import Message, Request
from mcpnatsd.protocol.lines import LineSplitter
from mcpnatsd.protocol.session_ledger import Ledger
from mcpnatsd.protocol.subjects import Prefix
from tests.connections import Inbox as Collected
from tests.connections import opened
from tests.natsd import NatsServer
from tests.running import encoded
from tests.waiting import until

INSTANCE = "K3J9"
TOKEN = "0123456789abcdef" * 2
LATE = 20.0
MIB = 1 << 20
INITIALIZE = encoded({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}).strip()
WELCOME = b'{"jsonrpc":"2.0","id":0,"result":{}}'


class Session:
    """Stands behind a tunnel; welcomes its client unless told otherwise."""

    def __init__(self, tunnel: ServedTunnel, answer: bytes) -> None:
        self.tunnel = tunnel
        self.lines: list[bytes] = []
        self.gone = ""
        self._answer = answer
        self._ledger = Ledger()

    def receive_line(self, message: Message, name: str | None, line: bytes) -> None:
        self._ledger.receive_from_client(message, name, 0.0)
        if isinstance(message, Request) and message.method == "initialize":
            self.tunnel.send(self._answer)
        else:
            self.lines.append(line)

    def client_gone(self, reason: str) -> None:
        self.gone = reason

    def room(self) -> None:
        """Nothing waits here."""


LEGACY_ONLY = b'{"jsonrpc":"2.0","id":"-","error":{"code":-32601,"message":"send initialize"}}'


class Instance:
    """The server's side of a test. It speaks the handshake era only."""

    def __init__(self, connection: Connection, prefix: str, answer: bytes = WELCOME) -> None:
        self.connection = connection
        self.sessions: list[Session] = []
        self.refused: list[McpnatsdError] = []
        self.deaf = False
        self.missed: list[bytes] = []
        """Subjects of what came while it was deaf."""

        self.tunnels = ServedTunnels(connection, line_bytes=MIB, instance=INSTANCE)
        self.tunnels.on_open = self._open
        self.tunnels.start()
        self._prefix = Prefix.parse(prefix)
        self._answer = answer
        self._listen(f"{prefix}.req.srv.>", REQUEST_TOKENS)
        self._listen(f"{prefix}.ses.srv.{INSTANCE}.>", PINNED_TOKENS)

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    def _open(self, tunnel: ServedTunnel) -> Session:
        self.sessions.append(Session(tunnel, self._answer))
        return self.session

    def _listen(self, subject: str, between: int) -> None:
        def receive(subject: bytes, reply: bytes, body: bytes, block: bytes | None) -> None:
            if self.deaf:
                self.missed.append(subject)
                return
            if subject.endswith(b".server.discover"):
                self.connection.publish(reply.decode(), LEGACY_ONLY)
                return
            try:
                self.tunnels.receive(
                    incoming.read(self._prefix, between, subject, reply, body, block)
                )
            except McpnatsdError as fault:
                self.refused.append(fault)

        self.connection.subscribe(subject, receive)


class Owner:
    """Notes what a tunnel tells."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.faults: list[McpnatsdError] = []
        self.untaken: list[tuple[bytes, str]] = []

    def receive_line(self, line: bytes) -> None:
        self.lines.append(line)

    def closed(self, fault: McpnatsdError, untaken: list[tuple[bytes, str]]) -> None:
        self.faults.append(fault)
        self.untaken = untaken

    def refused(self, line: bytes, _fault: McpnatsdError) -> None:
        self.lines.append(line)

    def room(self) -> None:
        """Nobody waits for it."""


class Lines:
    """What a client was told."""

    def __init__(self) -> None:
        self._splitter = LineSplitter(MIB)
        self.messages: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.messages += [json.loads(line) for line in self._splitter.receive(data)]

    def get_write_buffer_size(self) -> int:
        return 0

    @property
    def codes(self) -> dict[object, int | None]:
        """From the id of an answer to the code of its error."""
        return {one["id"]: one.get("error", {}).get("code") for one in self.messages}


@pytest.fixture
async def instance(nats_url: str, prefix: str) -> AsyncIterator[Instance]:
    async with opened(nats_url) as connection:
        running = Instance(connection, prefix)
        await connection.flush()
        yield running


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    """The client's."""
    async with opened(nats_url) as one:
        yield one


@asynccontextmanager
async def edge_on(connection: Connection, prefix: str) -> AsyncIterator[tuple[Edge, Lines]]:
    lines = Lines()
    edge = Edge(await client_bus(connection, Prefix.parse(prefix)), "srv", Output(lines))
    yield edge, lines
    edge.gone()


class Raw:
    """A client that writes each message itself."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self.connection = connection
        self.prefix = prefix
        self.told = Collected()
        connection.subscribe(f"{prefix}.line", self.told)

    def publish(self, tail: str, body: bytes, *pairs: tuple[str, str]) -> None:
        subject = f"{self.prefix}.{tail}"
        block = headers.encode(list(pairs))
        self.connection.publish(subject, body, reply=f"{self.prefix}.line", headers=block)

    def open(self, tail: str = "req.srv.initialize") -> None:
        self.publish(tail, INITIALIZE, (headers.TUNNEL, TOKEN), (headers.SEQ, "1"))

    def send(self, tail: str, body: bytes, *pairs: tuple[str, str]) -> None:
        self.publish(f"ses.srv.{INSTANCE}.{TOKEN}.{tail}", body, *pairs)

    def frames(self, kind: str) -> list[dict[str, str]]:
        found = map(headers.parse, self.told.headers)
        return [one for one in found if one.get(headers.FRAME) == kind]


def listing(id: int) -> bytes:
    """Return a request that waits for the session. A ping would be answered at once."""
    return b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"}' % id


def ping(id: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % id


async def test_what_nats_denied_is_not_kept_for_another_instance(connection: Connection) -> None:
    target = Target(lambda tail: f"to.{tail}", lambda: "")
    pipe = Pipe(connection, target, limit=MIB, on_line=lambda _line, _tail: None, now=0.0)
    pipe.send(b"denied", "tools.call.a")
    pipe.send(b"fine", "tools.call.b")

    assert pipe.void("to.tools.call.a") == [b"denied"]

    assert pipe.untaken(0) == [(b"fine", "tools.call.b")]


async def test_parts_that_do_not_fit_leave_nothing_behind(connection: Connection) -> None:
    lines: list[bytes] = []
    target = Target(lambda _tail: "to", lambda: "")
    pipe = Pipe(connection, target, limit=10, on_line=lambda line, _tail: lines.append(line), now=0)
    part = {headers.FRAME: "part"}
    pipe.receive(1, {**part, headers.PART: "1/3"}, b"old", "", 0)
    with pytest.raises(RemoteProtocolError):
        pipe.receive(2, {**part, headers.PART: "3/3"}, b"odd", "", 0)

    pipe.receive(3, {**part, headers.PART: "1/2"}, b"ne", "", 0)
    pipe.receive(4, {headers.PART: "2/2"}, b"w", "", 0)

    assert lines == [b"new"]


@pytest.mark.parametrize(
    "response",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{},"Method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":7,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":"%s"}' % (b"x" * MIB),
    ],
    ids=["look-alike", "another member", "both", "too large"],
)
async def test_the_error_of_a_response_goes_to_the_server_that_asked(
    connection: Connection, instance: Instance, prefix: str, response: bytes
) -> None:
    owner = Owner()
    tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", owner)
    tunnel.open(INITIALIZE)
    tunnel.send(response, "response")
    tunnel.send(ping(7), "ping")
    await until(lambda: instance.sessions and len(instance.session.lines) == 2, LATE)

    told, next_one = instance.session.lines
    assert json.loads(told)["id"] == 7
    assert json.loads(told)["error"]["code"] in (-32600, -31003)
    assert next_one == ping(7)
    instance.session.tunnel.send(b'{"jsonrpc":"2.0","id":7,"result":{}}')
    await until(lambda: len(owner.lines) == 2, LATE)
    assert owner.lines == [WELCOME, b'{"jsonrpc":"2.0","id":7,"result":{}}']
    tunnel.close()


async def test_a_members_look_alike_is_refused_in_a_tunnel(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"a"%b}%b}'
    owner = Owner()
    tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", owner)
    tunnel.open(INITIALIZE)
    for id, inner, outer in ((1, b',"NAME":"b"', b""), (2, b"", b',"Method":"b"'), (3, b"", b"")):
        tunnel.send(call % (id, inner, outer), "tools.call.a")
    await until(lambda: instance.sessions and instance.session.lines, LATE)
    await until(lambda: len(owner.lines) == 3, LATE)

    assert instance.session.lines == [call % (3, b"", b"")]
    assert all(b"looks like" in line for line in owner.lines[1:])
    tunnel.close()


async def test_a_response_refused_at_the_edge_is_told_to_the_server_only(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    async with edge_on(connection, prefix) as (edge, told):
        edge.receive_line(INITIALIZE)
        await until(lambda: told.messages, LATE)
        edge.receive_line(ping(7))
        edge.receive_line(b'{"jsonrpc":"1.0","id":7,"result":{}}')
        [skipped] = oversize(b'{"jsonrpc":"2.0","id":8,"result":"' + b"x" * MIB + b'"}\n')
        edge.receive_oversize(skipped, MIB)
        await until(lambda: len(instance.session.lines) == 3, LATE)

        errors = [json.loads(line) for line in instance.session.lines[1:]]
        assert [(one["id"], one["error"]["code"]) for one in errors] == [(7, -32600), (8, -31003)]
        assert told.codes == {0: None}
        assert edge.busy


def oversize(data: bytes) -> list[Any]:
    splitter = LineSplitter(1024)
    splitter.receive(data)
    return list(splitter.take_oversize())


async def test_what_follows_an_initialize_that_is_refused_is_answered(
    nats_url: str, connection: Connection, prefix: str
) -> None:
    refusal = b'{"jsonrpc":"2.0","id":0,"error":{"code":-5,"message":"no"}}'
    async with opened(nats_url) as own, edge_on(connection, prefix) as (edge, told):
        instance = Instance(own, prefix, refusal)
        await own.flush()
        edge.receive_line(INITIALIZE)
        edge.receive_line(listing(1))
        edge.receive_line(listing(2))
        await until(lambda: len(told.messages) == 3, LATE)

        assert [one["id"] for one in told.messages] == [0, 1, 2]
        assert told.codes == {0: -5, 1: -5, 2: -5}
        assert not edge.busy
        await until(lambda: instance.session.gone, LATE)


async def test_an_error_before_the_answer_to_initialize_ends_no_session(
    nats_url: str, connection: Connection, prefix: str
) -> None:
    refused = b'{"jsonrpc":"2.0","id":1,"error":{"code":-31002,"message":"denied"}}'
    async with opened(nats_url) as own, edge_on(connection, prefix) as (edge, told):
        instance = Instance(own, prefix, refused)
        await own.flush()
        edge.receive_line(INITIALIZE)
        edge.receive_line(listing(1))
        await until(lambda: told.messages, LATE)
        instance.session.tunnel.send(WELCOME)
        await until(lambda: len(told.messages) == 2, LATE)
        edge.receive_line(listing(2))
        await until(lambda: listing(2) in instance.session.lines, LATE)

        assert told.codes == {1: -31002, 0: None}


async def test_what_nobody_serves_is_answered_with_all_that_waits(
    connection: Connection, prefix: str
) -> None:
    async with edge_on(connection, prefix) as (edge, told):
        edge.receive_line(INITIALIZE)
        edge.receive_line(listing(1))
        await until(lambda: len(told.messages) == 2, LATE)

        assert told.codes == {0: -31001, 1: -31001}
        assert not edge.busy


async def test_what_waits_for_nats_behind_an_initialize_fails_with_it(
    natsd: NatsServer, prefix: str
) -> None:
    async with opened(natsd.url) as connection, edge_on(connection, prefix) as (edge, told):
        natsd.kill()
        await until(lambda: not connection.connected, LATE)
        edge.receive_line(INITIALIZE)
        now = asyncio.get_running_loop().time
        between = now()
        await until(lambda: now() > between)
        edge.receive_line(listing(1))

        edge.tick(between + HOLD_FOR)
        await until(lambda: len(told.messages) == 2, LATE)

        assert told.codes == {0: -31005, 1: -31005}
        assert not edge.busy


async def test_a_refused_request_does_not_keep_its_id(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    subscribe = b'{"jsonrpc":"2.0","id":5,"method":"resources/subscribe","params":%b}'
    async with edge_on(connection, prefix) as (edge, told):
        edge.receive_line(INITIALIZE)
        await until(lambda: told.messages, LATE)
        edge.receive_line(subscribe % b"[1]")
        await until(lambda: told.codes.get(5) == -32600, LATE)
        assert not edge.busy

        edge.receive_line(subscribe % b'{"uri":"a"}')
        await until(lambda: instance.session.lines, LATE)


async def test_a_closed_tunnel_acknowledges_nothing_more(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    client = Raw(connection, prefix)
    client.open()
    client.send("ping", ping(1), (headers.SEQ, "2"))
    await until(lambda: instance.sessions and instance.session.lines, LATE)
    instance.session.tunnel.close(InstanceLost("the test says so"))
    await until(lambda: client.frames("close"), LATE)

    def again() -> bool:
        client.send("ping", ping(2), (headers.SEQ, "3"))
        return len(client.frames("close")) > 1

    await until(again, LATE)
    client.send("control", b"", (headers.FRAME, "resume"), (headers.NEXT, "1"))
    await until(lambda: client.frames("ack"), LATE)

    said = client.frames("close") + client.frames("ack")
    assert {one[headers.ACK] for one in said} == {"2"}
    assert instance.session.lines == [ping(1)]


async def test_a_client_that_was_back_before_the_instance_hears_that_its_session_is_closed(
    natsd: NatsServer, prefix: str
) -> None:
    async with opened(natsd.url) as own, opened(natsd.url) as connection:
        instance, owner = Instance(own, prefix), Owner()
        await own.flush()
        tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", owner)
        tunnel.open(INITIALIZE)
        await until(lambda: owner.lines, LATE)
        instance.tunnels.stop()  # it hears of the reconnect when the test says so
        instance.deaf = True
        natsd.restart()
        now = asyncio.get_running_loop().time
        await until(lambda: tunnel.tick(now()) or instance.missed, LATE)
        instance.deaf = False
        instance.tunnels._on_up()
        await until(lambda: tunnel._give_up_at is None, LATE)
        await connection.flush()
        await own.flush()

        instance.session.tunnel.close(InstanceLost("the test says so"))

        await until(lambda: owner.faults, LATE)
        assert str(owner.faults[0]) == "the test says so"


@pytest.mark.parametrize(
    "tail",
    ["req.srv.tools.list", "req.srv.control", f"ses.srv.{INSTANCE}.{TOKEN}.initialize"],
)
async def test_a_tunnel_is_opened_where_initialize_is_requested_only(
    connection: Connection, instance: Instance, prefix: str, tail: str
) -> None:
    Raw(connection, prefix).open(tail)
    await until(lambda: instance.refused, LATE)

    assert instance.sessions == []
    assert [fault.jsonrpc_code for fault in instance.refused] == [-32020]


async def test_parts_that_do_not_fit_close_the_tunnel(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    client = Raw(connection, prefix)
    client.open()
    odd = (headers.SEQ, "2"), (headers.PART, "2/3"), (headers.FRAME, "part")
    client.send("ping", b"{", *odd)
    await until(lambda: client.frames("close"), LATE)

    assert jsonrpc.reported(client.told.bodies[-1]).jsonrpc_code == -32600
    assert "out of order" in instance.session.gone
    assert len(instance.tunnels) == 0


async def test_a_line_that_the_session_refuses_is_answered_and_closes_nothing(
    connection: Connection, instance: Instance, prefix: str
) -> None:
    bad = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}'
    client = Raw(connection, prefix)
    client.open()
    await until(lambda: instance.sessions, LATE)
    client.send("notifications.cancelled", bad, (headers.SEQ, "2"))
    client.send("ping", ping(1), (headers.SEQ, "3"))
    await until(lambda: instance.session.lines == [ping(1)], LATE)

    assert len(instance.tunnels) == 1


async def test_an_answer_to_an_earlier_question_is_taken(
    connection: Connection, prefix: str
) -> None:
    asked, owner = Collected(), Owner()
    connection.subscribe(f"{prefix}.>", asked)
    tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", owner)
    tunnel.open(INITIALIZE)
    await until(lambda: asked.replies, LATE)
    tell(connection, asked.replies[0], (headers.FRAME, "opened"), (headers.INSTANCE, INSTANCE))
    await until(lambda: tunnel.instance, LATE)
    tunnel.receive(b"", b"", b"NATS/1.0 503\r\n\r\n")
    start = asyncio.get_running_loop().time()
    for later in (1.1, 1.5, 3.2, 3.6):
        tunnel.tick(start + later)
    await until(lambda: len(asked.replies) == 4, LATE)

    tell(connection, asked.replies[1], (headers.SEQ, "1"), body=WELCOME)
    await until(lambda: owner.lines, LATE)

    assert owner.lines == [WELCOME]
    assert len(set(asked.replies)) == 4
    tunnel.close()


def tell(connection: Connection, reply: bytes, *pairs: tuple[str, str], body: bytes = b"") -> None:
    connection.publish(reply.decode(), body, headers=headers.encode(list(pairs)))


@pytest.mark.parametrize("instance", ["", "a.b", "a b", "*", ">", "x" * 65, "é"])
async def test_an_instance_whose_id_is_no_token_is_given_up(
    connection: Connection, prefix: str, instance: str
) -> None:
    asked, owner = Collected(), Owner()
    connection.subscribe(f"{prefix}.>", asked)
    tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", owner)
    tunnel.open(INITIALIZE)
    await until(lambda: asked.replies, LATE)
    block = f"NATS/1.0\r\nMcp-Frame:opened\r\nMcp-Instance:{instance}\r\n\r\n"
    tunnel.receive(b"", b"", block.encode())

    assert isinstance(owner.faults[0], RemoteProtocolError)


async def test_reading_stops_while_16_mib_wait(natsd: NatsServer, prefix: str) -> None:
    note = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"x":"%s"}}'
    natsd.kill()
    async with opened(natsd.url, wait=False) as connection, edge_on(connection, prefix) as found:
        edge, _ = found
        edge.receive_line(INITIALIZE)
        for _ in range(15):
            edge.receive_line(note % (b"x" * MIB))
        assert not edge.full

        edge.receive_line(note % (b"x" * MIB))

        assert edge.full
    async with opened(natsd.url, wait=False) as connection:
        tunnel = Tunnel(connection, Inbox(connection), prefix, "srv", Owner())
        tunnel.open(INITIALIZE)
        for _ in range(16):
            assert not tunnel.full
            tunnel.send(b"x" * MIB, "notifications.progress")
        assert tunnel.full
        tunnel.close()


async def test_a_modern_client_is_not_read_while_16_mib_wait(
    natsd: NatsServer, prefix: str
) -> None:
    meta = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}'
    params = f'{{"name":"a",{meta},"x":"%s"}}'
    call = f'{{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{params}}}'
    natsd.kill()
    async with opened(natsd.url, wait=False) as connection, edge_on(connection, prefix) as found:
        edge, _ = found
        for id in range(15):
            edge.receive_line((call % (id, "x" * MIB)).encode())
        assert not edge.full

        edge.receive_line((call % (15, "x" * MIB)).encode())

        assert edge.full


async def test_a_server_that_is_started_again_hears_of_reconnects(
    natsd: NatsServer, prefix: str
) -> None:
    async with opened(natsd.url) as connection:
        tunnels = Instance(connection, prefix).tunnels
        tunnels.stop()
        tunnels.start()
        client = Raw(connection, prefix)  # on the same connection: it is back when the other is
        client.open()
        await until(lambda: client.frames("opened"), LATE)

        natsd.restart()
        await until(lambda: client.frames("resume"), LATE)

        assert [one[headers.NEXT] for one in client.frames("resume")] == ["2"]
        tunnels.stop()
