"""Exchanges from the side that answers them, as far as no time must pass."""

import json

import pytest

from mcpnatsd.bus.finals import Finals
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.bus.responder import Address, Responder
from mcpnatsd.bus.served import Served
from mcpnatsd.protocol import subjects
from tests.unit.bus.wires import Sent, Wire

REQUEST = "mcp.req.git.tools.call.x"
CANCEL = "mcp.cxl.git"
FINAL = b'{"jsonrpc":"2.0","id":1,"result":{}}'
DEEP = b"[" * 100_000


class Backend:
    """Takes what it gets."""

    def __init__(self) -> None:
        self.requests: list[Served] = []
        self.notifications: list[bytes] = []

    def receive_request(self, served: Served) -> None:
        self.requests.append(served)

    def receive_notification(self, line: bytes) -> None:
        self.notifications.append(line)

    def tool_names(self) -> tuple[str, ...]:
        return ()

    def client_left(self, user: str, client: str) -> None:
        self.left = user, client


class Side:
    """A responder, its backend, and the wire under them."""

    def __init__(self, wire: Wire, finals: Finals, server: str) -> None:
        self.wire = wire
        self.finals = finals
        self.backend = Backend()
        self.responder = Responder(
            wire.connection,
            Inbox(wire.connection),
            Address(subjects.Prefix.parse("mcp"), server, "i1"),
            backend=self.backend,
            finals=finals,
            line_bytes=1 << 20,
            version="1.0",
            on_tunnel=lambda _incoming: None,
            on_done=lambda _served, _line: None,
        )
        self.responder.open()

    @property
    def last(self) -> Sent:
        return self.wire.sent[-1]

    def request(self, call: str = "c.1", **more: object) -> None:
        line = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}, **more}
        self.wire.arrive(REQUEST, json.dumps(line).encode(), ("Mcp-Call", call), reply="r.0")

    def ask(self, call: object, reply: str = "r.1", subject: str = CANCEL) -> None:
        body = json.dumps({"call": call}).encode()
        self.wire.arrive(subject, body, ("Mcp-Frame", "ask"), reply=reply)


@pytest.fixture
async def side() -> Side:
    return Side(Wire(), Finals(), "git")


async def test_an_ask_moves_an_exchange_to_its_reply_subject(side: Side) -> None:
    side.request()

    side.ask("c.1")

    assert (side.last.subject, side.last.headers["Mcp-Frame"]) == ("r.1", "running")
    side.backend.requests[0].finish(FINAL)
    assert side.last.subject == "r.1"


async def test_what_a_client_was_answered_is_kept_until_it_leaves(side: Side) -> None:
    for number, call in enumerate(("c.1", "d.1")):
        side.request(call)
        side.backend.requests[number].finish(FINAL)
    side.wire.arrive(CANCEL, b'{"client":"c"}', ("Mcp-Frame", "left"))
    side.finals.expire(side.responder.now())

    assert side.backend.left == ("", "c")
    assert side.finals.get("c.1") is None
    assert side.finals.get("d.1") is not None


async def test_an_ask_without_a_reply_subject_leaves_the_exchange_its_own(side: Side) -> None:
    side.request()

    side.ask("c.1", reply="")
    side.backend.requests[0].finish(FINAL)

    assert (side.last.subject, side.last.body) == ("r.0", FINAL)


async def test_a_final_response_is_told_to_who_asks_its_own_server(side: Side) -> None:
    finals = Finals()
    side = Side(Wire(), finals, "git")
    other = Side(side.wire, finals, "time")
    side.request()
    side.backend.requests[0].finish(FINAL)
    sent = len(side.wire.sent)

    other.ask("c.1", subject="mcp.cxl.time")
    assert len(side.wire.sent) == sent
    side.ask("c.1")
    assert (side.last.subject, side.last.body) == ("r.1", FINAL)


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"call":' + DEEP,
        b"{}",
        b'{"call":7}',
        b"[]",
        b"",
        b"\xff",
        b'{"call":"%b"}' % (b"c" * 129),
    ],
)
async def test_a_cancel_of_nothing_is_passed_over(side: Side, body: bytes) -> None:
    side.wire.arrive(CANCEL, body, ("Mcp-Frame", "cancel"), reply="r.1")

    assert not side.responder._finals._refused
    assert side.wire.sent == []


async def test_a_token_of_more_than_128_characters_is_refused(side: Side) -> None:
    side.request("c" * 129)
    assert json.loads(side.last.body)["error"]["code"] == -32600
    assert side.backend.requests == []

    side.request("c" * 128)
    assert len(side.backend.requests) == 1


@pytest.mark.parametrize("member", ["Method", "PARAMS", "re\u017fult", "\u0131d"])
async def test_a_member_that_looks_like_another_reaches_no_process(side: Side, member: str) -> None:
    side.request(**{member: "delete"})

    error = json.loads(side.last.body)["error"]
    assert error["code"] == -32600
    assert "looks like" in error["message"]
    assert side.backend.requests == []


async def test_what_was_closed_hears_of_reconnects_when_it_is_opened_again(side: Side) -> None:
    side.request()
    side.responder.close()
    side.wire.come_back()
    assert side.wire.sent == []

    side.responder.open()
    side.wire.come_back()

    assert side.last.headers["Mcp-Frame"] == "running"


async def test_one_exchange_that_cannot_tick_stops_no_other(side: Side) -> None:
    for call in ("c.1", "c.2"):
        side.request(call)
    first, second = side.backend.requests
    gone: list[str] = []
    first.on_cancel = _raise
    second.on_cancel = gone.append
    first.heard_at = second.heard_at = side.responder.now() - 60

    side.responder._tick_all()

    assert gone == ["the caller vanished"]


def _raise(_reason: str) -> None:
    raise ValueError


PINNED = "mcp.ses.git.i1"
LINE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}'


def pinned(side: Side, reply: str = "r.0", token: str = "a" * 32) -> None:
    side.wire.arrive(f"{PINNED}.{token}.tools.call.x", LINE, ("Mcp-Call", "c.1"), reply=reply)


async def test_a_request_whose_parts_are_still_to_come_is_in_flight(side: Side) -> None:
    upload = ("Mcp-Upload", f"{len(LINE)}, 2"), ("Mcp-Tunnel", "a" * 32), ("Mcp-Call", "c.1")
    side.wire.arrive(REQUEST, b"", *upload, reply="r.0")
    assert side.responder.in_flight == 1

    subject = f"{PINNED}.{'a' * 32}.tools.call.x"
    frame = ("Mcp-Frame", "part"), ("Mcp-Part", "1/2"), ("Mcp-Call", "c.1")
    side.wire.arrive(subject, LINE[:9], *frame, reply="r.0")
    side.wire.arrive(subject, LINE[9:], ("Mcp-Part", "2/2"), ("Mcp-Call", "c.1"), reply="r.0")

    assert side.responder.in_flight == len(side.backend.requests) == 1


async def test_parts_that_cannot_come_any_more_hold_nothing_up(side: Side) -> None:
    upload = ("Mcp-Upload", "9, 2"), ("Mcp-Tunnel", "a" * 32), ("Mcp-Call", "c.1")
    side.wire.arrive(REQUEST, b"", *upload, reply="r.0")

    await side.responder.unpin()

    assert side.responder.in_flight == 0


async def test_a_pinned_request_that_comes_twice_runs_once(side: Side) -> None:
    pinned(side)
    pinned(side)
    sent = list(side.wire.sent)
    assert len(side.backend.requests) == 1
    assert sent == []

    side.backend.requests[0].finish(FINAL)
    sent = list(side.wire.sent)
    pinned(side)

    assert len(side.backend.requests) == 1
    assert side.wire.sent == sent


async def test_a_pinned_request_that_uses_a_token_again_runs(side: Side) -> None:
    pinned(side)
    side.backend.requests[0].finish(FINAL)

    pinned(side, reply="r.9")

    assert len(side.backend.requests) == 2
