"""JSON-RPC envelopes: what is read, what is refused, and that payloads keep their bytes."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpnatsd.errors import InstanceLost, NoResponders, ParseError, RemoteProtocolError
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.jsonrpc import Notification, Request, Response

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DEEP = 100_000


def request(id: bytes = b"1", params: bytes = b"{}") -> bytes:
    return b'{"jsonrpc":"2.0","id":' + id + b',"method":"tools/call","params":' + params + b"}"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


# What a message is.


def test_an_id_makes_a_request_and_none_a_notification() -> None:
    assert isinstance(jsonrpc.decode(request()), Request)
    assert isinstance(jsonrpc.decode(b'{"jsonrpc":"2.0","method":"x"}'), Notification)


def test_members_come_in_any_order() -> None:
    """TypeScript servers put `result` first."""
    message = jsonrpc.decode(b'{"result":{},"jsonrpc":"2.0","id":"a"}')

    assert isinstance(message, Response)
    assert bytes(message.id) == b'"a"'
    assert not message.is_error


def test_unknown_members_are_kept() -> None:
    message = jsonrpc.decode(b'{"jsonrpc":"2.0","id":1,"method":"x","extra":[1.50]}')

    assert bytes(message.members["extra"]) == b"[1.50]"


@pytest.mark.parametrize("id", [b"null", b"7", b'"7"', b"7.5"])
def test_an_error_may_have_any_id(id: bytes) -> None:
    """2026-07-28, Basic: the id of an error is absent when the request could not be read."""
    message = jsonrpc.decode(b'{"jsonrpc":"2.0","id":' + id + b',"error":{"code":1}}')

    assert isinstance(message, Response)
    assert message.is_error
    assert bytes(message.id) == id


def test_an_error_needs_no_id() -> None:
    message = jsonrpc.decode(b'{"jsonrpc":"2.0","error":{"code":1}}')

    assert isinstance(message, Response)
    assert bytes(message.id) == b"null"


# Ids. 2026-07-28, Basic: "Requests MUST include a string or integer ID", never null.


@pytest.mark.parametrize(
    "id", [b"0", b"-0", b"7", b"-7", b'"7"', b'""', b'"\\u00e9"', b"9" * 30, b"9" * 5000]
)
def test_strings_and_integers_of_any_size_are_ids(id: bytes) -> None:
    message = jsonrpc.decode(request(id))

    assert isinstance(message, Request)
    assert bytes(message.id) == id


@pytest.mark.parametrize(
    "id", [b"1.0", b"1e3", b"1E3", b"-1.5", b"true", b"false", b"null", b"[1]", b"[]", b"{}"]
)
def test_nothing_else_is_an_id(id: bytes) -> None:
    """`1.0` and `true` would equal 1 in Python, and share its answer."""
    with pytest.raises(RemoteProtocolError, match="string or an integer"):
        jsonrpc.decode(request(id))


@pytest.mark.parametrize("id", [b"1.0", b"true", b"null", b"[1]"])
def test_a_result_needs_an_id_like_a_request(id: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        jsonrpc.decode(b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}')


def test_zero_and_the_digit_and_the_number_are_three_keys() -> None:
    keys = [jsonrpc.key_of(Raw(raw)) for raw in (b"7", b'"7"', b"0", b'"\\u0037"')]

    assert keys == [7, "7", 0, "7"]
    assert [type(key) for key in keys] == [int, str, int, str]


@pytest.mark.parametrize("raw", [b"1.0", b"true", b"null", b"[1]", b"{}", b"1" * 5000])
def test_what_cannot_be_compared_is_no_key(raw: bytes) -> None:
    assert jsonrpc.key_of(Raw(raw)) is None
    assert jsonrpc.key_of(None) is None


# What is refused.


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{",
        b"{}}",
        b'{"a":}',
        b"{'a':1}",
        request(id=b"01"),
        request(params=b"NaN"),
        request(params=b'"a\rb"'),
        request(params=b'"a\nb"'),
        request(params=b'"\\x"'),
        request() + b"\x00",
        request() + request(),
        b"\xef\xbb\xbf" + request(),
        request().decode().encode("utf-16"),
    ],
)
def test_what_is_not_json_is_a_parse_error(line: bytes) -> None:
    with pytest.raises(ParseError):
        jsonrpc.decode(line)


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"]
)
def test_what_is_not_utf_8_is_refused_wherever_it_stands(text: bytes) -> None:
    """Python servers replace such bytes: the caller would never learn what was called."""
    with pytest.raises(ParseError, match="UTF-8"):
        jsonrpc.decode(request(params=b'{"a":"' + text + b'"}'))


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'"\udc00\ud800"', rb'"a\udfffb"'])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(text: bytes) -> None:
    for line in (request(id=text), request(params=text), request(params=b"[" + text + b"]")):
        with pytest.raises(ParseError):
            jsonrpc.decode(line)


@pytest.mark.parametrize("line", [nested(1), nested(DEEP), b" \t\r\n[1]", b"[" * DEEP])
def test_a_batch_is_refused_by_name(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="batches"):
        jsonrpc.decode(line)


@pytest.mark.parametrize("line", [b"1", b'"{}"', b"null", b"true"])
def test_a_message_is_an_object(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not an object"):
        jsonrpc.decode(line)


@pytest.mark.parametrize(
    "line",
    [
        request(params=nested(DEEP)),
        request(params=b"[" * DEEP),
        request(params=b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        b'{"jsonrpc":' * DEEP,
    ],
)
def test_deep_nesting_is_an_error_and_no_crash(line: bytes) -> None:
    with pytest.raises(ParseError, match="deep"):
        jsonrpc.decode(line)
    assert jsonrpc.id_in(line) is None


def in_a_deep_call(levels: int, members: dict[str, Raw]) -> object:
    if levels:
        return in_a_deep_call(levels - 1, members)
    return jsonrpc.params_of(members), jsonrpc.object_of(members, "params")


def test_what_was_just_shallow_enough_is_still_no_crash_in_a_deeper_call() -> None:
    """The stack that Python and the decoder share is fuller there."""
    for levels in range(900, 1000):
        params = Raw(b'{"a":' + nested(levels) + b"}")
        try:
            in_a_deep_call(60, {"params": params})
        except ParseError:
            return
    pytest.fail("it never became too deep")


@pytest.mark.parametrize(
    "version", [b'"1.0"', b"2.0", b"2", b"null", b'"2.0 "', b'"2\\u002e0"', b'["2.0"]']
)
def test_only_version_2_0_is_spoken(version: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"2\.0"):
        jsonrpc.decode(b'{"jsonrpc":' + version + b',"id":1,"method":"x"}')


@pytest.mark.parametrize(
    "members",
    [
        b'"id":1',
        b'"id":1,"result":1,"error":{}',
        b'"id":1,"method":"x","result":1',
        b'"method":"x","error":{}',
        b'"id":1,"method":7',
        b'"method":["x"]',
    ],
)
def test_a_message_is_exactly_one_thing(members: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        jsonrpc.decode(b'{"jsonrpc":"2.0",' + members + b"}")


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_arrives_is_a_message_or_a_protocol_error(line: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        jsonrpc.decode(line)

    assert json.loads(jsonrpc.error_of(jsonrpc.id_in(line), ParseError("odd")))


# Payloads keep their bytes.


@given(params=st.dictionaries(st.text(), JSON, max_size=4), ours=st.integers(min_value=1))
def test_a_request_under_another_id_is_otherwise_the_same(
    params: dict[str, object], ours: int
) -> None:
    line = request(id=b'"theirs"', params=json.dumps(params).encode())
    message = jsonrpc.decode(line)
    assert isinstance(message, Request)

    sent = message.with_id(Raw(b"%d" % ours), jsonrpc.params_of(message.members))

    assert b"\n" not in sent
    assert json.loads(sent) == json.loads(line) | {"id": ours}


def test_numbers_and_escapes_are_not_written_anew() -> None:
    odd = rb'{"a": 1.50e+2, "b":"\u00e9\/",  "c":-0.0,"d":123456789012345678901234567890}'
    message = jsonrpc.decode(b'{"jsonrpc":"2.0","id":1,"result":' + odd + b"}")
    assert isinstance(message, Response)

    assert odd in message.with_id(Raw(b'"x"'))


def test_of_two_members_with_one_name_only_one_goes_on() -> None:
    """What was checked is then what the server sees."""
    line = b'{"jsonrpc":"2.0","id":1,"method":"a","method":"b","params":{"name":"a","name":"b"}}'
    message = jsonrpc.decode(line)
    assert isinstance(message, Request)

    sent = message.with_id(Raw(b"2"), jsonrpc.params_of(message.members))

    assert sent == b'{"jsonrpc":"2.0","id":2,"method":"b","params":{"name":"b"}}'


# Duplicates, where bytes pass untouched.


@pytest.mark.parametrize(
    "line",
    [
        b'{"method":"a","method":"b"}',
        rb'{"method":"a","m\u0065thod":"b"}',
        b'{"method" : "a" , "params":{}, "method" : "a"}',
        b'{"a":12,"a":1}',
        b'{"a":1,"a":12}',
        b'{"a":1,"b":2,"a":1}',
        b'{"a":1,"b":2,"b":2}',
        b'{"a":"x\\",\\"a","a":"x"}',
        b'{"a":' + b"1" * 5000 + b',"a":1}',
    ],
)
def test_a_member_that_stands_twice_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="twice"):
        jsonrpc.refuse_duplicates(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":{"a":1},"b":{"a":1}}',
        b'{"a":' + b"1" * 5000 + b"}",
        b"{}",
        b" { } ",
        rb'{"\\":1,"\"":"}","a\u0022":[]}',
        b'{\n  "a" : {"b":1,"b":2} ,\r\n\t"c" : -1.5e3\n}\n',
    ],
)
def test_the_same_name_in_two_objects_is_fine(line: bytes) -> None:
    jsonrpc.refuse_duplicates(line)


@given(st.lists(st.tuples(st.text(max_size=3), JSON), max_size=6), st.sampled_from([None, 1]))
def test_exactly_what_stands_twice_is_refused(
    pairs: list[tuple[str, object]], indent: int | None
) -> None:
    gap = "\n " if indent else ""
    written = [
        f"{json.dumps(name)}{gap}:{gap}{json.dumps(value, indent=indent)}" for name, value in pairs
    ]
    line = f"{{{gap}{f'{gap},{gap}'.join(written)}{gap}}}".encode()

    if len({name for name, _ in pairs}) == len(pairs):
        jsonrpc.refuse_duplicates(line)
    else:
        with pytest.raises(RemoteProtocolError, match="twice"):
            jsonrpc.refuse_duplicates(line)


@pytest.mark.parametrize(
    "members", [{str(number): 1 for number in range(1001)}, {"x" * 1001: 1}]
)  # fmt: skip
def test_absurd_objects_are_not_looked_through(members: dict[str, int]) -> None:
    with pytest.raises(RemoteProtocolError, match="1000"):
        jsonrpc.refuse_duplicates(json.dumps(members).encode())


def test_looking_for_duplicates_decodes_no_payload() -> None:
    """A number of that many digits would make a decoder raise, or take its time."""
    payload = b"[" + b",".join([b"9" * 5000] * 1000) + b"]"

    jsonrpc.refuse_duplicates(b'{"a": ' + payload + b', "b": {"c": ' + payload + b"}}")


# Members that look like ours.


@pytest.mark.parametrize(
    "member",
    ["Method", "METHOD", "metHod", "Id", "\u0131d", "\u0130D", "re\u017fult", "PARAM\u017f"],
)
def test_a_member_that_looks_like_ours_is_refused(member: str) -> None:
    members = jsonrpc.split(json.dumps({"jsonrpc": "2.0", "method": "x", member: 1}).encode())

    with pytest.raises(RemoteProtocolError, match="looks like"):
        jsonrpc.refuse_lookalikes(members, jsonrpc.MEMBERS)


def test_a_member_that_looks_like_a_name_is_refused() -> None:
    for member in ("NAME", "Uri", "_Meta", "ARGUMENTS"):
        with pytest.raises(RemoteProtocolError, match=f"'{member}' looks like"):
            jsonrpc.refuse_lookalikes({member: Raw(b"1")}, jsonrpc.NAMING)


@pytest.mark.parametrize(
    "member", ["methods", "x", "", "i d", "i\u0307d\u0307x", "\ud800", "na-me"]
)
def test_a_member_of_its_own_passes(member: str) -> None:
    known = dict.fromkeys(jsonrpc.MEMBERS, Raw(b"1"))

    jsonrpc.refuse_lookalikes(known, jsonrpc.MEMBERS)
    jsonrpc.refuse_lookalikes({**known, member: Raw(b"1")}, jsonrpc.MEMBERS)


@pytest.mark.parametrize("line", [b'{"a":' + nested(DEEP) + b"}", b"{", b"\xff"])
def test_looking_for_duplicates_never_crashes(line: bytes) -> None:
    with pytest.raises(ParseError):
        jsonrpc.refuse_duplicates(line)


# Lines.


def test_a_pretty_printed_message_becomes_one_line() -> None:
    """Python servers read with universal newlines: a CR between tokens would cut the message."""
    pretty = b'{\r\n "jsonrpc":"2.0",\r"id":1,\n"method":"x"\r\n}\r\n'

    line = jsonrpc.single_line(pretty)

    assert b"\r" not in line
    assert b"\n" not in line
    assert json.loads(line) == json.loads(pretty)


def test_a_single_line_stays_the_same_object() -> None:
    line = ' {"a":"\u2028\u0085"} '.encode()

    assert jsonrpc.single_line(line) is line


# Members.


def test_members_of_the_wrong_kind_are_absent() -> None:
    members = jsonrpc.split(b'{"o":{"a":1},"s":"x","n":7,"l":[]}')

    assert bytes(jsonrpc.object_of(members, "o")["a"]) == b"1"
    assert jsonrpc.text_of(members, "s") == "x"
    assert [jsonrpc.object_of(members, name) for name in ("s", "n", "l", "none")] == [{}] * 4
    assert [jsonrpc.text_of(members, name) for name in ("o", "n", "l", "none")] == [None] * 4


@pytest.mark.parametrize("params", [b"[]", b"null", b'"x"', b"7"])
def test_params_must_be_an_object(params: bytes) -> None:
    message = jsonrpc.decode(request(params=params))

    with pytest.raises(RemoteProtocolError, match="params"):
        jsonrpc.params_of(message.members)


def test_no_params_are_empty_params() -> None:
    assert jsonrpc.params_of({}) == {}


# What we say ourselves.


def test_an_exception_of_ours_becomes_an_error_response() -> None:
    line = jsonrpc.error_of(Raw(b'"7"'), InstanceLost("gone"))

    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": "7",
        "error": {"code": -31005, "message": "gone", "data": {"outcome": "unknown"}},
    }


def test_an_unreadable_request_is_answered_under_null() -> None:
    line = jsonrpc.error_of(None, ParseError("not JSON"))

    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "not JSON"},
    }


def test_what_we_say_is_read_as_what_we_meant() -> None:
    answer = jsonrpc.decode(jsonrpc.result(b"0", {"ok": True}))
    note = jsonrpc.decode(jsonrpc.notification("notifications/x", {"a": 1}))

    assert isinstance(answer, Response)
    assert bytes(answer.members["result"]) == b'{"ok":true}'
    assert isinstance(note, Notification)
    assert note.method == "notifications/x"


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"id":7}', b"7"),
        (b'{"id":"x","jsonrpc":"1.0"}', b'"x"'),
        (b'{"id":1.0}', None),
        (b'{"id":null}', None),
        (b"[]", None),
        (b"", None),
        (b'{"id":7', None),
        (b'{"id":"\xff"}', None),
    ],
)
def test_an_error_names_the_id_where_one_can_be_read(line: bytes, id: bytes | None) -> None:
    found = jsonrpc.id_in(line)

    assert (None if found is None else bytes(found)) == id


def test_a_reported_error_keeps_its_code_and_data() -> None:
    fault = jsonrpc.reported(jsonrpc.error(b"1", -31005, "gone", {"outcome": "unknown"}))

    assert (fault.jsonrpc_code, str(fault), fault.data) == (-31005, "gone", {"outcome": "unknown"})


def test_an_error_object_is_reported_like_a_response() -> None:
    fault = jsonrpc.reported(jsonrpc.fault_body(NoResponders("nobody")))

    assert (fault.jsonrpc_code, str(fault), fault.data) == (-31001, "nobody", None)
    assert jsonrpc.fault_body(None) == b""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"error":7}', b'{"error":{"code":"x"}}', b"{}", nested(DEEP)]
)
def test_a_malformed_error_is_an_error_all_the_same(body: bytes) -> None:
    assert jsonrpc.reported(body).jsonrpc_code == -32603


def test_a_value_is_decoded_whole() -> None:
    assert jsonrpc.value_of(Raw(b'{"a":[1]}')) == {"a": [1]}
    with pytest.raises(msgspec.DecodeError):
        jsonrpc.value_of(b"{")


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"id":9}}', 7),
        (b'{"jsonrpc": "2.0", "id": "a", "result": {}}', "a"),
        (b'{"id":7,"jsonrpc":"2.0","result":{}}', 7),
        (b'{"result":{"id":9},"jsonrpc":"2.0","id":7}', 7),
        (b'{"result":{"id":9},"jsonrpc":"2.0"}', None),
        (b'{"result":{"jsonrpc":"2.0","id":9}}', None),
    ],
)
def test_the_id_of_a_message_is_found_at_its_ends_only(line: bytes, id: object) -> None:
    assert jsonrpc.id_at_ends(line, line) == id


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"x":NaN}}', b"7"),
        (b'{"jsonrpc": "2.0", "id": "a", "error": {"x": NaN}}', b'"a"'),
        (b'{"id":7,"result":', b"7"),
        (b'{"result":{"id":9,"x":NaN},"jsonrpc":"2.0","id":7}', b"7"),
        (b'{"result":{"x":"%b"},"jsonrpc":"2.0","id":7}' % (b"\xe9" * 5000), b"7"),
        (b'{"jsonrpc":"2.0","id":7,"method":"x","params":NaN}', None),
        (b'{"method":"x","params":{"result":NaN},"jsonrpc":"2.0","id":7}', None),
        (b'{"jsonrpc":"2.0","id":"\xff","result":NaN}', None),
        (b'{"jsonrpc":"2.0","id":"\\ud800","result":NaN}', None),
        (b'{"jsonrpc":"2.0","id":1.5,"result":NaN}', None),
        (b'{"result":NaN}', None),
        (b"{noise}", None),
    ],
)
def test_an_answer_that_is_not_json_names_its_request_all_the_same(
    line: bytes, id: bytes | None
) -> None:
    found = jsonrpc.answered_in(line)
    assert (found and bytes(found)) == id
