"""What a new instance is told of a session that another one had."""

import json
from typing import Any

import pytest

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Notification, Request
from mcpnatsd.protocol.replay import REPLAY_ID, Replay

INITIALIZED = b'{"method":"notifications/initialized",  "jsonrpc":"2.0"}'


def replay_of(*messages: dict[str, Any] | bytes) -> Replay:
    replay = Replay()
    for one in messages:
        raw = one if isinstance(one, bytes) else json.dumps({"jsonrpc": "2.0", **one}).encode()
        message = jsonrpc.decode(raw)
        assert isinstance(message, Request | Notification)
        replay.observe(message, raw)
    return replay


def asked(id: object, method: str, **params: Any) -> dict[str, Any]:
    return {"id": id, "method": method, "params": params}


def rest(replay: Replay) -> list[tuple[Any, str]]:
    return [(json.loads(line), tail) for line, tail in replay.rest()]


def test_the_handshake_is_repeated_under_an_id_of_ours() -> None:
    params = {"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}}
    replay = replay_of(asked(0, "initialize", **params), INITIALIZED)

    assert json.loads(replay.initialize()) == {
        "jsonrpc": "2.0", "id": REPLAY_ID, "method": "initialize", "params": params,
    }  # fmt: skip
    assert replay.rest() == [(INITIALIZED, "notifications.initialized")]


def test_there_is_nothing_to_replay_before_a_handshake() -> None:
    replay = replay_of(asked(1, "tools/list"))

    with pytest.raises(LocalProtocolError):
        replay.initialize()
    assert replay.rest() == []


def test_a_client_that_never_said_initialized_is_not_said_to_have() -> None:
    assert replay_of(asked(0, "initialize")).rest() == []


def test_the_last_log_level_counts() -> None:
    replay = replay_of(
        asked(1, "logging/setLevel", level="debug"), asked(2, "logging/setLevel", level="error")
    )

    ((body, tail),) = rest(replay)
    assert body["params"] == {"level": "error"}
    assert tail == "logging.setLevel"


def test_subscriptions_that_ended_are_not_renewed() -> None:
    replay = replay_of(
        INITIALIZED,
        asked(1, "resources/subscribe", uri="a"),
        asked(2, "resources/subscribe", uri="b"),
        asked(3, "resources/subscribe", uri="a"),
        asked(4, "resources/unsubscribe", uri="b"),
        asked(5, "resources/unsubscribe", uri="never"),
        asked(6, "resources/subscribe"),
        asked(7, "tools/call", name="t"),
    )

    first, *others = rest(replay)
    assert first[1] == "notifications.initialized"
    assert [(body["params"]["uri"], tail) for body, tail in others] == [
        ("a", "resources.subscribe")
    ]


def test_every_replayed_request_has_an_id_of_its_own_that_is_ours() -> None:
    replay = replay_of(
        asked(1, "initialize"),
        asked(1, "logging/setLevel", level="debug"),
        *(asked(1, "resources/subscribe", uri=uri) for uri in "abc"),
    )

    ids = [json.loads(replay.initialize())["id"], *(body["id"] for body, _ in rest(replay))]
    assert len(set(ids)) == len(ids) == 5
    assert all(map(Replay.is_ours, ids))


@pytest.mark.parametrize("key", [0, 7, "7", "", "mcpnatsd", None])
def test_a_clients_own_id_is_not_ours(key: int | str | None) -> None:
    assert not Replay.is_ours(key)


def test_a_replay_can_be_had_twice() -> None:
    replay = replay_of(
        asked(0, "initialize"), INITIALIZED, asked(1, "resources/subscribe", uri="a")
    )

    assert replay.initialize() == replay.initialize()
    assert replay.rest() == replay.rest()
