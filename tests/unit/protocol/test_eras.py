"""The two eras: what an answer says of a server, and what both sides are told."""

import json

import pytest

from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.jsonrpc import Request, Response

VERSION = "io.modelcontextprotocol/protocolVersion"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def response(**members: object) -> Response:
    message = jsonrpc.decode(json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode())
    assert isinstance(message, Response)
    return message


def failure(code: object, data: object = None) -> Response:
    return response(error={"code": code, "message": "no", "data": data})


def initialize(params: object) -> Request:
    line = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    message = jsonrpc.decode(json.dumps(line).encode())
    assert isinstance(message, Request)
    return message


# server/discover. 2026-07-28, Basic, Versioning.


def test_a_discover_result_with_our_revision_means_modern() -> None:
    result = {
        "supportedVersions": ["2026-07-28"],
        "_meta": {SERVER_INFO: {"name": "git", "version": "1.2"}},
    }

    verdict = eras.verdict_of_discover(response(result=result))

    assert verdict.modern is True
    assert verdict.legacy is None
    assert verdict.revisions == ("2026-07-28",)
    assert (verdict.server_name, verdict.server_version) == ("git", "1.2")
    assert json.loads(verdict.discovered) == result


@pytest.mark.parametrize("code", [-32020, -32021, -32022])
def test_an_error_that_only_modern_servers_send_means_modern(code: int) -> None:
    verdict = eras.verdict_of_discover(failure(code, {"supported": ["2027-01-01"]}))

    assert verdict.modern is True
    assert verdict.revisions == ("2027-01-01",)
    assert verdict.discovered == b""


@pytest.mark.parametrize("code", [-32601, -32602, -32600, -32000, 0, "-32022", -32022.0, None])
def test_any_other_error_means_legacy(code: object) -> None:
    assert eras.verdict_of_discover(failure(code)).modern is False


@pytest.mark.parametrize(
    "result",
    [
        {},
        [],
        "x",
        None,
        {"supportedVersions": ["2027-01-01"]},
        {"supportedVersions": "2026-07-28"},
        {"supportedVersions": [2026]},
        {"supportedVersions": {"2026-07-28": 1}},
    ],
)
def test_a_result_without_a_revision_of_ours_is_not_modern(result: object) -> None:
    assert eras.verdict_of_discover(response(result=result)).modern is False


@pytest.mark.parametrize("info", [None, [], {"name": 7}, {"version": None}])
def test_a_server_need_not_say_its_name(info: object) -> None:
    result = {"supportedVersions": ["2026-07-28"], "_meta": {SERVER_INFO: info}}

    verdict = eras.verdict_of_discover(response(result=result))

    assert (verdict.modern, verdict.server_name, verdict.server_version) == (True, "", "")


# initialize.


def test_an_initialize_result_means_legacy() -> None:
    result = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "git", "version": "1"}}

    verdict = eras.verdict_of_initialize(response(result=result))

    assert (verdict.modern, verdict.legacy) == (None, True)
    assert verdict.revisions == ("2025-06-18",)
    assert (verdict.server_name, verdict.server_version) == ("git", "1")


def test_a_modern_only_server_says_so_to_an_initialize() -> None:
    verdict = eras.verdict_of_initialize(failure(-32022, {"supported": ["2026-07-28"]}))

    assert (verdict.modern, verdict.legacy) == (True, False)
    assert verdict.revisions == ("2026-07-28",)


def test_another_error_says_nothing_of_the_modern_era() -> None:
    verdict = eras.verdict_of_initialize(failure(-32603, "odd data"))

    assert (verdict.modern, verdict.legacy, verdict.revisions) == (None, False, ())


def test_an_initialize_result_may_be_sparse() -> None:
    assert eras.verdict_of_initialize(response(result={})) == Verdict(
        legacy=True, initialized=b"{}"
    )


# Two verdicts.


def test_the_newer_of_two_verdicts_wins_and_silence_changes_nothing() -> None:
    old = Verdict(modern=True, legacy=True, revisions=("a", "b"), discovered=b"{}", server_name="x")
    new = Verdict(legacy=False, revisions=("b", "c"), server_version="2")

    assert eras.merged(old, new) == Verdict(
        modern=True,
        legacy=False,
        revisions=("b", "c", "a"),
        discovered=b"{}",
        server_name="x",
        server_version="2",
    )


def test_merging_with_nothing_is_the_same() -> None:
    known = Verdict(modern=False, legacy=True, revisions=("a",), server_name="x")

    assert eras.merged(known, Verdict()) == eras.merged(Verdict(), known) == known


@pytest.mark.parametrize(
    ("verdict", "names"),
    [
        (Verdict(), ""),
        (Verdict(modern=False), ""),
        (Verdict(modern=True, legacy=False), "modern"),
        (Verdict(legacy=True), "legacy"),
        (Verdict(modern=True, legacy=True), "modern,legacy"),
    ],
)
def test_eras_are_named_for_people(verdict: Verdict, names: str) -> None:
    assert verdict.names == names


# Who asks for what.


def test_a_modern_request_names_its_revision() -> None:
    assert eras.requested_revision(jsonrpc.split(b'{"%b":"2026-07-28"}' % VERSION.encode())) == (
        "2026-07-28"
    )


@pytest.mark.parametrize("meta", [b"{}", b'{"protocolVersion":"2026-07-28"}'])
def test_a_request_that_names_none_is_not_modern(meta: bytes) -> None:
    assert eras.requested_revision(jsonrpc.split(meta)) is None


@pytest.mark.parametrize("raw", [b"20260728", b"null", b'["2026-07-28"]'])
def test_a_revision_is_text(raw: bytes) -> None:
    meta = jsonrpc.split(b'{"%b":%b}' % (VERSION.encode(), raw))

    assert eras.requested_revision(meta) is None


def test_a_legacy_client_asks_in_its_initialize() -> None:
    request = initialize({"protocolVersion": "2024-11-05"})

    assert eras.requested_by_initialize(request) == "2024-11-05"
    assert eras.requested_by_initialize(initialize({})) == "2025-11-25"


def test_requests_of_our_own_have_all_that_a_modern_request_must_have() -> None:
    """2026-07-28, Basic: protocolVersion and clientCapabilities MUST, clientInfo SHOULD."""
    meta = eras.our_meta("1.2.3")

    assert meta == {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "mcpnatsd", "version": "1.2.3"},
    }


def test_an_initialize_of_our_own_offers_nothing() -> None:
    params = eras.our_initialize("1.2.3")

    assert params["capabilities"] == {}
    assert params["protocolVersion"] == "2025-11-25"


def test_a_call_of_a_tool_is_never_repeated() -> None:
    """WIRE.md, "Cancellation and loss": it is not idempotent."""
    assert "tools/call" not in eras.REPEATABLE
    assert not any(method.startswith(("tasks/", "subscriptions/")) for method in eras.REPEATABLE)


# Eras that do not meet.


def test_a_mismatch_names_what_both_sides_speak() -> None:
    fault = eras.mismatch("git", Verdict(revisions=("2024-11-05",)), "2026-07-28")

    assert fault.jsonrpc_code == -31006
    assert fault.data == {"supported": ["2024-11-05"], "requested": "2026-07-28"}
    assert "'git'" in str(fault)
    assert "2024-11-05" in str(fault)


@pytest.mark.parametrize(
    ("requested", "supported"),
    [("2026-07-28", eras.LEGACY_REVISIONS), ("2025-06-18", eras.MODERN_REVISIONS)],
)
def test_a_server_that_named_no_revision_is_taken_for_the_other_era(
    requested: str, supported: tuple[str, ...]
) -> None:
    assert eras.mismatch("git", Verdict(), requested).supported == supported
