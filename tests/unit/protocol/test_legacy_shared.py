"""Many legacy clients on one process: whose answer is whose, and what nobody may have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.legacy_shared import SharedSession, ToClient, ToServer

URI = "file:///a"
CAPABILITIES = {"tools": {}, "logging": {}, "tasks": {}, "resources": {"subscribe": True}}


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def session(version: str = "2025-06-18") -> SharedSession[str]:
    result = {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": {"name": "s"}}
    answer = jsonrpc.decode(line(id=0, result=result))
    assert isinstance(answer, Response)
    return SharedSession(answer)


def bodies(deliveries: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return who gets what; the server is `server`."""
    return [
        ("server" if isinstance(one, ToServer) else one.client, json.loads(one.line))
        for one in deliveries
    ]


def send(shared: SharedSession[str], client: str, **members: Any) -> list[tuple[str, Any]]:
    return bodies(shared.receive_from_client(client, jsonrpc.decode(line(**members))))


def said(shared: SharedSession[str], *clients: str, **members: Any) -> list[tuple[str, Any]]:
    raw = line(**members)
    return bodies(shared.receive_from_server(jsonrpc.decode(raw), raw, clients))


def ask(shared: SharedSession[str], client: str, id: object, **params: Any) -> int:
    """Have a call passed on; return the id that the server sees."""
    ((to, body),) = send(shared, client, id=id, method="tools/call", params=params)
    assert to == "server"
    ours = body["id"]
    assert isinstance(ours, int)
    return ours


def subscribe(shared: SharedSession[str], client: str, verb: str = "subscribe") -> Any:
    """Return what one client's subscription brings about."""
    (found,) = send(shared, client, id=9, method=f"resources/{verb}", params={"uri": URI})
    return found


def test_two_clients_with_one_id_and_one_token_get_their_own_answers() -> None:
    shared = session()
    ann, bob = (ask(shared, who, 1, _meta={"progressToken": "t", "x": 1}) for who in ("ann", "bob"))
    progress = {"progressToken": bob, "progress": 1}

    assert said(shared, method="notifications/progress", params=progress) == [
        ("bob", {"jsonrpc": "2.0", "method": "notifications/progress",
                 "params": {"progressToken": "t", "progress": 1}})
    ]  # fmt: skip
    assert said(shared, id=bob, result={"n": 2}) == [
        ("bob", {"jsonrpc": "2.0", "id": 1, "result": {"n": 2}})
    ]
    assert said(shared, id=ann, result={"n": 1}) == [
        ("ann", {"jsonrpc": "2.0", "id": 1, "result": {"n": 1}})
    ]


def test_the_rest_of_a_request_arrives_as_it_was_sent() -> None:
    params = {"name": "t", "_meta": {"progressToken": "t", "theirs": [1]}}
    ((_, body),) = send(session(), "ann", id="x", method="tools/call", params=params, more={"a": 1})

    assert body == {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "more": {"a": 1},
        "params": {"name": "t", "_meta": {"progressToken": 1, "theirs": [1]}},
    }  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.integers(0, 3), st.just("1")))))
def test_each_request_gets_exactly_one_answer_under_its_own_id(
    asked: list[tuple[str, int | str]],
) -> None:
    shared = session()
    ours = [ask(shared, client, id) for client, id in asked]

    answers = [said(shared, id=id, result={}) for id in reversed(ours)]
    again = [said(shared, id=id, result={}) for id in ours]

    assert [(to, body["id"]) for ((to, body),) in reversed(answers)] == asked
    assert again == [[]] * len(ours)


@pytest.mark.parametrize("id", [7, "1", None, True, 1.0])
def test_an_answer_to_what_nobody_asked_goes_nowhere(id: object) -> None:
    shared = session()
    ask(shared, "ann", 5)

    assert said(shared, "ann", id=id, error={"code": 1, "message": "x"}) == []


def test_progress_without_a_token_of_ours_goes_nowhere() -> None:
    shared = session()
    ours = ask(shared, "ann", 1)
    for token in (ours, 99, "t"):
        params = {"progressToken": token, "progress": 1}
        assert said(shared, "ann", method="notifications/progress", params=params) == []


# The handshake.


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("2025-11-25", "2025-06-18"),
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", "2025-06-18"),
    ],
)
def test_a_clients_handshake_is_answered_from_ours(asked: str, agreed: str) -> None:
    ((to, body),) = send(
        session(), "ann", id=0, method="initialize", params={"protocolVersion": asked}
    )

    assert (to, body["id"]) == ("ann", 0)
    assert body["result"] == {
        "protocolVersion": agreed,
        "capabilities": {"tools": {}, "resources": {"subscribe": True}},
        "serverInfo": {"name": "s"},
    }


def test_pings_are_answered_here_in_both_directions() -> None:
    shared = session()

    pong = {"jsonrpc": "2.0", "id": "p", "result": {}}
    assert send(shared, "ann", id="p", method="ping") == [("ann", pong)]
    assert said(shared, "ann", id="p", method="ping") == [("server", pong)]


@pytest.mark.parametrize("method", ["logging/setLevel", "tasks/get", "tasks/list"])
def test_what_a_shared_process_cannot_keep_apart_is_refused(method: str) -> None:
    ((to, body),) = send(session(), "ann", id=3, method=method, params={})

    assert (to, body["id"], body["error"]["code"]) == ("ann", 3, -32601)


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", "elicitation/create"])
def test_a_request_of_the_server_is_nobodys_and_refused(method: str) -> None:
    ((to, body),) = said(session(), "ann", "bob", id="s1", method=method, params={})

    assert (to, body["id"], body["error"]["code"]) == ("server", "s1", -32601)


def test_the_other_notifications_of_a_client_do_not_reach_the_server() -> None:
    shared = session()

    assert send(shared, "ann", method="notifications/initialized") == []
    assert send(shared, "ann", method="notifications/roots/list_changed") == []
    assert send(shared, "ann", id=1, result={}) == []


def test_a_changed_list_concerns_everybody_and_a_log_message_nobody() -> None:
    shared = session()

    changed = said(shared, "ann", "bob", method="notifications/tools/list_changed")
    logged = said(shared, "ann", "bob", method="notifications/message", params={"data": "x"})

    assert [to for to, _ in changed] == ["ann", "bob"]
    assert logged == []


# Cancelling.


def test_a_cancel_reaches_the_server_under_our_id() -> None:
    shared = session()
    ask(shared, "ann", 1)
    ours = ask(shared, "bob", 1)

    ((to, body),) = send(
        shared, "bob", method="notifications/cancelled", params={"requestId": 1, "reason": "r"}
    )

    assert (to, body["params"]) == ("server", {"requestId": ours})
    assert said(shared, id=ours, result={}) == []


@pytest.mark.parametrize("id", [2, "1", None])
def test_a_cancel_of_what_is_not_in_flight_stops_here(id: object) -> None:
    shared = session()
    ask(shared, "ann", 1)

    assert send(shared, "ann", method="notifications/cancelled", params={"requestId": id}) == []
    assert send(shared, "bob", method="notifications/cancelled", params={"requestId": 1}) == []


def test_what_a_client_leaves_is_cancelled_and_its_subscriptions_end() -> None:
    shared = session()
    ours = ask(shared, "ann", 1)
    other = ask(shared, "bob", 1)
    subscribe(shared, "ann")

    gone = bodies(shared.client_gone("ann"))

    assert [(to, body["method"]) for to, body in gone] == [
        ("server", "notifications/cancelled"),
        ("server", "notifications/cancelled"),
        ("server", "resources/unsubscribe"),
    ]
    assert gone[0][1]["params"] == {"requestId": ours}
    assert shared.client_gone("ann") == []
    assert [to for to, _ in said(shared, id=other, result={})] == ["bob"]


def test_an_unreadable_answer_is_known_by_our_id() -> None:
    shared = session()
    ours = ask(shared, "ann", "x")

    assert shared.lost(ours) == ("ann", "x")
    assert shared.lost(ours) is None
    assert shared.lost(None) is None


# Subscriptions.


def test_only_the_first_subscription_and_the_last_end_reach_the_server() -> None:
    shared = session()

    seen = [
        subscribe(shared, who, verb)[0]
        for who, verb in [
            ("ann", "subscribe"),
            ("bob", "subscribe"),
            ("ann", "unsubscribe"),
            ("bob", "unsubscribe"),
            ("bob", "unsubscribe"),
        ]
    ]

    assert seen == ["server", "bob", "ann", "server", "server"]


def test_an_update_goes_to_those_who_subscribed() -> None:
    shared = session()
    subscribe(shared, "ann")
    params = {"uri": URI}

    updated = said(shared, "ann", "bob", method="notifications/resources/updated", params=params)

    assert [to for to, _ in updated] == ["ann"]
    other = said(shared, "ann", method="notifications/resources/updated", params={"uri": "b"})
    assert other == []


def test_a_subscription_that_the_server_refused_is_asked_for_again() -> None:
    shared = session()
    _, body = subscribe(shared, "ann")
    said(shared, id=body["id"], error={"code": -32602, "message": "no"})

    assert subscribe(shared, "bob")[0] == "server"


def test_a_departed_client_leaves_the_subscription_to_the_others() -> None:
    shared = session()
    subscribe(shared, "ann")
    subscribe(shared, "bob")

    assert [body["method"] for _, body in bodies(shared.client_gone("ann"))] == [
        "notifications/cancelled"  # her request that the server has not answered
    ]
    (to, body), *_ = bodies(shared.client_gone("bob"))
    assert (to, body["method"]) == ("server", "resources/unsubscribe")


def test_a_delivery_says_which_request_it_settles() -> None:
    shared = session()
    ours = ask(shared, "ann", "x")
    raw = line(id=ours, result={})

    (answer,) = shared.receive_from_server(jsonrpc.decode(raw), raw, [])
    (pong,) = shared.receive_from_client("ann", jsonrpc.decode(line(id=0, method="ping")))

    assert isinstance(answer, ToClient)
    assert isinstance(pong, ToClient)
    assert (answer.settles, pong.settles) == ("x", 0)
