"""A message off the bus: the subject, the headers and the body must agree."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.errors import Mismatch, NoResponders, ParseError, RemoteProtocolError
from mcpnatsd.protocol import eras, headers, incoming, jsonrpc, subjects
from mcpnatsd.protocol.incoming import PINNED_TOKENS, REQUEST_TOKENS, Asked, Incoming
from mcpnatsd.protocol.subjects import Prefix

PREFIX = Prefix.parse("mcp.{user}")
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(".=/ \r\n"), max_size=20)


def arrived(
    tail: str, body: bytes = b"", *pairs: tuple[str, str], kind: str = "req.git"
) -> Incoming:
    between = PINNED_TOKENS if kind.startswith("ses") else REQUEST_TOKENS
    subject = f"mcp.ann.{kind}.{tail}".encode()
    return incoming.read(PREFIX, between, subject, b"_INBOX.1", body, headers.encode(pairs))


def request(method: str, **params: object) -> bytes:
    line = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return json.dumps(line).encode()


def asked(message: Incoming, *tools: str) -> Asked:
    return incoming.asked(message, message.body, lambda: tools, "1.0")


def checked(message: Incoming, *tools: str) -> Asked:
    one = asked(message, *tools)
    message.check(one.request.method, one.name)
    return one


def params_of(one: Asked) -> dict[str, object]:
    params = json.loads(jsonrpc.encode(one.params))
    assert isinstance(params, dict)
    return params


# A subject, taken apart.


def test_a_request_is_taken_apart() -> None:
    message = arrived("tools.call.admin.list", b"{}", ("Mcp-Call", "c1"), ("Mcp-Frame", "part"))

    assert message.tail == "tools.call.admin.list"
    assert message.reply == "_INBOX.1"
    assert message.user == b"ann"
    assert (message.call, message.frame) == ("c1", "part")


def test_a_pinned_request_names_its_tunnel_and_its_prefix() -> None:
    message = arrived("tools.list", kind="ses.git.inst1.tunnel1")

    assert (message.tail, message.pinned_id, message.base) == ("tools.list", "tunnel1", "mcp.ann")


def test_a_cancels_tail_is_its_server() -> None:
    message = incoming.read(PREFIX, REQUEST_TOKENS, b"mcp.ann.cxl.git", b"", b"{}", None)

    assert (message.tail, message.call, message.user) == ("git", "", b"ann")


def test_a_prefix_without_a_caller_names_none() -> None:
    plain = Prefix.parse("mcp")

    message = incoming.read(plain, REQUEST_TOKENS, b"mcp.req.git.ping", b"", b"", None)

    assert message.user == b""


def test_a_subject_of_odd_bytes_is_read_all_the_same() -> None:
    """nats-server lets any byte but blanks pass."""
    subject = b"mcp.\xff.ses.git.inst1.\xfe\xff.ping\xff"

    message = incoming.read(PREFIX, PINNED_TOKENS, subject, b"\xff", b"", None)

    assert message.user == b"\xff"
    assert message.pinned_id == "\xfe\xff"
    assert message.base == "mcp.\xff"
    with pytest.raises(Mismatch):
        message.check("ping", None)


# WIRE.md, "Integrity".


@given(method=st.sampled_from([*subjects.NAMED, "tools/list", "x.y/z"]), name=TEXT)
def test_a_message_that_agrees_with_itself_passes(method: str, name: str) -> None:
    member = subjects.NAMED.get(method, "other")
    body = request(method, **{member: name})
    own = name if method in subjects.NAMED else None
    pairs = [("Mcp-Method", headers.safe(method))]
    if own is not None:
        pairs.append(("Mcp-Name", headers.safe(own)))

    one = checked(arrived(subjects.tail(method, own), body, *pairs))

    assert (one.request.method, one.name, one.bare) == (method, own, False)


@pytest.mark.parametrize(
    "tail",
    [
        "tools.call.=64elete_repo",
        "tools.call.=64=65lete_repo",
        "tools.call.get_repo",
        "tools.call.delete_repo.x",
        "tools.call.delete_repo.=",
        "tools.call.Delete_repo",
        "tools.call",
        "tools.list",
        "prompts.get.delete_repo",
        "tools/call.delete_repo",
    ],
)
def test_a_body_is_refused_under_any_other_subject(tail: str) -> None:
    """The access rule stands on the subject; the server acts on the body."""
    with pytest.raises(Mismatch, match="subject"):
        checked(arrived(tail, request("tools/call", name="delete_repo")))


@pytest.mark.parametrize("name", ["=64elete_repo", "delete_repo ", "DELETE_REPO", ".delete_repo"])
def test_a_body_that_names_nearly_the_same_is_refused(name: str) -> None:
    with pytest.raises(Mismatch):
        checked(arrived("tools.call.delete_repo", request("tools/call", name=name)))


def test_an_escaped_name_is_the_name_it_means() -> None:
    body = request("tools/call", name="x").replace(b'"x"', rb'"\u0064elete_repo"')

    assert checked(arrived("tools.call.delete_repo", body)).name == "delete_repo"
    with pytest.raises(Mismatch):
        checked(arrived("tools.call.get_repo", body))


def test_of_a_member_that_stands_twice_the_one_that_goes_on_is_checked() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","name":"delete"}}'

    one = asked(arrived("tools.call.get", line))

    assert one.name == "delete"
    assert params_of(one) == {"name": "delete"}
    with pytest.raises(Mismatch):
        checked(arrived("tools.call.get", line))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Mcp-Name", "get"),
        ("Mcp-Name", ""),
        ("Mcp-Name", "=?base64?ZGVsZXRl"),
        ("Mcp-Name", "=?base64?é?="),
        ("Mcp-Name", "Delete"),
        ("Mcp-Method", "tools/list"),
        ("Mcp-Method", "tools.call"),
    ],
)
def test_a_header_that_disagrees_is_refused(header: str, value: str) -> None:
    body = request("tools/call", name="delete")

    with pytest.raises(Mismatch, match=header):
        checked(arrived("tools.call.delete", body, (header, value)))


def test_a_name_in_the_headers_of_what_names_nothing_is_refused() -> None:
    with pytest.raises(Mismatch, match="Mcp-Name"):
        checked(arrived("tools.list", request("tools/list"), ("Mcp-Name", "x")))


def test_headers_may_be_absent_or_encoded() -> None:
    body = request("tools/call", name="delete")

    assert checked(arrived("tools.call.delete", body)).name == "delete"
    encoded = ("Mcp-Name", "=?base64?ZGVsZXRl?=")
    assert checked(arrived("tools.call.delete", body, encoded)).name == "delete"


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
        b"hello",
        b"",
    ],
)
def test_only_requests_are_asked(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        asked(arrived("tools.list", body))


@pytest.mark.parametrize("member", ["Method", "METHOD", "Params", "JSONRPC", "ID", "re\u017fult"])
def test_a_member_that_looks_like_another_is_refused(member: str) -> None:
    """A server that ignores case would act on it."""
    line = {**json.loads(request("tools/call", name="get")), member: "tools/call"}
    body = json.dumps(line).encode()

    with pytest.raises(RemoteProtocolError, match="looks like"):
        asked(arrived("tools.call.get", body))


@pytest.mark.parametrize("member", ["NAME", "Name", "_META", "Uri", "Arguments"])
@pytest.mark.parametrize("method", subjects.NAMED)
def test_a_param_that_looks_like_a_name_is_refused(method: str, member: str) -> None:
    known = {"name": "get", "uri": "file:x"}
    body = request(method, **known, **{member: "delete"})

    with pytest.raises(RemoteProtocolError, match="looks like"):
        asked(arrived(subjects.tail(method, known[subjects.NAMED[method]]), body))


def test_what_names_nothing_may_have_params_of_any_name() -> None:
    assert asked(arrived("tools.list", request("tools/list", Name="x"))).name is None


def test_a_notification_with_a_member_that_looks_like_another_is_none() -> None:
    body = b'{"jsonrpc":"2.0","method":"notifications/x","Method":"notifications/cancelled"}'

    assert incoming.notified(body) is None


# A bare body. WIRE.md, "Frames": a JSON object without `jsonrpc` is taken as the arguments.


def test_bare_arguments_become_a_call_of_the_subjects_tool() -> None:
    one = checked(arrived("tools.call.echo", b' {"text": 1.50} \n'))

    assert (one.bare, one.name, one.request.method) == (True, "echo", "tools/call")
    assert params_of(one) == {
        "name": "echo",
        "arguments": {"text": 1.5},
        "_meta": eras.our_meta("1.0"),
    }
    assert b'{"text": 1.50}' in jsonrpc.encode(one.params)
    sent = jsonrpc.decode(one.request.with_id(one.request.id, one.params))
    assert sent.members.keys() == {"jsonrpc", "id", "method", "params"}


def test_no_body_is_no_arguments() -> None:
    assert params_of(checked(arrived("tools.call.echo")))["arguments"] == {}
    assert params_of(checked(arrived("tools.call.echo", b" \r\n")))["arguments"] == {}


@pytest.mark.parametrize("body", [b"[1]", b"7", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_arguments_are_an_object(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        asked(arrived("tools.call.echo", body))


def test_an_argument_called_jsonrpc_in_a_nested_object_is_an_argument() -> None:
    one = asked(arrived("tools.call.echo", b'{"message":{"jsonrpc":"2.0"}}'))

    assert one.bare


def test_an_envelope_in_disguise_is_an_envelope() -> None:
    """However it is written, the call that is checked is the call that is made."""
    body = request("tools/call", name="delete").replace(b'"jsonrpc"', rb'"json\u0072pc"')

    with pytest.raises(Mismatch):
        checked(arrived("tools.call.get", body))


def test_a_bare_body_calls_nothing_but_tools() -> None:
    for tail in ("prompts.get.x", "tools.list", "tools.call", "tools.callx.y"):
        with pytest.raises(RemoteProtocolError):
            asked(arrived(tail, b"{}"))


@pytest.mark.parametrize("name", ["a b", "é", "x" * 300, "=", ""])
def test_a_name_that_is_encoded_is_found_in_the_servers_list(name: str) -> None:
    message = arrived(subjects.tail("tools/call", name), b"{}")

    if name:
        assert checked(message, "other", name).name == name
    with pytest.raises(RemoteProtocolError, match="Mcp-Name"):
        asked(message, "other")


def test_a_name_that_is_encoded_may_stand_in_the_header() -> None:
    message = arrived("tools.call.a=20b", b"{}", ("Mcp-Name", "a b"))

    assert checked(message).name == "a b"


def test_a_header_cannot_turn_a_bare_call_to_another_tool() -> None:
    message = arrived("tools.call.get", b"{}", ("Mcp-Name", "delete"))

    with pytest.raises(Mismatch, match="Mcp-Name"):
        checked(message)


# Notifications.


def test_a_notification_wants_no_answer() -> None:
    note = incoming.notified(b'{"jsonrpc":"2.0","method":"notifications/x"}')

    assert note is not None
    assert note.method == "notifications/x"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", request("ping"), b'{"jsonrpc":"2.0","id":1,"result":1}', b"\xff"]
)
def test_anything_else_is_no_notification(body: bytes) -> None:
    assert incoming.notified(body) is None


# Refusals.


def test_a_caller_that_speaks_json_rpc_is_refused_in_it() -> None:
    body, block = arrived("ping", request("ping")).refusal(NoResponders("nobody"))

    assert block == b""
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -31001, "message": "nobody"},
    }


def test_a_caller_with_a_call_token_is_too_whatever_it_sent() -> None:
    body, block = arrived("ping", b"\xff", ("Mcp-Call", "c")).refusal(ParseError("not UTF-8"))

    assert block == b""
    assert json.loads(body)["id"] is None


def test_a_bare_caller_is_refused_as_nats_services_do() -> None:
    """ADR-32: `Nats-Service-Error` and `Nats-Service-Error-Code`."""
    body, block = arrived("tools.call.x", b"{}").refusal(NoResponders("nobody\r\nserves é"))

    found = headers.parse(block)
    assert body == b""
    assert headers.plain(found["Nats-Service-Error"]) == "nobody\r\nserves é"
    assert found["Nats-Service-Error-Code"] == "-31001"
    assert len(found) == 2
