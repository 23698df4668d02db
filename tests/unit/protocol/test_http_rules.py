"""The rules of MCP over HTTP."""

import json
from typing import Any

import pytest

from mcpnatsd.errors import HttpRefused, McpnatsdError, Mismatch, Reported
from mcpnatsd.protocol import http_rules, jsonrpc
from mcpnatsd.protocol.http_rules import Visitors
from mcpnatsd.protocol.jsonrpc import Request

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
GOOD = {VERSION: "2026-07-28", CAPABILITIES: {}}


def check(method: str, meta: Any, headers: dict[str, str]) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}})
    request = jsonrpc.decode(line.encode())
    assert isinstance(request, Request)
    params = jsonrpc.params_of(request.members)
    http_rules.check_modern(headers, request, params, jsonrpc.object_of(params, "_meta"))


def headers(method: str = "tools/list", revision: str = "2026-07-28") -> dict[str, str]:
    return {"mcp-method": method, "mcp-protocol-version": revision}


def test_a_modern_request_that_says_all_passes() -> None:
    check("tools/list", GOOD, headers())


@pytest.mark.parametrize("meta", [{}, None, {VERSION: "2026-07-28"}, {CAPABILITIES: {}}])
def test_what_each_request_must_say_comes_first(meta: Any) -> None:
    with pytest.raises(Reported, match=r"params\._meta lacks") as refused:
        check("tools/list", meta, {})

    assert refused.value.jsonrpc_code == -32602


@pytest.mark.parametrize(
    "found",
    [{}, headers("tools/call"), headers(revision="2025-11-25"), {"mcp-method": "tools/list"}],
)
def test_headers_that_differ_are_a_mismatch(found: dict[str, str]) -> None:
    with pytest.raises(Mismatch):
        check("tools/list", GOOD, found)


def test_a_mismatch_comes_before_a_revision_nobody_speaks() -> None:
    with pytest.raises(Mismatch):
        check("tools/list", {**GOOD, VERSION: "1999-01-01"}, headers())
    with pytest.raises(Reported) as refused:
        check("tools/list", {**GOOD, VERSION: "1999-01-01"}, headers(revision="1999-01-01"))

    assert refused.value.jsonrpc_code == -32022
    assert refused.value.data == {"supported": ["2026-07-28"], "requested": "1999-01-01"}


def test_the_handshake_is_no_method_of_the_modern_era() -> None:
    with pytest.raises(Reported) as refused:
        check("initialize", GOOD, headers("initialize"))

    assert refused.value.jsonrpc_code == -32601


@pytest.mark.parametrize(
    ("revision", "legacy"),
    [(None, True), ("2025-11-25", True), ("2025-03-26", True), ("2026-07-28", False), ("x", False)],
)
def test_the_header_says_the_era(revision: str | None, legacy: bool) -> None:  # noqa: FBT001
    found = {} if revision is None else {"mcp-protocol-version": revision}

    assert http_rules.names_legacy(found) == legacy


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"result":{"error":1}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}', 404),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":""}}', 400),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":""}}', 400),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":""}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-31001,"message":""}}', 503),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":12,"message":""}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":""}}', 200),
    ],
)
def test_an_answer_has_the_status_of_its_error(line: bytes, status: int) -> None:
    assert http_rules.status_of_line(line) == status


def accepts(accept: str, *kinds: str) -> bool:
    try:
        http_rules.check_accept({"accept": accept}, *kinds)
    except HttpRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("application/json, text/event-stream", True),
        ("text/event-stream;q=0.5,application/json;q=0.9", True),
        ("*/*", True),
        ("text/*, application/*", True),
        ("APPLICATION/JSON, TEXT/EVENT-STREAM", True),
        ("application/json", False),
        ("text/event-stream", False),
        ("", False),
    ],
)
def test_a_client_takes_both_kinds_of_answer(accept: str, taken: bool) -> None:  # noqa: FBT001
    assert accepts(accept, http_rules.JSON, http_rules.EVENTS) == taken


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonx", "application/json-seq"])
def test_a_body_is_said_to_be_json(kind: str) -> None:
    http_rules.check_content_type({"content-type": "Application/JSON; charset=utf-8"})
    with pytest.raises(HttpRefused):
        http_rules.check_content_type({"content-type": kind})


def test_a_listener_for_any_host_takes_no_page_that_names_itself() -> None:
    """Host and Origin that agree prove nothing when any host will do."""
    visitors = Visitors(hosts=(), origins=(), any_host=True)
    visitors.check({"host": "anything.example.com"})

    with pytest.raises(HttpRefused):
        visitors.check({"host": "evil.example.com", "origin": "http://evil.example.com"})


def test_a_page_of_the_listener_itself_may_come() -> None:
    visitors = Visitors(hosts=("mcp.example.com",), origins=(), any_host=False)

    visitors.check({"host": "mcp.example.com", "origin": "https://mcp.example.com"})


@pytest.mark.parametrize(
    "server", ["", "a.b", "a b", "a>", "*", "a" * 65, "é", "a\r\nPUB x", "a\n"]
)
def test_what_is_no_name_of_a_server_is_never_served(server: str) -> None:
    assert not http_rules.serves(server, ["*"])


def test_servers_are_offered_by_pattern() -> None:
    assert http_rules.serves("time-1", ["files", "time*"])
    assert not http_rules.serves("Time", ["files", "time*"])


def test_each_exception_of_ours_has_a_status() -> None:
    def tree(root: type[McpnatsdError]) -> list[type[McpnatsdError]]:
        return [root, *(one for below in root.__subclasses__() for one in tree(below))]

    assert {http_rules.status_of(one.jsonrpc_code) for one in tree(McpnatsdError)} >= {400, 500}
    assert all(http_rules.status_of(one.jsonrpc_code) >= 400 for one in tree(McpnatsdError))


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://]", "http://a]b", "http://"])
def test_an_origin_that_is_no_url_may_not_come(origin: str) -> None:
    visitors = Visitors(hosts=(), origins=(), any_host=False)

    with pytest.raises(HttpRefused) as refused:
        visitors.check({"host": "localhost", "origin": origin})

    assert refused.value.status == 403
