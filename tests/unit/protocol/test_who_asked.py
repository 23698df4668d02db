"""Questions find their calls. What a session makes of that is in `test_legacy_use.py`."""

import json

from msgspec import Raw

from mcpnatsd.protocol import jsonrpc, to_legacy
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.legacy_asks import Asks
from mcpnatsd.protocol.legacy_calls import Call, Calls
from mcpnatsd.protocol.who_asked import HOLD, WhoAsked

DECLARED = to_legacy.Declared({}, None, frozenset({"elicitation"}))


class Table:
    """A session with these calls."""

    def __init__(self, *names: str) -> None:
        self.askers = Askers()
        self.asks = Asks(DECLARED)
        self.calls: Calls[str] = Calls(self.askers)
        self.who = WhoAsked(self.asks, self.calls, self.askers)
        for name in names:
            self.open(name)

    def open(self, name: str) -> int:
        ours = len(self.calls.open) + 1
        named = ("tools/call", name)
        self.calls.open[ours] = Call(name, Raw(b"1"), "tools/call", None, None, 0.0, named)
        return ours

    def ask(self, id: int, now: float = 0.0) -> list[str]:
        body = {"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {}}
        request = jsonrpc.decode(json.dumps(body).encode())
        assert isinstance(request, Request)
        assert self.asks.receive(request, now, len(self.calls.open)) is None
        return self.give(now)

    def give(self, now: float) -> list[str]:
        return [park.caller for park in self.who.give(now)]


def test_nobody_asked_what_comes_outside_a_call_and_the_next_call_asks_it() -> None:
    table = Table()
    assert table.ask(1) == []
    assert table.who.nobody()
    ours = table.open("a")

    assert table.who.nobody()
    assert table.who.inherits(ours)
    assert not table.who.inherits(ours)
    assert table.who.park(ours, 0.0).asks.keys() == {"1"}
    assert ("tools/call", "a") not in table.askers


def test_what_is_held_for_others_is_not_inherited() -> None:
    table = Table("a", "b")
    assert table.ask(1) == []

    assert not table.who.nobody()
    assert not table.who.inherits(table.open("c"))


def test_more_questions_than_calls_are_for_the_last_that_was_parked() -> None:
    table = Table("a", "b")
    assert table.ask(1) == []
    assert table.ask(2) == ["a", "b"]
    assert table.ask(3) == []

    assert table.asks.next_round(2).keys() == {"2", "3"}


def test_each_question_is_held_for_its_own_time() -> None:
    table = Table("a", "b", "c", "d")
    table.ask(1, now=0.0)
    table.ask(2, now=HOLD / 2)

    assert table.give(HOLD) == ["d"]
    assert table.give(HOLD) == []
    assert table.give(HOLD * 1.5) == ["c"]


def test_who_never_asked_before_is_the_last_to_be_taken_for_it() -> None:
    table = Table("a", "b", "c")
    table.askers.clear(("tools/call", "c"))
    table.ask(1)
    assert table.give(HOLD) == ["b"]

    assert all(("tools/call", name) in table.askers for name in "abc")


def test_where_all_are_known_not_to_ask_it_is_the_oldest() -> None:
    table = Table("a", "b")
    for name in "ab":
        table.askers.clear(("tools/call", name))
    table.ask(1)
    assert table.give(HOLD) == ["a"]


def test_who_is_suspected_and_alone_is_known_for_sure() -> None:
    table = Table("a")
    table.askers.suspect([("tools/call", "a")])
    table.ask(1)

    assert table.askers.surely(("tools/call", "a"))


def test_who_is_suspected_beside_others_stays_suspected() -> None:
    table = Table("a", "b")
    table.askers.suspect([("tools/call", "a")])

    assert table.ask(1) == ["a"]
    assert not table.askers.surely(("tools/call", "a"))
    assert ("tools/call", "b") not in table.askers


def test_who_is_alone_only_after_a_guess_stays_suspected() -> None:
    table = Table("a", "b")
    table.ask(1)
    assert table.ask(2) == ["a", "b"]  # it may have been `a` twice

    assert [table.askers.surely(("tools/call", name)) for name in "ab"] == [False, False]
    assert [("tools/call", name) in table.askers for name in "ab"] == [True, True]
