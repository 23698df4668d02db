"""Who of one client waits for a turn, by what is known of its request."""

from typing import cast

import pytest
from msgspec import Raw

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.turns import TRY_FOR, Kind, Turns
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Request

ANN, BOB = ("tools/call", "ann"), ("tools/call", "bob")


class Waiting:
    """A caller, as far as turns look at it."""

    def __init__(self, asked: Asked, opened_at: float = 0.0) -> None:
        self.asked = asked
        self.opened_at = opened_at


def asked(name: str = "ann", method: str = "tools/call") -> Asked:
    request = Request(Raw(b"1"), method, {})
    return Asked(request, {}, name, bare=False)


def waiting(name: str, opened_at: float = 0.0) -> Caller:
    return cast("Caller", Waiting(asked(name), opened_at))


@pytest.fixture
def askers() -> Askers:
    return Askers()


@pytest.fixture
def turns(askers: Askers) -> Turns:
    return Turns(askers, may_be_asked=True)


def test_what_is_known_of_a_request_says_where_it_waits(askers: Askers, turns: Turns) -> None:
    assert turns.kind(asked()) is Kind.UNKNOWN
    askers.clear(ANN)
    assert turns.kind(asked()) is Kind.QUIET
    askers.suspect([ANN])
    assert turns.kind(asked()) is Kind.ASKS


def test_nothing_is_tried_that_does_not_ask_or_has_nobody_to_ask(askers: Askers) -> None:
    turns = Turns(askers, may_be_asked=True)
    assert turns.kind(asked("a:b", "resources/read")) is Kind.QUIET
    assert turns.kind(asked("", "tools/list")) is Kind.QUIET
    assert Turns(askers, may_be_asked=False).kind(asked()) is Kind.QUIET


@pytest.mark.parametrize("learn", ["quiet", "asks"])
def test_one_is_tried_at_a_time_until_it_is_known(askers: Askers, turns: Turns, learn: str) -> None:
    assert turns.tries(asked("ann"), 5.0, started=True)
    assert not turns.tries(asked("bob"), 5.0 + TRY_FOR / 2, started=True)
    (askers.clear if learn == "quiet" else askers.learn)(ANN)
    assert turns.tries(asked("bob"), 5.0 + TRY_FOR / 2, started=True)


def test_what_is_tried_holds_others_up_only_so_long(turns: Turns) -> None:
    assert turns.tries(asked("ann"), 5.0, started=True)
    assert turns.tries(asked("bob"), 5.0 + TRY_FOR, started=True)
    assert not turns.tries(asked("eve"), 5.0 + TRY_FOR, started=True)


def test_its_time_begins_with_the_session(turns: Turns) -> None:
    assert turns.tries(asked("ann"), 5.0, started=False)
    assert not turns.tries(asked("bob"), 60.0, started=False)
    turns.started(60.0)
    assert not turns.tries(asked("bob"), 60.0, started=True)
    assert turns.tries(asked("bob"), 60.0 + TRY_FOR, started=True)


def test_with_its_session_it_is_over(turns: Turns) -> None:
    assert turns.tries(asked("ann"), 5.0, started=False)
    turns.ended()
    assert turns.tries(asked("bob"), 5.0, started=False)


def test_what_was_learnt_meanwhile_moves_who_waits(askers: Askers, turns: Turns) -> None:
    ann, bob = waiting("ann"), waiting("bob")
    for one in (ann, bob):
        turns.wait(one, Kind.UNKNOWN)
    askers.learn(ANN)
    askers.clear(BOB)

    assert [turns.first(kind) for kind in Kind] == [None, bob, ann]
    assert len(turns) == 2


def test_who_leaves_or_waits_too_long_is_taken_out(turns: Turns) -> None:
    early, late, gone = waiting("ann", 1.0), waiting("ann", 2.0), waiting("bob", 1.0)
    turns.wait(early, Kind.QUIET)
    turns.wait(late, Kind.QUIET)
    turns.wait(gone, Kind.ASKS)
    turns.leave(gone)

    assert list(turns.late(1.0)) == [early]
    assert list(turns.drained()) == [late]
    assert not len(turns)
