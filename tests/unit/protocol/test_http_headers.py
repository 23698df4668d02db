"""Mirrored headers: the examples of the specification, and everything it forbids."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import HttpRefused, Mismatch, RemoteProtocolError
from mcpnatsd.protocol import http_headers, jsonrpc
from mcpnatsd.protocol.headers import safe
from mcpnatsd.protocol.http_headers import Param, params_in

REGION = {"type": "string", "x-mcp-header": "Region"}
REVISION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": REVISION}


def schema(**properties: Any) -> bytes:
    return json.dumps({"type": "object", "properties": properties}).encode()


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def members(**params: object) -> dict[str, Raw]:
    return jsonrpc.split(json.dumps({**params, "_meta": META}).encode())


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ],
)
def test_values_are_encoded_as_the_specification_shows(value: str, header: str) -> None:
    assert safe(value) == header
    assert http_headers.decode(header) == value


@given(st.text())
def test_any_text_comes_back(value: str) -> None:
    assert http_headers.decode(safe(value)) == value


@pytest.mark.parametrize("value", ["=?base64?abc", "?=", "=?BASE64?YQ==?=", "plain"])
def test_what_does_not_begin_and_end_as_base64_stands_for_itself(value: str) -> None:
    assert http_headers.decode(value) == value


@pytest.mark.parametrize("payload", ["YQ", "Y Q==", "/w==", "YR==", "é"])
def test_malformed_base64_is_no_value(payload: str) -> None:
    assert http_headers.decode(f"=?base64?{payload}?=") is None


def sent(pairs: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


def test_each_request_says_its_revision_and_method() -> None:
    pairs = http_headers.standard("tools/list", members())

    assert pairs == [("Mcp-Method", "tools/list"), ("MCP-Protocol-Version", "2026-07-28")]


@pytest.mark.parametrize(
    ("method", "member"),
    [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
    ],
)
def test_a_request_that_names_something_says_what(method: str, member: str) -> None:
    pairs = http_headers.standard(method, members(**{member: "größe"}))

    assert ("Mcp-Name", "=?base64?Z3LDtsOfZQ==?=") in pairs
    found = http_headers.folded(sent(pairs))
    http_headers.check_standard(found, method, REVISION, members(**{member: "größe"}))


def test_annotated_parameters_are_found_with_their_paths() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}

    assert params_in(schema(region=REGION, query={"type": "string"}, deep=inner)) == (
        Param(("region",), "Mcp-Param-Region", integer=False),
        Param(("deep", "n"), "Mcp-Param-N", integer=True),
    )


def test_a_schema_without_annotations_wants_nothing() -> None:
    assert params_in(schema(query={"type": "string"})) == ()
    assert params_in(None) == ()
    assert params_in(schema(query={"type": "string", "default": {"x-mcp-header": "A"}})) == ()


def test_a_property_may_be_called_like_a_keyword() -> None:
    found = params_in(schema(properties={"type": "string", "x-mcp-header": "P"}))

    assert [param.path for param in found] == [("properties",)]


@pytest.mark.parametrize(
    "bad",
    [
        schema(a={"type": "string", "x-mcp-header": ""}),
        schema(a={"type": "string", "x-mcp-header": "a b"}),
        schema(a={"type": "string", "x-mcp-header": "a\r\nHost: x"}),
        schema(a={"type": "string", "x-mcp-header": 7}),
        schema(a={"type": "number", "x-mcp-header": "A"}),
        schema(a={"type": ["string", "null"], "x-mcp-header": "A"}),
        schema(a={"type": "object", "x-mcp-header": "A"}),
        schema(a={"x-mcp-header": "A"}),
        schema(a=REGION, b={"type": "string", "x-mcp-header": "REGION"}),
        schema(a={"type": "array", "items": REGION}),
        schema(a={"anyOf": [REGION]}),
        schema(a={"if": {"properties": {"b": REGION}}}),
        json.dumps({"$defs": {"a": REGION}}).encode(),
        json.dumps(REGION).encode(),
        b'{"x-mcp-header": ',
        b'{"x-mcp-header":' + b"[" * 100_000,
        b'{"not":' * 700 + b'{"x-mcp-header":"A"}' + b"}" * 700,
    ],
)
def test_an_annotation_against_the_rules_makes_the_tool_invalid(bad: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        params_in(bad)


@pytest.mark.parametrize(
    ("value", "header"),
    [("eu", "eu"), ("", "=?base64??="), (42, "42"), (-7, "-7"), (True, "true"), (False, "false")],
)
def test_a_value_is_mirrored(value: object, header: str) -> None:
    params = params_in(schema(a=REGION))

    assert http_headers.mirrored(params, raw({"a": value})) == [("Mcp-Param-Region", header)]


@pytest.mark.parametrize("arguments", [None, {}, {"a": None}, {"a": []}, {"a": {}}, [], "a"])
def test_what_is_absent_or_no_scalar_is_not_mirrored(arguments: object) -> None:
    params = params_in(schema(a=REGION))
    given = None if arguments is None else raw(arguments)

    assert http_headers.mirrored(params, given) == []
    http_headers.check_mirrored({}, params, given)
    with pytest.raises(Mismatch):
        http_headers.check_mirrored({"mcp-param-region": "a"}, params, given)


@given(st.text() | st.integers() | st.booleans())
def test_what_one_side_mirrors_the_other_accepts(value: object) -> None:
    params = params_in(schema(a=REGION))
    found = http_headers.folded(sent(http_headers.mirrored(params, raw({"a": value}))))

    http_headers.check_mirrored(found, params, raw({"a": value}))
    with pytest.raises(Mismatch):
        http_headers.check_mirrored({}, params, raw({"a": value}))
    with pytest.raises(Mismatch):
        http_headers.check_mirrored({**found, "mcp-param-region": "!"}, params, raw({"a": "?"}))


def test_whole_numbers_are_compared_as_numbers() -> None:
    params = params_in(schema(a={"type": "integer", "x-mcp-header": "A"}))

    http_headers.check_mirrored({"mcp-param-a": "42.0"}, params, raw({"a": 42}))
    http_headers.check_mirrored({"mcp-param-a": "42"}, params, raw({"a": 42.0}))
    with pytest.raises(Mismatch):
        http_headers.check_mirrored({"mcp-param-a": "42.5"}, params, raw({"a": 42}))


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"mcp-method": "tools/call", "mcp-protocol-version": "2026-07-28"},
        {"mcp-method": "tools/call", "mcp-name": "a"},
        {"mcp-method": "tools/list", "mcp-protocol-version": "2026-07-28", "mcp-name": "a"},
        {"mcp-method": "tools/call", "mcp-protocol-version": "2025-11-25", "mcp-name": "a"},
        {"mcp-method": "tools/call", "mcp-protocol-version": "2026-07-28", "mcp-name": "b"},
        {
            "mcp-method": "tools/call",
            "mcp-protocol-version": "2026-07-28",
            "mcp-name": "=?base64?YQ?=",
        },
    ],
)
def test_headers_that_do_not_say_what_the_body_says_are_refused(found: dict[str, str]) -> None:
    with pytest.raises(Mismatch):
        http_headers.check_standard(found, "tools/call", REVISION, members(name="a"))


def test_a_body_without_a_revision_matches_no_header() -> None:
    found = {"mcp-method": "tools/list", "mcp-protocol-version": "2026-07-28"}

    with pytest.raises(Mismatch):
        http_headers.check_standard(found, "tools/list", None, {})


@pytest.mark.parametrize("name", ["Mcp-Method", "mcp-name", "MCP-PARAM-A", "mcp-protocol-version"])
def test_a_mirrored_header_stands_once(name: str) -> None:
    with pytest.raises(Mismatch):
        http_headers.folded(sent([(name, "a"), (name.swapcase(), "a")]))

    assert http_headers.folded(sent([("Accept", "a"), ("accept", " b\t")])) == {"accept": "b"}


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Content-Type",
        "Host",
        "Last-Event-ID",
        "Mcp-Session-Id",
        "Origin",
        "Transfer-Encoding",
    ],
)
def test_a_header_that_says_who_comes_or_what_stands_once(name: str) -> None:
    with pytest.raises(HttpRefused, match=f"{name.lower()} stands twice") as refused:
        http_headers.folded(sent([(name, "a"), (name.lower(), "b")]))

    assert refused.value.status == 400
