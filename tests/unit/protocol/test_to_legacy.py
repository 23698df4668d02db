"""Modern messages towards a legacy server, and what comes back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import jsonrpc, to_legacy
from mcpnatsd.protocol.jsonrpc import Members, Request, Response

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
INFO = "io.modelcontextprotocol/clientInfo"
LEVEL = "io.modelcontextprotocol/logLevel"
ENVELOPE = {VERSION: "2026-07-28", CAPABILITIES: {}, INFO: {"name": "c", "version": "1"}}
CACHED = {"ttlMs": 0, "cacheScope": "private"}
ROUND = ("_meta", "requestState", "inputResponses")
NAMES = st.text(max_size=8).filter(lambda name: name not in ROUND)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def members(**values: Any) -> Members:
    return {name: Raw(json.dumps(value).encode()) for name, value in values.items()}


def response(**body: Any) -> Response:
    message = jsonrpc.decode(json.dumps({"jsonrpc": "2.0", "id": 1, **body}).encode())
    assert isinstance(message, Response)
    return message


def sent(params: dict[str, Any]) -> tuple[dict[str, Any], Raw | None]:
    body = {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": params}
    request = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(request, Request)
    read = jsonrpc.params_of(request.members)
    line, token = to_legacy.for_server(request, read, jsonrpc.object_of(read, "_meta"), 9)
    return json.loads(line), token


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({}, -32602),
        ({VERSION: 7, CAPABILITIES: {}}, -32602),
        ({VERSION: "2025-11-25", CAPABILITIES: {}}, -32022),
        ({VERSION: "2026-07-28"}, -32602),
        ({VERSION: "2026-07-28", CAPABILITIES: []}, -32602),
    ],
    ids=str,
)
def test_an_envelope_that_is_not_whole_is_refused(meta: dict[str, Any], code: int) -> None:
    with pytest.raises(Reported) as raised:
        to_legacy.check_envelope(members(**meta))

    assert raised.value.jsonrpc_code == code


@pytest.mark.parametrize("method", ["initialize", "ping", "tasks/get", "logging/setLevel"])
def test_a_removed_method_is_refused_by_name(method: str) -> None:
    with pytest.raises(Reported, match=method) as raised:
        to_legacy.check_method(method)

    assert raised.value.jsonrpc_code == -32601


@pytest.mark.parametrize("method", ["tools/call", "completion/complete", "com.example/x"])
def test_other_methods_pass(method: str) -> None:
    to_legacy.check_method(method)


@pytest.mark.parametrize("level", ["loud", 3, None])
def test_an_unknown_level_is_refused(level: object) -> None:
    with pytest.raises(Reported):
        to_legacy.level_in(members(**{LEVEL: level}))


def test_levels_are_ordered() -> None:
    levels = [to_legacy.level_in(members(**{LEVEL: one})) for one in ("debug", "error")]

    assert levels == sorted(level for level in levels if level is not None)
    assert to_legacy.level_in({}) is None


def test_a_client_is_introduced_with_what_it_declares() -> None:
    capabilities = {"roots": {}, "sampling": 7, "elicitation": {"url": {}}, "tasks": {}}
    declared = to_legacy.declared(members(**{CAPABILITIES: capabilities, INFO: {"name": "c"}}))
    params = json.loads(jsonrpc.encode(declared.initialize("1")))

    assert declared.kinds == {"roots", "elicitation"}
    assert params["capabilities"] == {"roots": {}, "sampling": 7, "elicitation": {"url": {}}}
    assert params["clientInfo"] == {"name": "c"}
    assert params["protocolVersion"] == "2025-11-25"


def test_a_client_without_a_name_goes_under_ours() -> None:
    assert "mcpnatsd" in str(to_legacy.NOTHING.initialize("1")["clientInfo"])


def test_other_capabilities_or_another_name_are_another_client() -> None:
    one = members(**ENVELOPE)
    keys = {
        to_legacy.said_of_client(meta)
        for meta in (
            one,
            members(**{**ENVELOPE, CAPABILITIES: {"roots": {}}}),
            members(**{**ENVELOPE, INFO: {"name": "d"}}),
        )
    }

    assert len(keys) == 3
    assert to_legacy.said_of_client({**one, **members(progressToken=3)}) in keys


@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in ("_meta", "requestState", "inputResponses")),
        VALUES,
    )
)
def test_everything_but_the_envelope_reaches_the_server(params: dict[str, Any]) -> None:
    line, token = sent({**params, "_meta": {**ENVELOPE, LEVEL: "info", "own": 1}})

    assert line["id"] == 9
    assert line["params"] == {**params, "_meta": {"own": 1}}
    assert token is None


def test_a_progress_token_is_ours_and_an_empty_meta_is_none() -> None:
    line, token = sent({"name": "a", "_meta": {**ENVELOPE, "progressToken": "t"}})
    assert line["params"]["_meta"] == {"progressToken": 9}
    assert token is not None
    assert bytes(token) == b'"t"'

    line, _ = sent({"name": "a", "requestState": "s", "inputResponses": {}, "_meta": ENVELOPE})
    assert line["params"] == {"name": "a"}


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "resources/read"])
@given(result=st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_a_result_says_that_it_is_one(method: str, result: dict[str, Any]) -> None:
    answer = response(result=result)
    to_legacy.for_client(method, answer)
    ours = {"resultType": "complete", **({} if method == "tools/call" else CACHED)}

    assert json.loads(bytes(answer.members["result"])) == {**ours, **result}


@pytest.mark.parametrize(
    "result", [{}, {"resultType": "x", "ttlMs": 5}, {"a": '"resultType"'}, {"b": {"ttlMs": 1}}]
)
def test_what_a_result_says_itself_stays_and_nothing_stands_twice(result: dict[str, Any]) -> None:
    answer = response(result=result)
    to_legacy.for_client("tools/list", answer)
    raw = bytes(answer.members["result"])

    assert json.loads(raw) == {"resultType": "complete", **CACHED, **result}
    jsonrpc.refuse_duplicates(raw)


def test_the_bytes_of_a_result_stay() -> None:
    raw = b'{"a" : 1.0, "b":"\\u00fc", "c":[ 1e3 ] }'

    assert raw[1:] in bytes(to_legacy.completed("tools/call", Raw(raw)))


@pytest.mark.parametrize(
    ("code", "expected"), [(-32002, -32602), (-32042, -32603), (-32000, -32000)]
)
def test_errors_of_the_legacy_era_get_a_code_of_the_modern_one(code: int, expected: int) -> None:
    answer = response(error={"code": code, "message": "why", "data": {"x": 1}})
    to_legacy.for_client("resources/read", answer)
    error = json.loads(bytes(answer.members["error"]))

    assert (error["code"], error["data"]) == (expected, {"x": 1})
    assert "why" in error["message"]


def test_a_handshake_becomes_a_discovery() -> None:
    offers = {"tools": {"listChanged": True}, "logging": {}, "tasks": {}, "experimental": {}}
    result = {"protocolVersion": "2025-11-25", "capabilities": offers, "serverInfo": {"name": "s"}}
    found = json.loads(to_legacy.discovered(json.dumps(result).encode()))

    assert found == {
        "resultType": "complete",
        **CACHED,
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": True}, "logging": {}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s"}},
    }
    hushed = json.loads(to_legacy.discovered(json.dumps(result).encode(), logs=False))
    assert "logging" not in hushed["capabilities"]


def test_a_retry_has_the_fingerprint_of_its_call_however_it_is_written() -> None:
    first = members(name="a", arguments={"x": 1, "y": [2]}, _meta=ENVELOPE)
    again = {
        "arguments": Raw(b'{ "y": [2], "x": 1 }'),
        **members(name="a", requestState="s", inputResponses={"1": {}}),
    }
    other = members(name="a", arguments={"x": 1, "y": [3]})

    assert to_legacy.fingerprint("tools/call", first) == to_legacy.fingerprint("tools/call", again)
    assert to_legacy.fingerprint("tools/call", first) != to_legacy.fingerprint("tools/call", other)
    assert to_legacy.fingerprint("tools/call", first) != to_legacy.fingerprint("prompts/get", first)
