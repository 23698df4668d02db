"""The multiplexer, driven by hand: no loop, no pipes, no clock."""

import json

import pytest

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc, multiplexer
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.multiplexer import (
    Answer,
    Delivery,
    Ended,
    Hint,
    Multiplexer,
    Note,
    Stray,
)

ANN = "ann"
BOB = "bob"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

Object = dict[str, object]


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def ask(
    mux: Multiplexer[str],
    caller: str,
    id: int | str,
    *,
    meta: Object | None = None,
    method: str = "tools/call",
) -> tuple[int, Object]:
    """Let a caller ask; return our id, and the message as the server gets it."""
    params: Object = {"name": "echo"} if meta is None else {"name": "echo", "_meta": meta}
    line = encoded({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    request = jsonrpc.decode(line)
    assert isinstance(request, Request)
    ours, sent = mux.open(caller, request, jsonrpc.params_of(request.members))
    return ours, json.loads(sent)


def meta_of(message: Object) -> Object:
    params = message["params"]
    assert isinstance(params, dict)
    meta = params["_meta"]
    assert isinstance(meta, dict)
    return meta


def answer(mux: Multiplexer[str], id: object, result: object = "ok") -> Delivery[str]:
    return mux.receive(encoded({"jsonrpc": "2.0", "id": id, "result": result}))


def note(mux: Multiplexer[str], method: str, params: object = None) -> Delivery[str]:
    message = {"jsonrpc": "2.0", "method": method}
    return mux.receive(encoded(message if params is None else message | {"params": params}))


def progress(mux: Multiplexer[str], token: object) -> Delivery[str]:
    return note(mux, eras.PROGRESS, {"progressToken": token, "progress": 0.5, "message": "half"})


def read(delivery: Delivery[str]) -> tuple[str, Object]:
    """Return who gets a message, and the message."""
    assert isinstance(delivery, Note | Answer | Ended)
    return delivery.caller, json.loads(delivery.line)


# WIRE.md, "Multiplexing": ids.


def test_two_clients_using_one_id_at_the_same_time_each_get_their_own_answer() -> None:
    """The opposite was a published vulnerability (CVE-2026-25536)."""
    mux = Multiplexer[str]()
    for_ann, _ = ask(mux, ANN, 1)
    for_bob, _ = ask(mux, BOB, 1)

    assert for_ann != for_bob
    assert read(answer(mux, for_bob, "b")) == (BOB, {"jsonrpc": "2.0", "id": 1, "result": "b"})
    assert read(answer(mux, for_ann, "a")) == (ANN, {"jsonrpc": "2.0", "id": 1, "result": "a"})
    assert mux.in_flight == 0


@pytest.mark.parametrize("id", [0, 7, "7", "", -1, 10**30, "\u2028", 'quo"te'])
def test_an_id_comes_back_as_it_was_with_its_type(id: int | str) -> None:
    mux = Multiplexer[str]()
    ours, sent = ask(mux, ANN, id)

    assert sent["id"] == ours
    _, message = read(answer(mux, ours))
    assert message["id"] == id
    assert type(message["id"]) is type(id)


def test_the_digit_and_the_number_are_two_requests_of_one_caller() -> None:
    mux = Multiplexer[str]()
    number, _ = ask(mux, ANN, 7)
    digit, _ = ask(mux, ANN, "7")

    assert read(answer(mux, digit))[1]["id"] == "7"
    assert read(answer(mux, number))[1]["id"] == 7


def test_an_id_of_ours_is_never_used_again() -> None:
    mux = Multiplexer[str]()
    used = [ask(mux, ANN, 1)[0] for _ in range(3)]
    mux.cancel(used[0])
    answer(mux, used[1])
    mux.server_gone()

    assert ask(mux, ANN, 1)[0] not in used


def test_an_error_is_an_answer() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, "x")
    error = {"code": -32601, "message": "no"}

    delivery = mux.receive(encoded({"error": error, "id": ours, "jsonrpc": "2.0"}))

    assert isinstance(delivery, Answer)
    assert delivery.response.is_error
    assert read(delivery) == (ANN, {"jsonrpc": "2.0", "id": "x", "error": error})


@pytest.mark.parametrize("id", [0, -1, 99, 10**30, "1", "x", ""])
def test_an_answer_that_nobody_asked_for_is_dropped(id: int | str) -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)

    assert isinstance(answer(mux, id), Stray)
    assert mux.in_flight == 1


@pytest.mark.parametrize("id", [None, 1.0, True])
def test_an_error_without_an_id_of_ours_is_dropped(id: object) -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)

    assert isinstance(mux.receive(encoded({"jsonrpc": "2.0", "id": id, "error": {}})), Stray)
    assert mux.in_flight == 1


@pytest.mark.parametrize("id", [None, 1.0, True, [1]])
def test_a_result_without_a_proper_id_is_the_servers_fault(id: object) -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)

    with pytest.raises(RemoteProtocolError):
        answer(mux, id)
    assert mux.in_flight == 1


def test_the_second_of_two_answers_is_dropped() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1)
    answer(mux, ours)

    assert answer(mux, ours) == Stray("answer nobody waits for")


@pytest.mark.parametrize("line", [b"", b"starting up...", b"[]", b'{"jsonrpc":"2.0"}', b"\xff"])
def test_a_banner_is_no_message(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Multiplexer[str]().receive(line)


def test_a_server_may_not_ask() -> None:
    """2026-07-28, Basic, Patterns: "Servers MUST NOT initiate JSON-RPC requests"."""
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)

    ping = mux.receive(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')

    assert isinstance(ping, Stray)
    assert mux.in_flight == 1


# Progress tokens.


@pytest.mark.parametrize("token", [0, 7, "7", "", "é", -1])
def test_a_progress_token_is_ours_there_and_theirs_here(token: int | str) -> None:
    mux = Multiplexer[str]()
    ours, sent = ask(mux, ANN, 1, meta={"progressToken": token, "x/y": [1]})

    assert meta_of(sent) == {"progressToken": ours, "x/y": [1]}
    caller, message = read(progress(mux, ours))
    assert caller == ANN
    assert message["params"] == {"progressToken": token, "progress": 0.5, "message": "half"}


def test_two_callers_may_use_the_same_progress_token() -> None:
    mux = Multiplexer[str]()
    for_ann, _ = ask(mux, ANN, 1, meta={"progressToken": "t"})
    for_bob, _ = ask(mux, BOB, 1, meta={"progressToken": "t"})

    assert read(progress(mux, for_bob))[0] == BOB
    assert read(progress(mux, for_ann))[0] == ANN


def test_a_request_without_a_token_gets_no_progress() -> None:
    mux = Multiplexer[str]()
    ours, sent = ask(mux, ANN, 1, meta={"a": 1})

    assert meta_of(sent) == {"a": 1}
    assert isinstance(progress(mux, ours), Stray)


@pytest.mark.parametrize("token", [99, "1", None, 1.0, True, [1], {}])
def test_progress_under_a_token_of_nobody_is_dropped(token: object) -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1, meta={"progressToken": "t"})

    assert isinstance(progress(mux, token), Stray)


def test_progress_after_the_answer_is_dropped() -> None:
    """2026-07-28, Basic, Patterns, Progress: it stops at completion."""
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1, meta={"progressToken": "t"})
    answer(mux, ours)

    assert isinstance(progress(mux, ours), Stray)


def test_a_caller_cannot_pick_the_token_of_another_ones_request() -> None:
    mux = Multiplexer[str]()
    for_ann, _ = ask(mux, ANN, 1, meta={"progressToken": "t"})
    for_bob, sent = ask(mux, BOB, 1, meta={"progressToken": for_ann})

    assert meta_of(sent)["progressToken"] == for_bob
    assert read(progress(mux, for_bob))[0] == BOB


@pytest.mark.parametrize("meta", [None, "x", [1], 7])
def test_a_meta_that_is_no_object_is_the_servers_to_refuse(meta: object) -> None:
    mux = Multiplexer[str]()
    line = encoded({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"_meta": meta}})
    request = jsonrpc.decode(line)
    assert isinstance(request, Request)

    ours, sent = mux.open(ANN, request, jsonrpc.params_of(request.members))

    assert json.loads(sent) == json.loads(line) | {"id": ours}


# Cancellation. 2026-07-28, Basic, Patterns, Cancellation: a cancelled request gets no answer.


def test_a_cancel_names_the_id_that_the_server_knows() -> None:
    mux = Multiplexer[str]()
    ask(mux, BOB, 7)
    ours, _ = ask(mux, ANN, 7)

    line = mux.cancel(ours, "changed her mind")

    assert line is not None
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": ours, "reason": "changed her mind"},
    }
    assert mux.in_flight == 1


def test_a_late_answer_is_told_from_one_that_nobody_asked_for() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1)
    mux.cancel(ours)

    assert answer(mux, ours) == Stray("late answer to a cancelled request")
    assert answer(mux, ours) == Stray("answer nobody waits for")


def test_a_cancel_that_crossed_its_answer_goes_nowhere() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1)
    answer(mux, ours)

    assert mux.cancel(ours) is None
    assert mux.cancel(99) is None


def test_cancelling_twice_tells_the_server_once() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1)

    assert mux.cancel(ours) is not None
    assert mux.cancel(ours) is None


def test_cancelled_requests_are_remembered_up_to_a_bound() -> None:
    mux = Multiplexer[str]()
    for _ in range(multiplexer.TOMBSTONES + 10):
        mux.cancel(ask(mux, ANN, 1)[0])

    assert answer(mux, 1) == Stray("answer nobody waits for")
    assert answer(mux, 11) == Stray("late answer to a cancelled request")
    assert len(mux._tombstones) < multiplexer.TOMBSTONES


def test_a_server_cannot_cancel_a_call() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, 1)

    for named in (ours, str(ours), 99, None, True):
        assert isinstance(note(mux, eras.CANCELLED, {"requestId": named}), Stray)
    assert mux.in_flight == 1


# Subscriptions. 2026-07-28, Basic, Patterns, Subscriptions: the id is the listen request's.


@pytest.mark.parametrize("id", ["listen-1", 0, 7])
def test_a_subscriptions_messages_carry_the_id_its_caller_chose(id: int | str) -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, id, method=eras.LISTEN)
    ask(mux, BOB, id, method=eras.LISTEN)
    meta = {SUBSCRIPTION: ours, "k": "v"}

    changed = note(mux, "notifications/resources/updated", {"_meta": meta, "uri": "file:///a"})

    caller, message = read(changed)
    assert isinstance(changed, Note)
    assert caller == ANN
    assert message["params"] == {"_meta": {SUBSCRIPTION: id, "k": "v"}, "uri": "file:///a"}


def test_a_subscriptions_result_carries_it_too() -> None:
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, "listen-1", method=eras.LISTEN)

    over = answer(mux, ours, {"resultType": "complete", "_meta": {SUBSCRIPTION: ours}})

    assert isinstance(over, Answer)
    assert read(over)[1] == {
        "jsonrpc": "2.0",
        "id": "listen-1",
        "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: "listen-1"}},
    }


def test_a_subscription_torn_down_ends_once_whatever_the_server_adds() -> None:
    """The specification's pages overlap: a server may send the cancel, the result, or both."""
    mux = Multiplexer[str]()
    ours, _ = ask(mux, ANN, "listen-1", method=eras.LISTEN)

    ended = note(mux, eras.CANCELLED, {"requestId": ours, "reason": "stopping"})

    assert isinstance(ended, Ended)
    assert read(ended)[1]["params"] == {"requestId": "listen-1", "reason": "stopping"}
    assert isinstance(answer(mux, ours), Stray)
    assert isinstance(note(mux, eras.CANCELLED, {"requestId": ours}), Stray)
    assert (mux.in_flight, mux.busy) == (0, 0)


@pytest.mark.parametrize("subscription", [99, "1", None, 1.0, [1]])
def test_an_event_of_no_subscription_is_dropped(subscription: object) -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1, method=eras.LISTEN)

    event = note(mux, "notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: subscription}})

    assert not isinstance(event, Note)


def test_a_subscription_is_in_flight_but_keeps_nobody_busy() -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1, method=eras.LISTEN)
    call, _ = ask(mux, BOB, 1)

    assert (mux.in_flight, mux.busy) == (2, 1)
    assert mux.calls() == [(call, BOB)]


# What names no request.


@pytest.mark.parametrize("what", ["tools", "prompts", "resources"])
def test_a_list_that_changed_is_a_hint(what: str) -> None:
    method = f"notifications/{what}/list_changed"

    assert note(Multiplexer[str](), method) == Hint(method)


def test_a_shared_server_is_not_asked_for_logs() -> None:
    """WIRE.md, "Multiplexing": on stdio a log message names no request."""
    mux = Multiplexer[str]()

    _, sent = ask(mux, ANN, 1, meta={LOG_LEVEL: "debug", "progressToken": 5, "k": 1})

    assert meta_of(sent) == {"progressToken": 1, "k": 1}


def test_a_log_of_a_shared_server_is_nobodys() -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)

    assert isinstance(note(mux, eras.MESSAGE, {"level": "info", "data": "secret"}), Stray)


def test_a_server_of_ones_own_may_log() -> None:
    mux = Multiplexer[str](shared=False)
    _, sent = ask(mux, ANN, 1, meta={LOG_LEVEL: "debug"})

    logged = note(mux, eras.MESSAGE, {"level": "info", "data": "x"})

    assert meta_of(sent) == {LOG_LEVEL: "debug"}
    assert read(logged) == (
        ANN,
        {
            "jsonrpc": "2.0",
            "method": "notifications/message",
            "params": {"level": "info", "data": "x"},
        },
    )


def test_a_log_while_nobody_asks_is_nobodys() -> None:
    mux = Multiplexer[str](shared=False)

    assert isinstance(note(mux, eras.MESSAGE, {"level": "info"}), Stray)


@pytest.mark.parametrize("params", [[], "x", 7])
def test_a_notification_with_odd_params_is_the_servers_fault(params: object) -> None:
    with pytest.raises(RemoteProtocolError):
        note(Multiplexer[str](), eras.PROGRESS, params)


def test_when_the_server_dies_everyone_who_waits_is_named_once() -> None:
    mux = Multiplexer[str]()
    ask(mux, ANN, 1)
    ask(mux, BOB, 1, method=eras.LISTEN)
    answer(mux, ask(mux, BOB, 2)[0])

    assert mux.server_gone() == [ANN, BOB]
    assert mux.server_gone() == []
    assert (mux.in_flight, mux.busy) == (0, 0)
