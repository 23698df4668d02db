"""What several servers answered, as one answer."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpnatsd.errors import ProtocolError, RemoteProtocolError, Reported
from mcpnatsd.protocol import aggregate_results as results
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.aggregate import Names
from mcpnatsd.protocol.aggregate_results import Clash
from mcpnatsd.protocol.jsonrpc import Members
from mcpnatsd.protocol.whereabouts import Whereabouts

SERVERS = ("a", "b")


def raw(*values: object) -> list[Raw]:
    return [Raw(json.dumps(value).encode()) for value in values]


def loaded(items: list[Raw]) -> list[Any]:
    return [json.loads(bytes(one)) for one in items]


def response(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode()


def discovered(**found: dict[str, Any]) -> dict[str, Members]:
    return {name: jsonrpc.split(json.dumps(one).encode()) for name, one in found.items()}


def test_an_error_of_a_server_is_raised_as_it_is() -> None:
    with pytest.raises(Reported, match="no such thing") as caught:
        results.result_of(response(error={"code": -32601, "message": "no such thing"}))

    assert caught.value.jsonrpc_code == -32601


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"jsonrpc":"2.0","method":"x"}',
        response(result={"resultType": "input_required", "requestState": "s"}),
        response(result={"resultType": 7}),
    ],
)
def test_what_is_no_complete_result_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        results.result_of(line)


@pytest.mark.parametrize("tools", [7, "x", {}, None])
def test_what_is_no_list_is_refused(tools: object) -> None:
    with pytest.raises(RemoteProtocolError, match="no list"):
        results.page_of(response(result={"tools": tools}), "tools/list")


def test_a_page_may_have_an_empty_cursor_or_none() -> None:
    def cursor(**more: Any) -> bytes | None:
        found = results.page_of(response(result={"tools": [], **more}), "tools/list").cursor
        return None if found is None else bytes(found)

    assert (cursor(), cursor(nextCursor=None), cursor(nextCursor="")) == (None, None, b'""')


def test_a_result_without_the_list_is_an_empty_one() -> None:
    assert results.page_of(response(result={}), "prompts/list") == ([], None)


def test_tools_keep_every_byte_but_those_of_their_names() -> None:
    tool = b'{"title":"T \\u00e9","name":"x","inputSchema":{"type": "object", "n": 1.0},"zz":[ 1 ]}'

    items = results.named({"b": [Raw(tool)], "a": raw({"name": "y"})}, Names(), SERVERS)
    assert [bytes(one) for one in items] == [b'{"name":"a__y"}', tool.replace(b'"x"', b'"b__x"')]


def test_servers_come_in_the_order_of_their_names_and_tools_in_their_own() -> None:
    found = {"b": raw({"name": "2"}, {"name": "1"}), "a": raw({"name": "9"})}

    items = results.named(found, Names(), SERVERS)
    assert [one["name"] for one in loaded(items)] == ["a__9", "b__2", "b__1"]


def test_an_entry_that_is_no_tool_spoils_no_list() -> None:
    found = {"a": raw(7, None, [], {"title": "nameless"}, {"name": 7}, {"name": "good"})}

    assert loaded(results.named(found, Names(), SERVERS)) == [{"name": "a__good"}]


def test_resources_stay_as_they_are_and_whose_they_are_is_learnt() -> None:
    where = Whereabouts()
    found = {"b": raw({"uri": "x:1", "name": "n"}), "a": raw({"uri": "x:2"}, {"name": "no uri"})}
    listed = results.located("resources/list", found, where)

    assert loaded(listed.items) == [{"uri": "x:2"}, {"uri": "x:1", "name": "n"}]
    assert (where.of("x:1"), where.of("x:2")) == ("b", "a")


def test_of_two_servers_with_one_resource_the_first_by_name_has_it() -> None:
    where = Whereabouts()
    found = {"b": raw({"uri": "x:1", "n": 2}), "a": raw({"uri": "x:1", "n": 1})}
    listed = results.located("resources/list", found, where)

    assert loaded(listed.items) == [{"uri": "x:1", "n": 1}]
    assert listed.clashes == [Clash("x:1", kept="a", left_out="b")]
    assert where.of("x:1") == "a"


def test_templates_are_learnt_as_templates() -> None:
    where = Whereabouts()
    found = {"a": raw({"uriTemplate": "x:{y}"}), "b": raw({"uriTemplate": "z:{y}"})}
    listed = results.located("resources/templates/list", found, where)

    assert len(listed.items) == 2
    assert where.guesses("z:1") == ["b"]


def test_all_servers_offer_what_any_of_them_does() -> None:
    found = discovered(
        a={"capabilities": {"tools": {}, "completions": {}}},
        b={"capabilities": {"resources": {"subscribe": True}, "logging": {}}},
    )
    offered = results.discovered(found, whole=True)

    assert offered == {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "tools": {"listChanged": True},
            "resources": {"listChanged": True, "subscribe": True},
            "completions": {},
            "logging": {},
        },
    }


def test_extensions_are_not_offered_as_nobody_could_tell_whose_request_it_is() -> None:
    found = discovered(a={"capabilities": {"extensions": {"x/y": {}}, "experimental": {"z": {}}}})

    assert results.discovered(found, whole=True)["capabilities"] == {}


def test_servers_that_are_yet_to_come_may_offer_any_list() -> None:
    capabilities = results.discovered({}, whole=False)["capabilities"]

    assert capabilities == {
        kind: {"listChanged": True} for kind in ("tools", "prompts", "resources")
    }


def test_instructions_stand_under_the_names_of_their_servers() -> None:
    found = discovered(
        b={"instructions": "Be kind."}, a={"instructions": "Be quick."}, c={}, d={"instructions": 7}
    )
    found["e"] = discovered(e={"instructions": "x" * 70_000})["e"]
    said = results.discovered(found, whole=True)["instructions"]

    assert isinstance(said, str)
    assert said.startswith("## a\n\nBe quick.\n\n## b\n\nBe kind.\n\n## e\n\nxxx")
    assert len(said) < 66_000


def test_a_result_of_ours_says_that_it_is_complete_and_whose() -> None:
    line = results.complete(Raw(b'"i"'), "1.2", {"tools": raw({"name": "x"})})

    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": "i",
        "result": {
            "resultType": "complete",
            "tools": [{"name": "x"}],
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "mcpnatsd", "version": "1.2"}},
        },
    }


def test_an_answer_goes_to_its_own_request_whatever_id_it_has() -> None:
    line = b'{"jsonrpc":"2.0","id":7,"result":{"n":1e2}}'

    assert results.answered(line, Raw(b"7")) is line
    assert json.loads(results.answered(line, Raw(b'"7"')))["id"] == "7"


@pytest.mark.parametrize("line", [b"{", b'{"jsonrpc":"2.0","id":7,"method":"m"}', b"[]"])
def test_what_is_no_response_answers_nothing(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        results.answered(line, Raw(b"7"))


def test_only_a_notification_is_one() -> None:
    assert results.is_note(b'{"jsonrpc":"2.0","method":"m"}')
    assert not results.is_note(b'{"jsonrpc":"2.0","id":7,"method":"m"}')
    assert not results.is_note(b'{"jsonrpc":"2.0","id":7,"result":{}}')
    assert not results.is_note(b"{")
