"""A request on its way: what its subject and headers say of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import headers, jsonrpc, outgoing
from mcpnatsd.protocol.jsonrpc import Members, Request
from mcpnatsd.protocol.outgoing import Outgoing

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n\0 =?"))
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def members(**values: object) -> Members:
    return jsonrpc.split(json.dumps(values).encode())


def sent(method: str, **params: object) -> Outgoing:
    line = json.dumps({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).encode()
    request = jsonrpc.decode(line)
    assert isinstance(request, Request)
    own = jsonrpc.params_of(request.members)
    return outgoing.read(request, line, own, jsonrpc.object_of(own, "_meta"))


def test_a_call_names_its_tool_and_its_revision() -> None:
    request = sent("tools/call", name="admin.list", arguments={}, _meta=META)

    assert (request.name, request.revision, request.tail) == (
        "admin.list",
        "2026-07-28",
        "tools.call.admin.list",
    )
    assert bytes(request.id) == b'"x"'


def test_headers_mirror_the_body() -> None:
    meta = {**META, "traceparent": "00-ab-cd-01"}
    request = sent("tools/call", name="echo", _meta=meta)

    assert headers.parse(request.header_block("token", [("Mcp-Upload", "5, 1")])) == {
        "Mcp-Wire": "1",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "echo",
        "Mcp-Upload": "5, 1",
        "traceparent": "00-ab-cd-01",
        "Mcp-Call": "token",
    }


def test_what_a_request_does_not_say_has_no_header() -> None:
    assert headers.parse(sent("tools/list").header_block("token")) == {
        "Mcp-Wire": "1",
        "Mcp-Method": "tools/list",
        "Mcp-Call": "token",
    }


@given(method=TEXT, revision=TEXT, trace=TEXT)
def test_no_text_of_a_client_breaks_out_of_its_header(
    method: str, revision: str, trace: str
) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": revision, "traceparent": trace}
    own = members(name="x", uri="x", _meta=meta)
    request = Request(jsonrpc.split(b'{"id":1}')["id"], method, {})

    block = outgoing.read(request, b"", own, jsonrpc.object_of(own, "_meta")).header_block("token")

    found = headers.parse(block)
    assert block.count(b"\r\n\r\n") == 1
    assert found["Mcp-Call"] == "token"
    assert found["Mcp-Wire"] == "1"
    assert headers.plain(found["Mcp-Method"]) == method
    assert headers.plain(found.get("MCP-Protocol-Version", "")) == revision
    assert headers.plain(found.get("traceparent", "")) == trace


@given(TEXT)
def test_any_name_is_mirrored_exactly(name: str) -> None:
    block = sent("tools/call", name=name).header_block("token")

    assert headers.plain(headers.parse(block)["Mcp-Name"]) == name


def test_a_long_name_is_mirrored_too_but_not_remembered() -> None:
    before = outgoing._first_headers.cache_info().currsize
    name = "x" * 5000

    block = sent("tools/call", name=name).header_block("token")

    assert headers.parse(block)["Mcp-Name"] == name
    assert outgoing._first_headers.cache_info().currsize == before


@pytest.mark.parametrize("trace", [7, None, ["00-ab"]])
def test_a_traceparent_that_is_no_text_is_ignored(trace: object) -> None:
    assert sent("tools/list", _meta={"traceparent": trace}).trace is None


# Names.


@pytest.mark.parametrize(
    ("method", "member"),
    [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")],
)
@pytest.mark.parametrize("value", [None, 7, ["x"], {"x": 1}, True])
def test_what_must_be_named_must_be_named_by_text(method: str, member: str, value: object) -> None:
    for own in (members(**{member: value}), members(other="x")):
        with pytest.raises(RemoteProtocolError, match=f"params.{member}"):
            outgoing.name_of(method, own)
    assert outgoing.name_of(method, members(**{member: ""})) == ""


@pytest.mark.parametrize("method", ["tools/list", "ping", "tools/call/x", "Tools/call", "", "x/y"])
def test_other_methods_name_nothing(method: str) -> None:
    assert outgoing.name_of(method, members(name="x", uri="y")) is None


def test_a_call_may_not_be_repeated_and_a_list_may() -> None:
    assert not sent("tools/call", name="x").repeatable
    assert not sent("unknown/method").repeatable
    assert sent("tools/list").repeatable
    assert sent("resources/read", uri="x").repeatable


# WIRE.md, "Affinity".


@given(TEXT)
def test_a_retry_belongs_to_who_handed_the_state_out(state: str) -> None:
    """However the bytes are escaped: a client may write the string in another way."""
    result = {"resultType": "input_required", "requestState": state}
    answers = [
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, ensure_ascii=ascii_only).encode()
        for ascii_only in (True, False)
    ]
    belongs = sent("tools/call", name="x", requestState=state).affinity

    assert belongs is not None
    assert [outgoing.affinity_of_result(answer) for answer in answers] == [belongs, belongs]


def test_a_task_belongs_to_who_runs_it() -> None:
    answer = b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t1"}}'

    assert sent("tasks/get", taskId="t1").affinity == outgoing.affinity_of_result(answer)
    assert sent("tasks/get", taskId="t2").affinity != outgoing.affinity_of_result(answer)


def test_what_carries_no_state_belongs_to_nobody() -> None:
    assert sent("tools/call", name="x", taskId="t1").affinity is None
    assert sent("tasks/list").affinity is None


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"text":"\\"requestState\\""}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"requestState":"s"}}',
        b'{"jsonrpc":"2.0","id":1,"result":["requestState"]}',
        b'["requestState"]',
        b'"requestState"',
        b'"requestState',
        b'{"a":' * 100_000 + b'"taskId"',
        b"",
    ],
)
def test_an_answer_without_state_hands_none_out(line: bytes) -> None:
    assert outgoing.affinity_of_result(line) is None


@pytest.mark.parametrize(
    "state", [b"null", b"7", b"1e999", b"1" * 5000, b"[" * 500 + b"]" * 500, b'{"a":1}']
)
def test_a_state_that_no_server_hands_out_harms_nobody(state: bytes) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"result":{"requestState":' + state + b"}}"
    own = jsonrpc.split(b'{"requestState":' + state + b"}")

    belongs = outgoing.affinity_of_request("tools/call", own)

    assert belongs is not None
    assert belongs == outgoing.affinity_of_result(line)
