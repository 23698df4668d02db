"""What a legacy client wants to hear of, and the listens that bring it."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Raw

from mcpnatsd.errors import InstanceLost, McpnatsdError, Reported
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Notification
from mcpnatsd.protocol.listening import MOST_URIS, PAUSES, Filter, Listening, Settled

EVERYTHING = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
}
KINDS = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
LOST = InstanceLost("gone")


def offering(**capabilities: Any) -> Listening:
    return Listening(jsonrpc.split(json.dumps(capabilities).encode()))


def ack(**honoured: Any) -> Notification:
    body = {"jsonrpc": "2.0", "method": "m", "params": {"notifications": honoured}}
    note = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(note, Notification)
    return note


def agree(
    one: Listening, now: float = 0.0, **other: Any
) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Have the server agree to what is wanted now; return the answers and what was missed."""
    wanted = one.next(now)
    assert wanted is not None
    settled, missed = one.acknowledged(ack(**{**wanted.params["notifications"], **other}), now)  # type: ignore[dict-item]
    return outcomes(settled), [json.loads(line)["method"] for line in missed]


def outcomes(settled: list[Settled]) -> list[tuple[Any, Any]]:
    return [
        (json.loads(bytes(one.id)), None if one.fault is None else one.fault.jsonrpc_code)
        for one in settled
    ]


def subscribe(one: Listening, id: int, uri: str) -> list[tuple[Any, Any]]:
    return outcomes(one.subscribe(id, Raw(b"%d" % id), uri))


def unsubscribe(one: Listening, id: int, uri: str) -> list[tuple[Any, Any]]:
    return outcomes(one.unsubscribe(id, Raw(b"%d" % id), uri))


def test_what_is_not_offered_is_not_listened_to() -> None:
    one = offering(tools={"listChanged": False}, resources={"subscribe": "yes"}, prompts=5)
    one.start()

    assert one.next(0) is None
    assert subscribe(one, 1, "u") == [(1, -32601)]
    assert one.waiting == 0


def test_lists_are_listened_to_once_the_client_is_ready() -> None:
    one = offering(**EVERYTHING)
    assert one.next(0) is None
    one.start()

    wanted = one.next(0)

    assert wanted is not None
    assert wanted.params == {"notifications": KINDS}
    assert one.next(0) is None  # it is on its way
    assert one.acknowledged(ack(**KINDS), 0) == ([], [])
    assert one.next(1e9) is None


def test_a_subscription_is_answered_when_the_server_agreed() -> None:
    one = offering(**EVERYTHING)

    assert subscribe(one, 1, "a") == []
    assert subscribe(one, 2, "b") == []
    assert one.waiting == 2
    assert agree(one, resourceSubscriptions=["a"]) == ([(1, None), (2, -32602)], [])
    assert subscribe(one, 3, "a") == [(3, None)]
    assert one.next(0) is None  # `b` is wanted by nobody


def test_what_comes_while_a_listen_is_on_its_way_waits_for_the_next() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    first = one.next(0)
    subscribe(one, 2, "b")
    assert one.next(0) is None

    settled, _ = one.acknowledged(ack(resourceSubscriptions=["a"]), 0)

    assert first is not None
    assert first.uris == {"a"}
    assert outcomes(settled) == [(1, None)]
    assert agree(one) == ([(2, None)], [])


def test_an_end_is_answered_when_nothing_more_comes() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    agree(one)

    assert unsubscribe(one, 2, "a") == []
    assert agree(one) == ([(2, None)], [])
    assert unsubscribe(one, 3, "never") == [(3, None)]


def test_the_last_end_of_a_server_without_lists_leaves_nothing() -> None:
    one = offering(resources={"subscribe": True})
    subscribe(one, 1, "a")
    agree(one)
    assert not one.unwanted
    assert unsubscribe(one, 2, "a") == []

    assert one.unwanted
    assert outcomes(one.closed()) == [(2, None)]
    assert not one.unwanted
    assert one.next(0) is None


def test_an_end_overtakes_a_beginning() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")

    assert unsubscribe(one, 2, "a") == [(1, None), (2, None)]
    assert agree(one) == ([], [])


def test_a_cancelled_subscription_is_not_wanted() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")

    assert one.waits(1)
    assert one.forget(1)
    assert not one.forget(1)
    wanted = one.next(0)
    assert wanted is not None
    assert wanted.uris == frozenset()


def test_a_cancelled_subscription_leaves_another_of_the_same() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    subscribe(one, 2, "a")
    one.forget(1)

    assert agree(one) == ([(2, None)], [])


def test_a_lost_listen_is_opened_again_and_the_client_fetches() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    agree(one)

    assert one.lost(0) == []
    subscribe(one, 2, "b")
    settled, missed = agree(one)

    assert settled == [(2, None)]
    assert missed == [
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/tools/list_changed",
        "notifications/resources/updated",  # of `a` alone
    ]


def test_who_waits_for_an_end_is_answered_when_the_listen_is_lost() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    agree(one)
    unsubscribe(one, 2, "a")

    assert outcomes(one.lost(0)) == [(2, None)]


def test_a_list_fetched_before_there_is_a_listen_may_be_stale() -> None:
    one = offering(**EVERYTHING)
    one.start()
    one.fetched("tools/list")
    one.fetched("tools/call")

    assert agree(one) == ([], ["notifications/tools/list_changed"])
    one.fetched("tools/list")
    one.lost(0)
    agree(one)


def test_a_refused_listen_fails_who_waited_and_leaves_the_old_one() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    agree(one)
    subscribe(one, 2, "b")
    one.next(0)
    unsubscribe(one, 3, "a")

    settled = one.refused(LOST, 0)

    assert outcomes(settled) == [(2, -31005), (3, None)]
    assert subscribe(one, 4, "b") == []


def test_a_server_without_listens_is_not_asked_for_ever() -> None:
    one = offering(**EVERYTHING)
    one.start()
    one.next(0)

    assert one.refused(Reported(-32601, "no such method"), 0) == []
    assert one.next(1e9) is None
    assert subscribe(one, 1, "a") == []  # it is asked once more, by somebody who wants it
    assert one.next(1e9) is not None
    assert outcomes(one.refused(Reported(-32601, "no such method"), 1e9)) == [(1, -32601)]
    assert one.next(2e9) is None


def test_attempts_come_after_longer_and_longer_pauses() -> None:
    one = offering(**EVERYTHING)
    one.start()
    now = 0.0
    for pause in (*PAUSES, PAUSES[-1]):
        assert one.next(now) is not None
        one.refused(LOST, now)
        if pause:
            assert one.next(now + pause - 0.01) is None
        now += pause

    agree(one, now)
    one.lost(now + 3600)  # it was steady: the count begins anew
    assert one.next(now + 3600) is not None


def test_subscriptions_are_bounded() -> None:
    one = offering(**EVERYTHING)
    for number in range(MOST_URIS):
        subscribe(one, number, str(number))

    assert subscribe(one, MOST_URIS, "one more") == [(MOST_URIS, -31007)]
    assert unsubscribe(one, MOST_URIS + 1, "0") == [(0, None), (MOST_URIS + 1, None)]
    assert subscribe(one, MOST_URIS + 2, "one more") == []


def test_requests_that_wait_for_the_server_are_bounded() -> None:
    one = offering(**EVERYTHING)
    for number in range(MOST_URIS):
        assert subscribe(one, number, "a") == []

    assert subscribe(one, MOST_URIS, "a") == [(MOST_URIS, -31007)]
    assert unsubscribe(one, MOST_URIS + 1, "b") == [(MOST_URIS + 1, None)]
    assert len(agree(one)[0]) == MOST_URIS


def test_what_is_not_told_of_any_more_is_not_said_to_be_subscribed() -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")
    subscribe(one, 2, "b")
    agree(one)
    one.lost(0)
    assert "notifications/resources/updated" in agree(one, resourceSubscriptions=["b"])[1]

    assert one.next(1e9) is None
    assert subscribe(one, 3, "b") == [(3, None)]
    assert subscribe(one, 4, "a") == []
    assert agree(one, resourceSubscriptions=["b"])[0] == [(4, -32602)]


@pytest.mark.parametrize("odd", [5, [5], None, {"a": 1}])
def test_an_acknowledgement_that_makes_no_sense_honours_nothing(odd: Any) -> None:
    one = offering(**EVERYTHING)
    subscribe(one, 1, "a")

    assert agree(one, resourceSubscriptions=odd)[0] == [(1, -32602)]


def test_a_filter_names_what_it_is_for() -> None:
    assert not Filter()
    named = Filter(frozenset({"toolsListChanged"}), frozenset({"b", "a"})).params
    assert named == {
        "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a", "b"]}
    }


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens when, each request is answered once, and not for ever late."""

    def __init__(self) -> None:
        super().__init__()
        self.one = offering(**EVERYTHING)
        self.one.start()
        self.now = 0.0
        self.last = 0
        self.open: set[int] = set()
        self.asked: Filter | None = None
        self.listening: Filter | None = None
        self.believes: set[str] = set()

    def settle(self, settled: list[Settled]) -> None:
        for one in settled:
            self.open.remove(json.loads(bytes(one.id)))

    def fresh(self) -> tuple[int, Raw]:
        self.last += 1
        self.open.add(self.last)
        return self.last, Raw(b"%d" % self.last)

    @rule(uri=st.sampled_from("abc"))
    def subscribe(self, uri: str) -> None:
        self.settle(self.one.subscribe(*self.fresh(), uri))

    @rule(uri=st.sampled_from("abc"))
    def unsubscribe(self, uri: str) -> None:
        self.settle(self.one.unsubscribe(*self.fresh(), uri))

    @rule(number=st.integers(1, 20))
    def cancel(self, number: int) -> None:
        if self.one.forget(number):
            self.open.remove(number)

    @rule()
    def time_goes_by(self) -> None:
        self.now += 60

    @precondition(lambda self: self.asked is None)
    @rule()
    def listen(self) -> None:
        self.asked = self.one.next(self.now)

    @precondition(lambda self: self.asked is not None)
    @rule(refused=st.sets(st.sampled_from("abc")))
    def agree(self, refused: set[str]) -> None:
        assert self.asked is not None
        uris = sorted(self.asked.uris - refused)
        self.settle(self.one.acknowledged(ack(**KINDS, resourceSubscriptions=uris), self.now)[0])
        self.asked, self.listening = None, self.asked

    @precondition(lambda self: self.asked is not None)
    @rule(fault=st.sampled_from([LOST, Reported(-32602, "bad")]))
    def refuse(self, fault: McpnatsdError) -> None:
        self.settle(self.one.refused(fault, self.now))
        self.asked = None

    @precondition(lambda self: self.listening is not None)
    @rule()
    def lose(self) -> None:
        self.settle(self.one.lost(self.now))
        self.listening = None

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert self.one.waiting == len(self.open)

    def teardown(self) -> None:
        """When the server agrees to everything from now on, nobody waits."""
        for _ in range(3):
            self.now += 60
            self.asked = self.asked or self.one.next(self.now)
            if self.asked is not None:
                self.agree(set())
        assert self.open == set()
        assert self.one.next(self.now + 60) is None


AnyOrder.TestCase.settings = settings(max_examples=100, deadline=None)
TestAnyOrder = AnyOrder.TestCase
