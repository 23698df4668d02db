"""`tools: allow/deny`: what may be seen and called."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import Refused
from mcpnatsd.protocol import jsonrpc, tool_rules
from mcpnatsd.protocol.jsonrpc import Response
from mcpnatsd.protocol.tool_rules import ToolRules

READ_ONLY = ToolRules("git", ["read_*", "list_*"], ["*secret*"])


def listing(result: object) -> tuple[Response, bytes]:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    response = jsonrpc.decode(line)
    assert isinstance(response, Response)
    return response, line


def named(*names: object) -> list[dict[str, object]]:
    return [{"name": name, "inputSchema": {"type": "object"}} for name in names]


def result_of(line: bytes) -> dict[str, object]:
    result = json.loads(line)["result"]
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize(
    ("name", "permitted"),
    [
        ("read_file", True),
        ("list_", True),
        ("write_file", False),
        ("read_secrets", False),
        ("my_read_file", False),
        ("Read_file", False),
        ("read_file\n", True),
        ("\nread_file", False),
        ("read_\nsecret", False),
        ("", False),
    ],
)
def test_a_tool_is_permitted_that_is_allowed_and_not_denied(name: str, *, permitted: bool) -> None:
    assert READ_ONLY.permits(name) is permitted


@given(st.text())
def test_by_default_every_tool_is_permitted(name: str) -> None:
    rules = ToolRules("git", ["*"], [])

    assert rules.open
    assert rules.permits(name)
    rules.check(name)


@given(st.text())
def test_a_deny_of_everything_wins(name: str) -> None:
    assert not ToolRules("git", ["*"], ["*"]).permits(name)
    assert not ToolRules("git", [], []).permits(name)


@given(st.from_regex(r"[a-z_]{1,10}", fullmatch=True), st.text(max_size=10))
def test_a_pattern_without_wildcards_is_one_name(pattern: str, name: str) -> None:
    assert ToolRules("git", [pattern], []).permits(name) == (pattern == name)


@pytest.mark.parametrize("pattern", ["a.b", "a|b", "(a", "a+", "^a$", "[", "\\d"])
def test_a_pattern_is_no_regular_expression(pattern: str) -> None:
    rules = ToolRules("git", [pattern, "x"], [])

    assert rules.permits(pattern)
    assert rules.permits("x")
    assert not rules.permits("aab")


def test_a_refusal_names_the_tool_and_what_refused_it() -> None:
    with pytest.raises(Refused, match=r"'write'.*'git'.*tools: allow/deny") as caught:
        READ_ONLY.check("write")
    assert caught.value.jsonrpc_code == -31002


def test_a_list_shows_only_what_may_be_called() -> None:
    tools = named("read_a", "write_a", "list_b", "read_secret")
    response, line = listing({"tools": tools, "nextCursor": "", "ttlMs": 5})

    filtered = READ_ONLY.filtered(response, line)

    assert result_of(filtered) == {
        "tools": named("read_a", "list_b"),
        "nextCursor": "",
        "ttlMs": 5,
    }
    assert json.loads(filtered)["id"] == 1


@pytest.mark.parametrize("tools", [[], named("read_a", "list_b")])
def test_a_list_with_nothing_to_hide_keeps_its_bytes(tools: object) -> None:
    response, line = listing({"tools": tools})

    assert READ_ONLY.filtered(response, line) is line


def test_open_rules_look_at_nothing() -> None:
    response, line = listing({"tools": named("anything")})

    assert ToolRules("git", ["*"], []).filtered(response, line) is line


@pytest.mark.parametrize("tools", [None, 7, "x", {"name": "write"}])
def test_a_list_that_is_none_passes(tools: object) -> None:
    response, line = listing({"tools": tools})

    assert READ_ONLY.filtered(response, line) is line
    assert tool_rules.tools_in(response) == []


def test_an_error_passes() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}'
    response = jsonrpc.decode(line)
    assert isinstance(response, Response)

    assert READ_ONLY.filtered(response, line) is line


@pytest.mark.parametrize("tool", [7, "read_a", None, [], {}, {"name": 7}, {"title": "read_a"}])
def test_a_tool_without_a_name_is_hidden(tool: object) -> None:
    response, line = listing({"tools": [tool, *named("read_a")]})

    assert result_of(READ_ONLY.filtered(response, line))["tools"] == named("read_a")


def test_tools_are_read_as_they_came() -> None:
    response, _ = listing({"tools": named("a", "b")})

    found = tool_rules.tools_in(response)

    assert [tool_rules.tool_name(raw) for raw in found] == ["a", "b"]
    assert json.loads(bytes(found[0])) == named("a")[0]


@pytest.mark.parametrize(
    ("cursor", "raw"), [("", b'""'), ("abc", b'"abc"'), (None, None), (7, None), ([], None)]
)
def test_an_empty_cursor_is_a_cursor(cursor: object, raw: bytes | None) -> None:
    """2026-07-28, Server, Utilities, Pagination."""
    response, _ = listing({"tools": [], "nextCursor": cursor})

    found = tool_rules.cursor_in(response)

    assert (None if found is None else bytes(found)) == raw


def test_the_last_page_has_no_cursor() -> None:
    assert tool_rules.cursor_in(listing({"tools": []})[0]) is None


def test_a_tool_too_odd_to_read_has_no_name() -> None:
    for raw in (b"[" * 100_000, b"7", b"{"):
        assert tool_rules.tool_name(Raw(raw)) == ""
