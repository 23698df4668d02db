"""A legacy client's messages as a modern server takes them, and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc, to_modern
from mcpnatsd.protocol.jsonrpc import Members, Request

P = "io.modelcontextprotocol/"
INFO = {"name": "c", "version": "1"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def request(method: str = "tools/call", /, **params: Any) -> Request:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    found = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(found, Request)
    return found


def initialize(version: object = "2025-06-18", **capabilities: Any) -> Request:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": INFO}
    return request("initialize", **params)


def members(value: Any) -> Members:
    return jsonrpc.split(json.dumps(value).encode())


def plain(value: object) -> Any:
    return json.loads(jsonrpc.encode(value))


def test_a_client_that_gave_no_name_has_none_in_a_request_either() -> None:
    lies = request(_meta={"io.modelcontextprotocol/clientInfo": {"name": "root", "version": "1"}})

    assert "io.modelcontextprotocol/clientInfo" not in to_modern.stamped(lies, {})[2]


def test_params_that_are_no_object_are_refused() -> None:
    odd = Request(Raw(b"1"), "initialize", {"params": Raw(b"[]")})

    with pytest.raises(RemoteProtocolError):
        to_modern.introduced(odd)
    with pytest.raises(RemoteProtocolError):
        to_modern.stamped(odd, {})


@pytest.mark.parametrize(
    ("requested", "agreed"),
    [("2024-11-05", "2024-11-05"), ("2026-07-28", "2025-11-25"), (5, "2025-11-25")],
)
def test_a_client_keeps_a_revision_of_its_era(requested: object, agreed: str) -> None:
    assert to_modern.introduced(initialize(requested)).revision == agreed


def test_what_a_client_offers_is_said_as_the_modern_era_says_it() -> None:
    offered = {
        "roots": {"listChanged": True},
        "sampling": {"tools": {}, "context": {}},
        "elicitation": {"url": {}},
        "experimental": {"x": {"y": 1}},
        "tasks": {"list": {}},
        "extensions": {f"{P}ui": {"z": 1}, f"{P}tasks": {}},
        "com.example/own": {"a": 1},
        "odd": None,
    }

    found = to_modern.introduced(initialize(**offered))

    assert plain(found.stamp) == {
        f"{P}protocolVersion": "2026-07-28",
        f"{P}clientInfo": INFO,
        f"{P}clientCapabilities": {
            "roots": {},
            "sampling": {"tools": {}, "context": {}},
            "elicitation": {"url": {}},
            "experimental": {"x": {"y": 1}},
            "extensions": {f"{P}ui": {"z": 1}},
            "com.example/own": {"a": 1},
        },
    }
    assert found.offers == {"roots/list", "sampling/createMessage", "elicitation/url"}


@pytest.mark.parametrize(
    ("offered", "offers"),
    [
        ({}, set()),
        ({"elicitation": {}}, {"elicitation/form"}),
        ({"elicitation": {"form": {}, "url": {}}}, {"elicitation/form", "elicitation/url"}),
        ({"sampling": None, "roots": True, "elicitation": []}, set()),
    ],
)
def test_only_what_was_offered_may_be_asked(offered: dict[str, Any], offers: set[str]) -> None:
    assert to_modern.introduced(initialize(**offered)).offers == offers


def test_a_client_without_a_name_has_none() -> None:
    found = to_modern.introduced(request("initialize", clientInfo="me"))

    assert f"{P}clientInfo" not in found.stamp


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_a_stamp_changes_nothing_but_meta(params: dict[str, Any], own: dict[str, Any]) -> None:
    params.pop("_meta", None)
    stamp = to_modern.introduced(initialize()).stamp
    asked = request("x/y", **params, _meta=own)

    line, split, meta = to_modern.stamped(asked, stamp)

    kept = {key: value for key, value in own.items() if key != f"{P}logLevel"}
    body = json.loads(line)
    assert body.pop("params") == {**params, "_meta": {**kept, **plain(stamp)}}
    assert body == {"jsonrpc": "2.0", "id": 1, "method": "x/y"}
    assert plain(split)["_meta"] == plain(meta)


def test_a_stamp_takes_the_place_of_reserved_keys() -> None:
    lies = {f"{P}protocolVersion": "1", f"{P}logLevel": "debug", "progressToken": 0}
    line, _, _ = to_modern.stamped(request(_meta=lies), to_modern.introduced(initialize()).stamp)

    meta = json.loads(line)["params"]["_meta"]

    assert meta[f"{P}protocolVersion"] == "2026-07-28"
    assert f"{P}logLevel" not in meta
    assert meta["progressToken"] == 0


def test_bytes_that_nobody_needs_to_see_stay() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"a":1e400, "b":"\\u00e4"}}'
    asked = jsonrpc.decode(raw)
    assert isinstance(asked, Request)

    line, _, _ = to_modern.stamped(asked, {})

    assert b'"a":1e400' in line
    assert b'"b":"\\u00e4"' in line


def welcome(*, logging: bool = False, **result: Any) -> Any:
    client = to_modern.introduced(initialize())
    return plain(to_modern.welcome(client, members(result), "srv", logging=logging))


def test_a_welcome_offers_what_a_legacy_client_can_use() -> None:
    offered = {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True},
        "prompts": {},
        "completions": {},
        "logging": {},
        "experimental": {"x": {}},
        "extensions": {"y/z": {}},
        "odd": {},
    }
    result = {"capabilities": offered, "instructions": "I", "ttlMs": 5}
    names = {"tools", "resources", "prompts", "completions", "experimental"}

    shared = welcome(**result, _meta={f"{P}serverInfo": INFO, "own": 1})
    alone = welcome(logging=True, **result)

    assert shared == {
        "protocolVersion": "2025-06-18",
        "capabilities": {name: offered[name] for name in names},
        "serverInfo": INFO,
        "instructions": "I",
        "_meta": {"own": 1},
    }
    assert set(alone["capabilities"]) == {*names, "logging"}
    assert alone["serverInfo"] == {"name": "srv", "version": ""}


def test_a_welcome_from_nonsense_is_still_one() -> None:
    found = welcome(capabilities={"tools": None}, instructions=5, _meta={f"{P}serverInfo": "x"})

    assert found["capabilities"] == {}
    assert "instructions" not in found
    assert found["serverInfo"]["name"] == "srv"


def test_the_type_of_a_result_is_known_or_an_error() -> None:
    assert to_modern.kind_of({}) == to_modern.COMPLETE
    for kind in (to_modern.COMPLETE, to_modern.INPUT_REQUIRED):
        assert to_modern.kind_of(members({"resultType": kind})) == kind
    for odd in ("task", None, 5, {}):
        with pytest.raises(McpnatsdError):
            to_modern.kind_of(members({"resultType": odd}))


@pytest.mark.parametrize("structured", [[1], "x", 5, False])
def test_structured_content_becomes_an_object(structured: Any) -> None:
    result = members({"resultType": "complete", "structuredContent": structured})

    assert plain(to_modern.as_legacy("tools/call", result)) == {
        "structuredContent": {"result": structured}
    }


@given(st.dictionaries(st.text(), VALUES))
def test_other_results_stay_as_they_are(result: dict[str, Any]) -> None:
    result.pop("resultType", None)

    found = to_modern.as_legacy("resources/read", members({**result, "resultType": "complete"}))

    assert plain(found) == result


def test_a_schema_that_an_older_revision_refuses_is_left_out() -> None:
    tools: list[Any] = [
        {"name": "a", "outputSchema": {"type": "object", "x": 1}},
        {"name": "b", "outputSchema": {"type": "array"}, "title": "B"},
        {"name": "c", "outputSchema": {"anyOf": []}},
        {"name": "d"},
    ]

    found = plain(to_modern.as_legacy("tools/list", members({"tools": tools})))

    assert found["tools"] == [tools[0], {"name": "b", "title": "B"}, {"name": "c"}, {"name": "d"}]


@pytest.mark.parametrize("tools", [5, [5], None, {}])
def test_a_list_that_is_none_passes(tools: Any) -> None:
    assert plain(to_modern.as_legacy("tools/list", members({"tools": tools}))) == {"tools": tools}


@pytest.mark.parametrize(
    ("meta", "rest"),
    [({f"{P}subscriptionId": 1}, {"uri": "u"}), ({f"{P}subscriptionId": 1, "x": 2}, None)],
)
def test_a_subscriptions_id_is_taken_out(meta: Any, rest: Any) -> None:
    found = to_modern.without_subscription(members({"uri": "u", "_meta": meta}))

    assert plain(found) == (rest or {"uri": "u", "_meta": {"x": 2}})


def test_a_note_without_an_id_stays() -> None:
    params = {"uri": "u", "_meta": {"x": 1}}

    assert plain(to_modern.without_subscription(members(params))) == params


def test_what_the_modern_era_has_not_is_refused_with_a_reason() -> None:
    for method in ("tasks/get", "tasks/list", "subscriptions/listen"):
        assert to_modern.refusal(method)
    for method in ("tools/call", "completion/complete", "own/method"):
        assert to_modern.refusal(method) is None
