"""Subscriptions to a legacy server: what is honoured, and who is told."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Notification
from mcpnatsd.protocol.legacy_listens import MOST_HELD, MOST_URIS, Listens, Told

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
OFFERS = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}}


def members(values: dict[str, Any]) -> Members:
    return {name: Raw(json.dumps(value).encode()) for name, value in values.items()}


def listen(
    listens: Listens[str], who: str, offers: dict[str, Any] | None = None, **wanted: Any
) -> tuple[Told[str], list[str]]:
    given = members(OFFERS if offers is None else offers)
    return listens.open(who, Raw(f'"{who}"'.encode()), members({"notifications": wanted}), given)


def note(method: str, **params: Any) -> tuple[Notification, Members]:
    body = {"jsonrpc": "2.0", "method": method, "params": params}
    message = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(message, Notification)
    return message, jsonrpc.params_of(message.members)


def updated(uri: str) -> tuple[Notification, Members]:
    return note("notifications/resources/updated", uri=uri)


def read(told: Told[str]) -> list[tuple[str, str, Any]]:
    """Return who is told what, and check that it carries the id of that subscription."""
    found = []
    for who, line in told:
        message = json.loads(line)
        assert message["params"].pop("_meta") == {SUBSCRIPTION: who}
        method = message["method"].removeprefix("notifications/")
        found.append((who, method, message["params"].get("notifications", message["params"])))
    return found


@pytest.mark.parametrize(
    "params",
    [{}, {"notifications": []}, {"notifications": {"resourceSubscriptions": [1]}},
     {"notifications": {"resourceSubscriptions": ["a:1"] * (MOST_URIS + 1)}}],
    ids=lambda params: str(params)[:40],
)  # fmt: skip
def test_a_malformed_filter_is_refused_and_leaves_nothing(params: dict[str, Any]) -> None:
    listens: Listens[str] = Listens()
    with pytest.raises(Reported):
        listens.open("ann", Raw(b"1"), members(params), members(OFFERS))

    assert len(listens) == 0


def test_what_the_server_does_not_offer_is_not_honoured() -> None:
    told, fresh = listen(
        Listens(), "ann", toolsListChanged=True, promptsListChanged=True, resourcesListChanged=True
    )

    assert read(told) == [("ann", "subscriptions/acknowledged", {"toolsListChanged": True})]
    assert fresh == []


def test_a_server_without_subscriptions_is_asked_for_none() -> None:
    told, fresh = listen(Listens(), "ann", {}, resourceSubscriptions=["a:1"])

    assert read(told) == [("ann", "subscriptions/acknowledged", {"resourceSubscriptions": []})]
    assert fresh == []


def test_the_acknowledgement_waits_for_the_server_and_comes_first() -> None:
    listens: Listens[str] = Listens()
    told, fresh = listen(listens, "ann", resourceSubscriptions=["a:1", "b:2"])
    assert (told, fresh) == ([], ["a:1", "b:2"])
    assert listens.subscribed("a:1", yes=True) == []
    for _ in range(MOST_HELD + 1):
        assert listens.receive(*updated("a:1")) == []

    out = read(listens.subscribed("b:2", yes=False))
    assert out[0] == ("ann", "subscriptions/acknowledged", {"resourceSubscriptions": ["a:1"]})
    assert out[1:] == [("ann", "resources/updated", {"uri": "a:1"})] * MOST_HELD
    assert listens.receive(*updated("b:2")) == []


def test_a_uri_is_asked_for_once_and_given_up_with_its_last_listener() -> None:
    listens: Listens[str] = Listens()
    assert listen(listens, "ann", resourceSubscriptions=["a:1"])[1] == ["a:1"]
    assert listen(listens, "bob", resourceSubscriptions=["a:1"]) == ([], [])
    assert len(listens.subscribed("a:1", yes=True)) == 2
    told, fresh = listen(listens, "eve", resourceSubscriptions=["a:1"])
    assert (len(told), fresh) == (1, [])

    assert listens.close("ann") == []
    assert listens.close("bob") == []
    assert listens.uris == ["a:1"]
    assert listens.close("eve") == ["a:1"]
    assert listens.close("eve") == []
    assert listens.uris == []


def test_each_is_told_what_it_asked_for() -> None:
    listens: Listens[str] = Listens()
    listen(listens, "ann", toolsListChanged=True)
    listen(listens, "bob", resourceSubscriptions=["a:1"])
    listens.subscribed("a:1", yes=True)

    changed = note("notifications/tools/list_changed")
    assert read(listens.receive(*changed)) == [("ann", "tools/list_changed", {})]
    assert read(listens.receive(*updated("a:1"))) == [("bob", "resources/updated", {"uri": "a:1"})]
    assert listens.receive(*updated("c:3")) == []
    assert listens.receive(*note("notifications/x")) == []


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("file:///d", True),
        ("file:///d/x/y", True),
        ("file:///d?q=1", True),
        ("file:///d#part", True),
        ("file:///dx", False),
        ("file:///", False),
        ("other:///d/x", False),
        ("/" * 100_000, False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_update_within_a_resource_is_told_to_who_subscribed_to_it(uri: str, told: bool) -> None:  # noqa: FBT001
    """2025-11-25, schema: it "might be a sub-resource of the one […] actually subscribed to"."""
    listens: Listens[str] = Listens()
    listen(listens, "ann", resourceSubscriptions=["file:///d"])
    listen(listens, "bob", resourceSubscriptions=["file:///dd/"])
    for one in ("file:///d", "file:///dd/"):
        listens.subscribed(one, yes=True)

    expected = [("ann", "resources/updated", {"uri": uri})] if told else []
    assert read(listens.receive(*updated(uri))) == expected


def test_the_end_of_the_server_ends_all() -> None:
    listens: Listens[str] = Listens()
    listen(listens, "ann", toolsListChanged=True)
    listen(listens, "bob", resourceSubscriptions=["a:1"])

    over = [(who, bytes(id)) for who, id in listens.server_gone()]
    assert over == [("ann", b'"ann"'), ("bob", b'"bob"')]
    assert (len(listens), listens.uris) == (0, [])
    assert listens.subscribed("a:1", yes=True) == []
