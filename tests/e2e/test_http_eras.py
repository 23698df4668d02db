"""Servers at a URL, and clients of the other era."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import ask, cancel, client, status_of
from tests.e2e.parking import ALL, again, send
from tests.gateways import LEGACY
from tests.http_servers import SDK1, peer
from tests.running import Shim, daemon, shim, text_of

LATE = 40.0
"""Bound of what waits for an SDK to start."""

NAMED = {"action": "accept", "content": {"name": "Ann"}}
THOUGHT = {"role": "assistant", "content": {"type": "text", "text": "4"}, "model": "m"}
REPLIES = {
    "elicitation/create": NAMED,
    "sampling/createMessage": THOUGHT,
    "roots/list": {"roots": []},
}
NOTE = "test://note/1"


def at(url: str, **config: Any) -> dict[str, Any]:
    return {"far": {"url": url, **config}}


# A modern client, a legacy server at a URL.


@asynccontextmanager
async def modern_at_legacy(folder: Path, kind: str = "http") -> AsyncIterator[Shim]:
    async with (
        peer(kind, python=SDK1) as (url, _),
        daemon(folder, at(url)),
        client(folder, "far") as one,
    ):
        yield one


@pytest.mark.parametrize("kind", ["http", "json", "stateless", "sse"])
async def test_a_legacy_server_at_a_url_is_discovered_by_its_handshake(
    tmp_path: Path, kind: str
) -> None:
    async with modern_at_legacy(tmp_path, kind) as one:
        found = (await one.answer(one.modern("server/discover"), LATE))["result"]
        assert found["supportedVersions"] == ["2026-07-28"]
        assert "tools" in found["capabilities"]
        assert text_of(await one.call("echo", text="hé\n")) == "hé\n"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_modern_client_has_progress_errors_and_large_results(
    tmp_path: Path, kind: str
) -> None:
    async with modern_at_legacy(tmp_path, kind) as one:
        meta = {"progressToken": "t"}
        id = one.modern("tools/call", name="progress", arguments={"steps": 3}, _meta=meta)
        assert text_of(await one.answer(id, LATE)) == "done"
        reports = [note["params"] for note in one.notes]
        assert [report["progress"] for report in reports] == [1, 2, 3]
        assert {report["progressToken"] for report in reports} == {"t"}
        assert (await one.call("fail"))["result"]["isError"]
        assert len(text_of(await one.call("big", bytes=3_000_000))) == 3_000_000


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_what_a_legacy_server_at_a_url_asks_is_parked_and_answered(
    tmp_path: Path, kind: str
) -> None:
    async with modern_at_legacy(tmp_path, kind) as one:
        for tool, question, text in (("ask_user", "Who?", "Ann"), ("ask_model", "What?", "4")):
            id = send(one, tool, question=question)
            result = (await one.answer(id, LATE))["result"]
            assert result["resultType"] == "input_required"
            await status_of(tmp_path, "far", parked=1)
            answers = replies_to(result)
            retried = again(result, answers, tool, question=question)
            response = await one.answer(one.modern("tools/call", **retried))
            assert text_of(response) == f"{question} {text}"
        await status_of(tmp_path, "far", parked=0)


def replies_to(result: dict[str, Any]) -> dict[str, Any]:
    return {key: REPLIES[wanted["method"]] for key, wanted in result["inputRequests"].items()}


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_cancel_of_a_modern_client_reaches_a_legacy_server_at_a_url(
    tmp_path: Path, kind: str
) -> None:
    async with modern_at_legacy(tmp_path, kind) as one:
        meta = {"progressToken": "t"}
        arguments = {"seconds": 600, "key": "k"}
        id = one.modern("tools/call", name="slow", arguments=arguments, _meta=meta)
        assert (await one.read(LATE))["method"] == "notifications/progress"
        cancel(one, id)
        async with asyncio.timeout(LATE):
            while text_of(await one.call("cancelled", key="k")) != "1":
                pass


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_modern_client_hears_of_changes_at_a_legacy_server_at_a_url(
    tmp_path: Path, kind: str
) -> None:
    async with modern_at_legacy(tmp_path, kind) as one:
        await one.call("echo", text="so it runs")
        wanted = {"toolsListChanged": True, "resourceSubscriptions": [NOTE]}
        id = one.modern("subscriptions/listen", notifications=wanted)
        acknowledged = await one.read(LATE)
        assert acknowledged["params"]["notifications"] == wanted
        await one.call("touch", uri=NOTE)
        await one.call("grow", name="grown")
        methods = [note["method"] for note in one.notes]
        while len(methods) < 2:
            methods.append((await one.read())["method"])
        cancel(one, id)

    assert sorted(methods) == [
        "notifications/resources/updated",
        "notifications/tools/list_changed",
    ]


# A legacy client, a modern server at a URL.


@asynccontextmanager
async def legacy_at_modern(folder: Path, **offers: Any) -> AsyncIterator[Shim]:
    async with (
        peer() as (url, _),
        daemon(folder, at(url, era="modern")),
        await shim(folder, "far") as one,
    ):
        params = {"protocolVersion": LEGACY, "capabilities": offers, "clientInfo": INFO}
        welcome = await one.answer(one.legacy("initialize", **params), LATE)
        assert welcome["result"]["protocolVersion"] == LEGACY, welcome
        one.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield one
        await one.stop()


INFO = {"name": "old", "version": "1"}


async def test_what_a_modern_server_at_a_url_wants_becomes_requests(tmp_path: Path) -> None:
    async with legacy_at_modern(tmp_path, **ALL) as one:
        for tool, question, text in (("ask_user", "Who?", "Ann"), ("ask_model", "What?", "4")):
            id = ask(one, "legacy", tool, question=question)
            asked = await one.read()
            one.write({"jsonrpc": "2.0", "id": asked["id"], "result": REPLIES[asked["method"]]})
            assert text_of(await one.answer(id)) == f"{question} {text}"


async def test_a_legacy_client_has_progress_cancel_and_changes(tmp_path: Path) -> None:
    async with legacy_at_modern(tmp_path) as one:
        meta = {"progressToken": 7}
        arguments = {"seconds": 600, "key": "k"}
        id = one.legacy("tools/call", name="slow", arguments=arguments, _meta=meta)
        assert (await one.read(LATE))["params"]["progressToken"] == 7
        cancel(one, id)
        async with asyncio.timeout(LATE):
            while text_of(await one.call("cancelled", era="legacy", key="k")) != "1":
                pass
        await one.answer(one.legacy("resources/subscribe", uri=NOTE))
        await one.call("touch", era="legacy", uri=NOTE)
        while not one.notes:
            one.notes.append(await one.read())

    assert one.notes[0]["params"]["uri"] == NOTE
