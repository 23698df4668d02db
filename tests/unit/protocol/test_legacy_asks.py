"""What a legacy server asks, and who answers."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import jsonrpc, to_legacy
from mcpnatsd.protocol.jsonrpc import Members, Request
from mcpnatsd.protocol.legacy_asks import MOST_ASKS, Asks, answers_in

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
ALL = {"roots": {}, "sampling": {}, "elicitation": {}}


def asks(capabilities: dict[str, Any] | None = None) -> Asks:
    given = ALL if capabilities is None else capabilities
    return Asks(to_legacy.declared({CAPABILITIES: Raw(json.dumps(given).encode())}))


def request(method: str, id: object = 1, **params: Any) -> Request:
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    message = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(message, Request)
    return message


def own(one: Asks, owner: int) -> None:
    for ask in one.unowned:
        ask.owner = owner


def code(line: bytes | None) -> int:
    assert line is not None
    return int(json.loads(line)["error"]["code"])


@pytest.mark.parametrize(
    ("capabilities", "method", "params", "expected"),
    [
        ({}, "roots/list", {}, -32601),
        (ALL, "com.example/x", {}, -32601),
        (ALL, "elicitation/create", {"mode": "url"}, -32602),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"message": "x"}, -32602),
        (ALL, "sampling/createMessage", {"tools": []}, -32602),
    ],
    ids=str,
)
def test_what_the_client_did_not_declare_is_refused_at_once(
    capabilities: dict[str, Any], method: str, params: dict[str, Any], expected: int
) -> None:
    one = asks(capabilities)

    assert code(one.receive(request(method, **params), 0.0)) == expected
    assert len(one) == 0


def test_a_ping_is_answered() -> None:
    line = asks({}).receive(request("ping", id="p"), 0.0)

    assert line is not None
    assert json.loads(line) == {"jsonrpc": "2.0", "id": "p", "result": {}}


def test_only_so_many_wait() -> None:
    one = asks()
    for id in range(MOST_ASKS):
        assert one.receive(request("roots/list", id), 0.0) is None

    assert code(one.receive(request("roots/list", "late"), 0.0)) == -32603
    assert len(one) == MOST_ASKS


def test_a_round_holds_what_a_modern_client_reads() -> None:
    one = asks()
    meta = {"progressToken": 1, "own": 2}
    one.receive(request("elicitation/create", message="m", task={}, _meta=meta), 0.0)
    one.receive(request("roots/list", 2, _meta={"progressToken": 1}), 0.0)

    own(one, 1)
    wanted = json.loads(jsonrpc.encode(one.next_round(1)))
    elicitation = {"method": "elicitation/create", "params": {"message": "m", "_meta": {"own": 2}}}
    assert wanted == {"1": elicitation, "2": {"method": "roots/list"}}


def test_answers_go_out_under_the_servers_ids_once() -> None:
    one = asks()
    one.receive(request("roots/list", "a"), 0.0)
    one.receive(request("roots/list", 7), 0.0)
    own(one, 1)
    one.next_round(1)
    one.receive(request("roots/list", "untold"), 0.0)
    own(one, 1)
    answers = {key: Raw(b'{"roots":[]}') for key in ("1", "2", "3", "other")}

    assert [json.loads(line)["id"] for line in one.answer(1, answers)] == ["a", 7]
    assert one.answer(1, answers) == []
    assert len(one) == 1


def test_a_call_tells_answers_and_refuses_its_own_only() -> None:
    one = asks()
    for id in (1, 2):
        one.receive(request("elicitation/create", id, message="m"), 0.0)
        own(one, id)
        assert list(one.next_round(id)) == [str(id)]
    answers = {key: Raw(b"{}") for key in ("1", "2")}

    assert [json.loads(line)["id"] for line in one.answer(2, answers)] == [2]
    assert (one.of(1), one.of(2), one.of(None)) == (True, False, False)
    assert one.refuse(2, "why") == one.refuse(None, "why") == []
    assert [json.loads(line)["id"] for line in one.refuse(1, "why")] == [1]


def test_the_first_roots_of_a_session_teach_nothing() -> None:
    one = asks()
    one.receive(request("elicitation/create", 1), 0.0)
    for id in (2, 3):
        one.receive(request("roots/list", id), 0.0)

    assert [ask.teaches for ask in one.unowned] == [True, False, True]


def test_what_the_server_withdraws_is_not_asked() -> None:
    one = asks()
    one.receive(request("roots/list", "a"), 0.0)
    one.withdrawn("b")
    assert len(one) == 1
    one.withdrawn("a")
    assert len(one) == 0


def test_what_nobody_answers_is_refused_so_that_the_server_goes_on() -> None:
    one = asks()
    one.receive(request("elicitation/create", 1, message="m"), 0.0)
    one.receive(request("roots/list", 2), 5.0)
    assert one.refuse(None, "why", before=0.0) == []

    (elicitation,) = one.refuse(None, "why", before=5.0)
    assert json.loads(elicitation)["result"] == {"action": "cancel"}
    (roots,) = one.refuse(None, "why")
    assert json.loads(roots)["error"] == {"code": -32603, "message": "why"}


@pytest.mark.parametrize("answers", [b"[]", b"null", b'{"1":null}', b'{"1":[]}', b'"x"'])
def test_answers_must_be_objects(answers: bytes) -> None:
    with pytest.raises(Reported):
        answers_in({"inputResponses": Raw(answers)})


def test_no_answers_are_none() -> None:
    nothing: Members = {}
    assert answers_in(nothing) == {}
    assert answers_in({"inputResponses": Raw(b"{}")}) == {}
