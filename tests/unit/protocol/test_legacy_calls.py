"""Which of a session's requests run, wait, or may have asked."""

import pytest
from msgspec import Raw

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.legacy_calls import PARKED_FOR, Call, Calls


def calls(askers: Askers, *names: str | None) -> Calls[str]:
    found: Calls[str] = Calls(askers)
    for ours, name in enumerate(names, 1):
        named = None if name is None else ("tools/call", name)
        found.open[ours] = Call("me", Raw(b"1"), "tools/call", None, None, 0.0, named)
    return found


def test_a_call_is_parked_once() -> None:
    call = calls(Askers(), "a").open[1]
    park = call.park(1, {}, 5.0)
    assert (park.caller, park.round, park.until) == ("me", 1, 5.0 + PARKED_FOR)

    with pytest.raises(LocalProtocolError):
        call.park(1, {}, 5.0)


def test_the_surest_may_have_asked() -> None:
    askers = Askers()
    found = calls(askers, "a", "b", None, "c")
    assert found.may_have_asked(9) == [1, 2, 4]
    askers.suspect([("tools/call", "b"), ("tools/call", "c")])
    assert found.may_have_asked(9) == [2, 4]
    askers.learn(("tools/call", "c"))
    assert found.may_have_asked(9) == [4]


def test_what_is_parked_or_came_later_has_not_asked() -> None:
    found = calls(Askers(), "a", "b", "c")
    found.open[1].park(1, {}, 0.0)

    assert found.may_have_asked(2) == [2]
    assert found.others_run(2)
    assert not calls(Askers(), "a", None).others_run(1)


def test_the_last_parked_takes_more_unless_it_is_over() -> None:
    found = calls(Askers(), "a", "b")
    assert found.last_parked() is None
    for ours in (2, 1):
        found.open[ours].park(ours, {}, 0.0)
        found.parked.add(ours)
    assert (found.last_parked(), found.busy) == (2, 0)

    assert found.pop(2) is not None
    assert found.last_parked() == 1
    assert found.pop(2) is None
