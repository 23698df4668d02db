"""Subjects: reversible names, no byte of a client raw, no two names on one subject."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcpnatsd.errors import ConfigError
from mcpnatsd.protocol import subjects
from mcpnatsd.protocol.subjects import Prefix

TEXT = st.text(
    st.characters() | st.sampled_from(".=/*>_-h \r\n\0\u2028\ud800") | st.sampled_from("aZ09")
)
SAFE_TOKEN = re.compile(r"[A-Za-z0-9_=-]+")
NAMED = ("tools/call", "prompts/get", "resources/read")


def is_safe(subject: str) -> bool:
    return all(SAFE_TOKEN.fullmatch(token) for token in subject.split("."))


# WIRE.md, "Subjects": "no client byte ever reaches a subject raw".


@given(method=TEXT, name=st.none() | TEXT)
def test_whatever_a_client_names_no_byte_of_it_is_raw(method: str, name: str | None) -> None:
    assert is_safe(subjects.tail(method, name))


@given(method=st.sampled_from(NAMED), name=TEXT, times=st.integers(min_value=1, max_value=100))
def test_a_subject_fits_in_a_line_of_nats(method: str, name: str, times: int) -> None:
    """NATS ends a connection at 4096 bytes a line."""
    assert len(subjects.tail(method, name * times)) < 400
    assert len(subjects.tail(method * times, name * times)) < 800


@pytest.mark.parametrize(
    "evil", ["x\r\nPUB a 0\r\n", "x y", "x\ty", "*", ">", "a.>", "a.*.b", "\0"]
)
def test_no_method_or_name_injects_a_command_or_a_wildcard(evil: str) -> None:
    for tail in (
        subjects.tail(evil),
        subjects.tail("tools/call", evil),
        subjects.tail("resources/read", evil),
        subjects.tail("resources/read", f"{evil}:rest"),
    ):
        assert is_safe(tail)


def undone(encoded: str) -> str:
    """Read an encoded name back: nothing in the program does, so this is the proof."""
    levels = [
        re.sub(rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), level.encode())
        for level in ("" if level == "=" else level for level in encoded.split("."))
    ]
    return b".".join(levels).decode("utf-8", "surrogatepass")


@given(TEXT)
def test_a_name_can_be_read_back(name: str) -> None:
    encoded = subjects.encode_name(name)
    assume(not encoded.startswith("=h"))

    assert undone(encoded) == name


@given(TEXT, TEXT)
def test_two_names_never_share_a_subject(one: str, other: str) -> None:
    assume(one != other)

    assert subjects.encode_name(one) != subjects.encode_name(other)
    assert subjects.encode_method(one) != subjects.encode_method(other)
    assert subjects.encode_piece(one) != subjects.encode_piece(other)
    assert subjects.encode_uri(one) != subjects.encode_uri(other)
    assert subjects.endpoint_name(one) != subjects.endpoint_name(other)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("get_issue", "get_issue"),
        ("admin.tools.list", "admin.tools.list"),
        ("", "="),
        (".", "=.="),
        ("a..b", "a.=.b"),
        (".a.", "=.a.="),
        ("=", "=3D"),
        ("=64elete_repo", "=3D64elete_repo"),
        ("a b\r\n", "a=20b=0D=0A"),
        ("é", "=C3=A9"),
        ("\U0001f600", "=F0=9F=98=80"),
        ("\ud800", "=ED=A0=80"),
    ],
)
def test_names_as_an_operator_grants_them(name: str, encoded: str) -> None:
    assert subjects.tail("tools/call", name) == f"tools.call.{encoded}"


def test_a_tool_is_denied_by_one_spelling_and_has_no_other() -> None:
    """WIRE.md: `=64elete_repo` must not pass a deny of `delete_repo`."""
    denied = subjects.tail("tools/call", "delete_repo")

    for other in ("=64elete_repo", "Delete_repo", "delete_repo ", "delete.repo", "delete_repo\0"):
        assert subjects.tail("tools/call", other) != denied


def test_200_bytes_are_written_out_and_201_are_a_hash() -> None:
    assert subjects.encode_name("a" * 200) == "a" * 200
    assert re.fullmatch(r"=h[0-9a-f]{64}", subjects.encode_name("a" * 201))
    assert re.fullmatch(r"=h[0-9a-f]{64}", subjects.encode_method("a" * 201))
    assert re.fullmatch(r"=h[0-9a-f]{64}", subjects.encode_name("é" * 40))


def test_a_name_that_looks_like_a_hash_is_not_one() -> None:
    hashed = subjects.encode_name("a" * 201)

    assert subjects.encode_name(hashed) != hashed


def test_a_method_is_split_at_slashes_only() -> None:
    assert subjects.encode_method("tools/call") == "tools.call"
    assert subjects.encode_method("a.b/c") == "a=2Eb.c"
    assert subjects.encode_method("//") == "=.=.="
    assert subjects.encode_method("") == "="


def test_a_resource_is_granted_by_scheme() -> None:
    file = subjects.tail("resources/read", "file:///etc/passwd")

    assert re.fullmatch(r"resources\.read\.file\.[0-9a-f]{64}", file)
    assert subjects.encode_uri("no scheme").startswith("=.")
    assert subjects.encode_uri("git+ssh://x").startswith("git=2Bssh.")
    assert re.fullmatch(r"=h[0-9a-f]{64}\.[0-9a-f]{64}", subjects.encode_uri("s" * 300 + ":x"))


def test_what_is_long_is_encoded_but_not_remembered() -> None:
    """Names of many megabytes would otherwise stay in memory, four thousand of them."""
    before = subjects._tail.cache_info().currsize

    tails = {subjects.tail("tools/call", "x" * size) for size in range(1000, 1010)}

    assert len(tails) == 10
    assert subjects._tail.cache_info().currsize == before


# ADR-32: an endpoint's name is [A-Za-z0-9_-]+.


@given(TEXT)
def test_an_endpoints_name_is_one_that_adr_32_allows(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", subjects.endpoint_name(name))


def test_an_endpoints_name_stays_readable() -> None:
    assert subjects.endpoint_name("get-issue") == "get-issue"
    assert subjects.endpoint_name("get_issue") == "get_issue"
    assert subjects.endpoint_name("a.b") == "a_2Eb"


@given(*[st.text(st.sampled_from("_.2E5Fh"), max_size=5)] * 2)
def test_no_tool_can_pass_for_another_in_the_list_of_endpoints(one: str, other: str) -> None:
    """Names of ours start with `_`, and a tool's never does but where it is encoded."""
    assert (one == other) == (subjects.endpoint_name(one) == subjects.endpoint_name(other))
    assert re.match(r"_(h|[0-9A-F]{2})|[^_]", subjects.endpoint_name(one))


# Servers and prefixes.


@pytest.mark.parametrize("name", ["a", "A_b-9", "x" * 64])
def test_a_servers_name_is_one_token(name: str) -> None:
    assert subjects.is_server_name(name)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "é", "a\n", "x" * 65, "{user}", "="])
def test_nothing_else_is_a_servers_name(name: str) -> None:
    assert not subjects.is_server_name(name)


def test_a_prefix_listens_to_any_caller_and_speaks_as_one() -> None:
    prefix = Prefix.parse("mcp.{account}.{user}")

    assert prefix.names_caller
    assert prefix.listening == "mcp.*.*"
    assert prefix.plain == "mcp"
    assert prefix.speaking(account="acme", user="ann@x.org") == "mcp.acme.ann=40x=2Eorg"
    assert prefix.speaking() == "mcp.=.="


def test_a_caller_is_one_token_of_a_bounded_length() -> None:
    assert subjects.encode_caller("a.*.>") == "a=2E=2A=2E=3E"
    assert subjects.encode_caller("x" * 200) == "x" * 200
    assert re.fullmatch(r"=h[0-9a-f]{64}", subjects.encode_caller("x" * 201))
    assert subjects.encode_caller("x" * 201) != subjects.encode_caller("x" * 202)


def test_a_prefix_in_an_account_is_that_of_all_its_users() -> None:
    prefix = Prefix.parse("mcp.{account}.{user}").in_account("acme.org")

    assert prefix.names_user
    assert prefix.speaking(user="ann") == "mcp.acme=2Eorg.ann"
    assert not Prefix.parse("mcp.{account}").names_user


def test_a_prefix_without_placeholders_is_the_same_for_all() -> None:
    prefix = Prefix.parse("a.b-c")

    assert not prefix.names_caller
    assert prefix.listening == prefix.plain == prefix.speaking(user="ann") == "a.b-c"
    assert prefix.caller_in([b"a", b"b-c", b"req"]) == b""


@given(account=TEXT, user=TEXT)
def test_the_caller_is_read_off_the_subject_it_speaks_on(account: str, user: str) -> None:
    prefix = Prefix.parse("{account}.mcp.{user}")
    subject = subjects.request(prefix.speaking(account=account, user=user), "git", "tools.list")

    assert is_safe(subject)
    own = f"{subjects.encode_caller(account)}.{subjects.encode_caller(user)}"
    assert prefix.caller_in(subject.encode().split(b".")) == own.encode()


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "*", "a.>", "{User}", "{user", "x{user}", "a\n"]
)
def test_a_malformed_prefix_is_the_configurations_fault(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nats\.prefix"):
        Prefix.parse(text)


def test_every_kind_of_subject_has_its_place() -> None:
    assert subjects.request("mcp", "git", "tools.list") == "mcp.req.git.tools.list"
    assert subjects.pinned("mcp", "git", "I", "T", "ping") == "mcp.ses.git.I.T.ping"
    assert subjects.cancel("mcp", "git") == "mcp.cxl.git"
    assert subjects.event("mcp", "git", "tools") == "mcp.evt.git.tools"
