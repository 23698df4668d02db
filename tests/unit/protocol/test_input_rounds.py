"""What a modern server asks back, and the retry."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.input_rounds import MOST_ASKED, MOST_ROUNDS, Ask, Rounds

ALL = frozenset({"roots/list", "sampling/createMessage", "elicitation/form", "elicitation/url"})
ROOTS = {"method": "roots/list"}
LINE = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"n":1e2}}}'


def begin(rounds: Rounds, method: str = "tools/call", **result: Any) -> list[Ask]:
    return rounds.receive(method, jsonrpc.split(json.dumps(result).encode()))


def retry(rounds: Rounds, line: bytes = LINE) -> dict[str, Any]:
    request, body, params = rounds.retry(line, Raw(b'"new"'))
    found = json.loads(body)
    assert (found["id"], found["method"]) == ("new", request.method)
    assert json.loads(jsonrpc.encode(params)) == found["params"]
    assert isinstance(found["params"], dict)
    return found["params"]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": {}},
        {"inputRequests": []},
        {"inputRequests": None},
        {"inputRequests": {"a": None}},
        {"inputRequests": {"a": {"method": 5}}},
        {"inputRequests": {"a": {"method": "roots/list", "params": [1]}}},
        {"inputRequests": {"a": {"method": "ping"}}},
        {"inputRequests": {"a": {"method": "elicitation/form"}}},
        {"inputRequests": {"a": {"method": "elicitation/create", "params": {"mode": "voice"}}}},
        {"inputRequests": {str(n): ROOTS for n in range(MOST_ASKED + 1)}},
    ],
    ids=str,
)
def test_a_round_that_nobody_can_answer_is_an_error(result: dict[str, Any]) -> None:
    with pytest.raises(McpnatsdError):
        begin(Rounds(ALL), **result)


@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "own/method"])
def test_only_three_methods_may_ask_back(method: str) -> None:
    with pytest.raises(McpnatsdError, match=method):
        begin(Rounds(ALL), method, requestState="s")


def test_what_was_not_offered_is_not_asked() -> None:
    form = {"method": "elicitation/create", "params": {"message": "?"}}

    assert begin(Rounds(frozenset({"elicitation/form"})), inputRequests={"a": form})
    with pytest.raises(McpnatsdError, match="elicitation/form"):
        begin(Rounds(frozenset({"elicitation/url"})), inputRequests={"a": form})


def test_rounds_are_counted() -> None:
    rounds = Rounds(ALL)
    for _ in range(MOST_ROUNDS):
        begin(rounds, requestState="s")

    with pytest.raises(McpnatsdError, match=str(MOST_ROUNDS)):
        begin(rounds, requestState="s")


def test_a_retry_without_questions_has_only_the_state() -> None:
    rounds = Rounds(ALL)

    assert begin(rounds, requestState="s") == []
    assert retry(rounds) == {"name": "t", "arguments": {"n": 100}, "requestState": "s"}


def test_a_retry_without_state_has_none() -> None:
    rounds = Rounds(ALL)
    begin(rounds, requestState="old")
    begin(rounds, inputRequests={"a": ROOTS})
    rounds.answer("a", Raw(b'{"roots":[]}'))

    assert retry(rounds) == {
        "name": "t",
        "arguments": {"n": 100},
        "inputResponses": {"a": {"roots": []}},
    }


@pytest.mark.parametrize("state", [rb'"a\u0061\/"', b'{"b": 1e5}', b"0", b'""'])
def test_state_comes_back_byte_for_byte(state: bytes) -> None:
    rounds = Rounds(ALL)
    rounds.receive("prompts/get", {"requestState": Raw(state)})

    _, body, _ = rounds.retry(LINE, Raw(b"1"))

    assert b'"requestState":' + state in body
    assert b'"arguments":{"n":1e2}' in body


def test_an_older_answer_is_not_sent_again() -> None:
    stale = b'{"id":1,"method":"tools/call","params":{"requestState":"x","inputResponses":{"b":1}}}'
    rounds = Rounds(ALL)
    begin(rounds, inputRequests={"a": ROOTS})
    rounds.answer("a", Raw(b"{}"))

    assert retry(rounds, stale) == {"inputResponses": {"a": {}}}


@given(st.sets(st.text(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_last_answer_is_the_last_whatever_the_order(keys: set[str], random: Any) -> None:
    rounds = Rounds(ALL)
    asks = begin(rounds, inputRequests=dict.fromkeys(sorted(keys), ROOTS))
    random.shuffle(asks)

    last = [rounds.answer(ask.key, Raw(json.dumps({"k": ask.key}).encode())) for ask in asks]

    assert last == [False] * (len(keys) - 1) + [True]
    assert retry(rounds)["inputResponses"] == {key: {"k": key} for key in keys}


def test_a_question_is_a_request_with_its_own_params() -> None:
    params = {"messages": [], "maxTokens": 1, "own": None}
    asked = {"a": {"method": "sampling/createMessage", "params": params}, "b": ROOTS}
    sample, roots = begin(Rounds(ALL), inputRequests=asked)

    assert json.loads(sample.line("x-1")) == {
        "jsonrpc": "2.0",
        "id": "x-1",
        "method": "sampling/createMessage",
        "params": params,
    }
    assert json.loads(roots.line("x-2")) == {"jsonrpc": "2.0", "id": "x-2", "method": "roots/list"}


def test_a_url_gets_an_id_unless_it_has_one() -> None:
    url = {"mode": "url", "message": "m", "url": "https://e.org"}
    asked = {
        "a": {"method": "elicitation/create", "params": url},
        "b": {"method": "elicitation/create", "params": {**url, "elicitationId": "own"}},
    }
    ids = [
        json.loads(ask.line("x"))["params"]["elicitationId"]
        for ask in begin(Rounds(ALL), inputRequests=asked)
    ]

    assert ids == ["x", "own"]
