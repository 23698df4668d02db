"""What waits in one legacy session, and for which answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Message, Response
from mcpnatsd.protocol.session_ledger import Asked, Ledger

IDS = st.one_of(st.integers(-5, 5), st.sampled_from(["", "0", "1", "x"]))


def message(**members: Any) -> Message:
    return jsonrpc.decode(json.dumps({"jsonrpc": "2.0", **members}).encode())


def ask(ledger: Ledger, id: object, at: float = 0.0, method: str = "tools/call") -> None:
    ledger.receive_from_client(message(id=id, method=method), "name", at)


def cancel(ledger: Ledger, id: object) -> None:
    note = message(method="notifications/cancelled", params={"requestId": id})
    ledger.receive_from_client(note, None, 0.0)


def answer(ledger: Ledger, id: object) -> Asked | None:
    response = message(id=id, result={})
    assert isinstance(response, Response)
    return ledger.receive_from_server(response)


def ids(asked: list[Asked]) -> list[object]:
    return [json.loads(bytes(one.id)) for one in asked]


def test_an_answer_finds_what_it_answers_once() -> None:
    ledger = Ledger()
    ask(ledger, 0, at=3.0)

    found = answer(ledger, 0)

    assert found is not None
    assert (found.method, found.name, found.at) == ("tools/call", "name", 3.0)
    assert answer(ledger, 0) is None
    assert ledger.in_flight == 0


@pytest.mark.parametrize(("asked", "answered"), [(7, "7"), ("7", 7), (-1, "-1"), ("0", 0)])
def test_an_id_that_changed_its_type_on_the_way_is_recognised(asked: Any, answered: Any) -> None:
    ledger = Ledger()
    ask(ledger, asked)

    found = answer(ledger, answered)

    assert found is not None
    assert ids([found]) == [asked]


def test_two_ids_that_differ_only_in_type_are_two() -> None:
    ledger = Ledger()
    ask(ledger, 7, method="seven")
    ask(ledger, "7", method="text")

    text, seven = answer(ledger, "7"), answer(ledger, 7)

    assert text is not None
    assert seven is not None
    assert (text.method, seven.method) == ("text", "seven")


@pytest.mark.parametrize("id", ["x", "1.0", "1e3", " 1", "", "9" * 30])
def test_an_answer_nobody_waits_for_is_nobodys(id: str) -> None:
    ledger = Ledger()
    ask(ledger, 1)

    assert answer(ledger, id) is None
    assert ledger.in_flight == 1


def test_an_error_without_an_id_answers_nothing() -> None:
    ledger = Ledger()
    ask(ledger, 1)
    response = message(id=None, error={"code": -32700, "message": "?"})

    assert isinstance(response, Response)
    assert ledger.receive_from_server(response) is None
    assert ledger.in_flight == 1


def test_a_cancelled_request_waits_no_more() -> None:
    ledger = Ledger()
    ask(ledger, 1)
    cancel(ledger, "1")
    assert ledger.in_flight == 1

    cancel(ledger, 1)

    assert ledger.in_flight == 0
    assert answer(ledger, 1) is None


def test_other_messages_of_a_client_are_not_waited_for() -> None:
    ledger = Ledger()
    ledger.receive_from_client(message(method="notifications/initialized"), None, 0.0)
    ledger.receive_from_client(message(id=1, result={}), None, 0.0)
    cancel(ledger, None)

    assert ledger.in_flight == 0


def test_only_what_is_overdue_is_given_up() -> None:
    ledger = Ledger()
    for at in (1.0, 2.0, 3.0):
        ask(ledger, at.as_integer_ratio()[0], at=at)

    assert ids(ledger.overdue(2.0)) == [1]
    assert ids(ledger.overdue(2.0)) == []
    assert ledger.in_flight == 2


def test_an_unreadable_answer_fails_its_request_or_else_all() -> None:
    ledger = Ledger()
    for id in (1, 2, 3):
        ask(ledger, id)

    assert ids(ledger.lost(2)) == [2]
    assert ids(ledger.lost(None)) == [1, 3]
    assert ledger.in_flight == 0


@given(st.lists(IDS, unique_by=repr), st.data())
def test_every_request_is_answered_or_told_of_the_end_and_never_both(
    asked: list[int | str], data: st.DataObject
) -> None:
    ledger = Ledger()
    for id in asked:
        ask(ledger, id)
    some = data.draw(st.lists(st.sampled_from(asked), unique=True) if asked else st.just([]))

    answered = [found for id in some if (found := answer(ledger, id)) is not None]
    told = ledger.server_gone()

    assert ids(answered) == some
    assert sorted(map(repr, ids(answered) + ids(told))) == sorted(map(repr, asked))
    assert ledger.server_gone() == []
