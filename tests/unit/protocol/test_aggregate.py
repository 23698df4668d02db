"""Names of several servers, and requests as each server gets them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.protocol import aggregate, jsonrpc, outgoing
from mcpnatsd.protocol.aggregate import LONGEST_NAME, MOST_NAMES, Names, Place
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.outgoing import Outgoing

SERVERS = ("git", "git__hub", "time")
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

server_names = st.text("ab_-", min_size=1, max_size=64)
tool_names = st.text("ab_.é", max_size=200)


def asked(method: str, **params: Any) -> Outgoing:
    body = {"jsonrpc": "2.0", "id": "seven", "method": method, "params": params}
    return read(json.dumps(body).encode())


def read(line: bytes) -> Outgoing:
    request = jsonrpc.decode(line)
    assert isinstance(request, Request)
    params = jsonrpc.params_of(request.members)
    return outgoing.read(request, line, params, jsonrpc.object_of(params, "_meta"))


def params(request: Outgoing) -> Any:
    return json.loads(request.line)["params"]


def test_a_tool_is_shown_with_its_server_in_front() -> None:
    assert Names().shown(Place("git", "log"), SERVERS) == "git__log"


def test_a_name_without_a_server_in_front_is_nobodys() -> None:
    names = Names()

    assert [names.meant(name, SERVERS) for name in ("log", "git_log", "__log", "", "hg__log")] == [
        None
    ] * 5


def test_the_longest_server_name_that_fits_is_meant() -> None:
    assert Names().meant("git__hub__issue", SERVERS) == Place("git__hub", "issue")


def test_a_name_with_underscores_of_its_own_comes_back_whole() -> None:
    names = Names()

    assert names.meant(names.shown(Place("time", "__a__b__"), SERVERS), SERVERS) == (
        Place("time", "__a__b__")
    )


def test_a_tool_that_reads_as_another_servers_is_shown_under_another_name() -> None:
    names = Names()
    mine = names.shown(Place("git__hub", "issue"), SERVERS)
    other = names.shown(Place("git", "hub__issue"), SERVERS)

    assert mine == "git__hub__issue"
    assert other != mine
    assert names.meant(other, SERVERS) == Place("git", "hub__issue")
    assert names.meant(mine, SERVERS) == Place("git__hub", "issue")


def test_a_name_that_is_too_long_is_shortened_and_still_reachable() -> None:
    names = Names()
    first, second = Place("time", "x" * 300 + "1"), Place("time", "x" * 300 + "2")
    shown = [names.shown(place, SERVERS) for place in (first, second)]

    assert [len(name) for name in shown] == [LONGEST_NAME] * 2
    assert shown[0].startswith("time__xxx")
    assert [names.meant(name, SERVERS) for name in shown] == [first, second]


def test_the_longest_name_that_fits_is_not_shortened() -> None:
    name = "x" * (LONGEST_NAME - len("time__"))

    assert Names().shown(Place("time", name), SERVERS) == f"time__{name}"
    assert Names().shown(Place("time", name + "x"), SERVERS) != f"time__{name}x"


def test_a_tool_stays_the_one_that_was_listed_when_a_server_comes_that_fits_better() -> None:
    names = Names()
    shown = names.shown(Place("git", "hub__issue"), ["git"])
    under = names.shown(Place("git", "_x"), ["git"])

    assert (shown, under) == ("git__hub__issue", "git___x")
    assert names.meant(shown, SERVERS) == Place("git", "hub__issue")
    assert names.meant(under, ["git", "git_"]) == Place("git", "_x")
    assert names.shown(Place("git__hub", "issue"), SERVERS) == shown
    assert names.meant(shown, SERVERS) == Place("git__hub", "issue")


def test_a_shortened_name_from_an_earlier_session_asks_for_the_lists_first() -> None:
    place = Place("time", "x" * 300)
    shown = Names().shown(place, SERVERS)
    later = Names()

    assert later.must_be_listed(shown)
    later.shown(place, SERVERS)
    assert not later.must_be_listed(shown)
    assert later.meant(shown, SERVERS) == place


def test_a_tool_whose_own_name_looks_shortened_is_asked_about_once() -> None:
    names, place = Names(), Place("time", "of_0123456789abcdef")

    assert names.must_be_listed("time__of_0123456789abcdef")
    assert names.shown(place, SERVERS) == "time__of_0123456789abcdef"
    assert not names.must_be_listed("time__of_0123456789abcdef")
    assert names.meant("time__of_0123456789abcdef", SERVERS) == place


def test_shortened_names_are_forgotten_from_the_longest_unused_on() -> None:
    names = Names()
    shown = [names.shown(Place("time", f"{n:0200}"), SERVERS) for n in range(MOST_NAMES)]
    names.meant(shown[0], SERVERS)
    names.shown(Place("time", "y" * 200), SERVERS)

    assert not names.must_be_listed(shown[0])
    assert names.must_be_listed(shown[1])


@given(st.lists(st.tuples(server_names, tool_names), min_size=1, max_size=20, unique=True))
def test_every_tool_has_a_name_of_its_own_and_is_found_by_it(pairs: list[tuple[str, str]]) -> None:
    servers = sorted({server for server, _ in pairs})
    places = [Place(*pair) for pair in pairs]
    names = Names()
    shown = [names.shown(place, servers) for place in places]

    assert len(set(shown)) == len(places)
    assert [names.meant(name, servers) for name in shown] == places
    assert all(len(name) <= LONGEST_NAME for name in shown)


def test_a_call_reaches_its_server_with_nothing_but_the_name_changed() -> None:
    line = (
        b'{"id":"seven","params":{"arguments":{"n":1.0e1,"n2":12345678901234567890},'
        b'"name":"git__log","requestState":"s","_meta":{"progressToken":0}},'
        b'"method":"tools/call","jsonrpc":"2.0","x":null}'
    )
    sent = aggregate.for_server(read(line), "log")

    assert sent.line == line.replace(b"git__log", b"log")
    assert (sent.name, sent.tail) == ("log", "tools.call.log")
    assert sent.affinity == read(line).affinity is not None


def test_a_request_that_names_nothing_passes_untouched() -> None:
    line = b'{"jsonrpc":"2.0", "id":1, "method":"resources/read","params":{"uri":"a:b"}}'

    assert aggregate.for_server(read(line)).line == line


def test_a_completion_gets_the_servers_own_name_of_the_prompt() -> None:
    ref = {"type": "ref/prompt", "name": "git__review"}
    request = asked("completion/complete", ref=ref, argument={"name": "a", "value": "b"})

    assert aggregate.reference(request) == ("ref/prompt", "git__review")
    sent = aggregate.for_server(request, "review")
    assert params(sent)["ref"] == {"type": "ref/prompt", "name": "review"}
    assert params(sent)["argument"] == {"name": "a", "value": "b"}
    assert sent.tail == "completion.complete"


@pytest.mark.parametrize("ref", [None, 7, {}, {"type": "ref/prompt", "name": 7}])
def test_a_completion_of_nothing_names_nothing(ref: object) -> None:
    assert aggregate.reference(asked("completion/complete", ref=ref))[1] == ""


def test_a_completion_of_a_template_names_its_uri() -> None:
    ref = {"type": "ref/resource", "uri": "file:///{path}"}

    request = asked("completion/complete", ref=ref)
    assert aggregate.reference(request) == ("ref/resource", "file:///{path}")


@pytest.mark.parametrize("name", [None, "log"])
def test_no_server_learns_that_the_client_knows_tasks(name: str | None) -> None:
    extensions = {"io.modelcontextprotocol/tasks": {}, "com.example/x": {"a": 1}}
    request = asked("tools/call", name="git__log", _meta={CAPABILITIES: {"extensions": extensions}})

    sent = params(aggregate.for_server(request, name))
    assert sent["_meta"][CAPABILITIES] == {"extensions": {"com.example/x": {"a": 1}}}


def test_a_page_is_asked_for_without_the_clients_progress_token() -> None:
    request = asked("tools/list", _meta={"progressToken": 7, "traceparent": "t"})

    sent = aggregate.page_request(request, Raw(b'"next"'))
    assert params(sent) == {"_meta": {"traceparent": "t"}, "cursor": "next"}


def test_a_request_of_ours_has_the_clients_meta_and_nothing_else_of_it() -> None:
    request = asked("tools/call", name="x", requestState="s", _meta={"traceparent": "t"})

    sent = aggregate.sibling(request, "tools/list", {})
    body = json.loads(sent.line)
    assert (body["method"], body["params"]) == ("tools/list", {"_meta": {"traceparent": "t"}})
    assert (sent.method, sent.name, sent.affinity) == ("tools/list", None, None)


def test_a_servers_part_of_a_subscription_keeps_the_clients_id() -> None:
    request = asked("subscriptions/listen", notifications={"a": 1}, _meta={"x": 1})

    sent = aggregate.listen_request(request, {"toolsListChanged": True})
    assert json.loads(sent.line)["id"] == "seven"
    assert params(sent) == {"notifications": {"toolsListChanged": True}, "_meta": {"x": 1}}
