"""One subscription over several servers."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpnatsd.protocol import aggregate_listens as listens
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.aggregate_listens import Wanted
from mcpnatsd.protocol.jsonrpc import Members

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def members(value: dict[str, Any]) -> Members:
    return jsonrpc.split(json.dumps(value).encode())


def read(notifications: object) -> Wanted:
    return listens.wanted(members({"notifications": notifications}))


@pytest.mark.parametrize(
    "broken",
    [None, 7, [], {"toolsListChanged": "yes"}, {"resourceSubscriptions": [7]}, {"taskIds": ["a"]}],
)
def test_a_filter_that_asks_for_nothing_we_know_wants_nothing(broken: object) -> None:
    assert not read(broken)


def test_a_filter_is_read_and_written() -> None:
    asked = {
        "toolsListChanged": True,
        "promptsListChanged": False,
        "resourceSubscriptions": ["a:b"],
    }
    found = read({**asked, "resourcesListChanged": True})

    assert found == Wanted(frozenset({"tools", "resources"}), ("a:b",))
    assert found.as_filter() == {
        "toolsListChanged": True,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["a:b"],
    }


def test_a_server_is_asked_for_no_more_than_it_offers() -> None:
    asked = Wanted(frozenset({"tools", "prompts"}), ("a:b", "a:c"))
    offers = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}}

    assert asked.offered(members(offers), ["a:b"]) == Wanted(frozenset({"tools"}), ("a:b",))
    assert not asked.offered(members({"tools": {}, "resources": {"listChanged": True}}), ["a:b"])
    assert not asked.offered({}, ["a:b"])


@pytest.mark.parametrize("id", [0, "listen-1"])
def test_what_the_client_is_told_bears_the_id_of_its_own_request(id: int | str) -> None:
    raw = Raw(json.dumps(id).encode())
    lines = [
        listens.acknowledgement(raw, Wanted(frozenset({"tools"}), ("a:b",))),
        listens.changed(raw, "tools"),
        listens.updated(raw, "a:b"),
    ]
    notes = [json.loads(line) for line in lines]

    assert [note["params"].pop("_meta") for note in notes] == [{SUBSCRIPTION: id}] * 3
    assert [(note["method"], note["params"]) for note in notes] == [
        (
            "notifications/subscriptions/acknowledged",
            {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}},
        ),
        ("notifications/tools/list_changed", {}),
        ("notifications/resources/updated", {"uri": "a:b"}),
    ]
