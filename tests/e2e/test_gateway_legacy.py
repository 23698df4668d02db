"""Legacy Streamable HTTP: sessions, their streams, and what a client can come back for."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mcpnatsd.frontends.gateway.sessions import KEEP_EVENTS, SHARING
from tests import peers
from tests.gateways import BOTH, Gateway, events, events_of, gateway, tool_call
from tests.running import server, status, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("sessions")
    ticking = server("recorder", str(folder / "record"), "legacy")
    servers = {"old": server("thin", "legacy"), "tick": ticking, "py1": peers.command_of("py1")}
    servers["once"] = server("thin", "legacy")
    async with gateway(folder, servers) as found:
        yield found


# What is refused.


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    ],
)
async def test_nothing_comes_before_initialize(web: Gateway, message: dict[str, Any]) -> None:
    response = await web.http.post("/mcp/old", json=message, headers={"accept": BOTH})

    assert response.status_code == 400
    assert "initialize" in response.text


async def test_a_session_nobody_has_is_404(web: Gateway) -> None:
    session = await web.session("old")
    other = await web.session("py1")
    session.headers["mcp-session-id"], other.path = "0" * 32, session.path

    for one in (session, other):
        assert (await one.call("echo", text="")).status_code == 404
        assert (await one.delete()).status_code == 404
        async with one.stream() as response:
            assert response.status_code == 404


async def test_a_deleted_session_is_404_and_its_process_ends(web: Gateway) -> None:
    session = await web.session("once")
    assert text_of((await session.call("echo", text="a")).json()) == "a"

    assert (await session.delete()).status_code == 200

    assert (await session.call("echo", text="a")).status_code == 404
    async with asyncio.timeout(BOUND):
        while await sessions_of(web, "once"):
            await asyncio.sleep(0.05)


async def sessions_of(web: Gateway, name: str) -> int:
    servers = (await status(web.daemon.folder))["servers"]
    [found] = [one for one in servers if one["name"] == name]
    return int(found["sessions"])


async def test_a_failed_handshake_leaves_no_session(web: Gateway) -> None:
    response = await web.initialize("nowhere")

    assert response.status_code == 503
    assert response.json()["error"]["code"] == -31001
    assert "mcp-session-id" not in response.headers


async def test_a_batch_is_refused(web: Gateway) -> None:
    session = await web.session("old", "2025-03-26")
    response = await web.http.post(
        session.path,
        content=json.dumps([tool_call("echo", text="a")]),
        headers={**session.headers, "content-type": "application/json"},
    )

    assert response.status_code == 400


async def test_an_id_in_flight_is_refused_and_its_owner_answered(web: Gateway) -> None:
    session = await web.session("old")
    async with session.stream("POST", message=tool_call("sleep", seconds=1, id=5)) as response:
        second = await session.call("echo", text="b", id=5)
        told = [event["data"] async for event in events(response) if event.get("data")]

    assert second.status_code == 400
    assert text_of(told[-1]) == "slept"


# What is answered.


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
async def test_each_legacy_revision_has_sessions(web: Gateway, revision: str) -> None:
    session = await web.session("old", revision)

    assert text_of((await session.call("echo", text=revision)).json()) == revision


async def test_a_quick_answer_is_json_and_a_late_one_a_stream(web: Gateway) -> None:
    session = await web.session("old")

    quick, late = await session.call("echo", text="a"), await session.call("sleep", seconds=0.6)

    assert quick.headers["content-type"] == "application/json"
    assert late.headers["content-type"] == "text/event-stream"
    assert text_of(events_of(late.text)[-1]) == "slept"


@pytest.mark.parametrize(("revision", "primes"), [("2025-11-25", True), ("2025-06-18", False)])
async def test_only_newer_clients_get_an_event_without_data(
    web: Gateway,
    revision: str,
    primes: bool,  # noqa: FBT001
) -> None:
    session = await web.session("old", revision)
    said = (await session.call("sleep", seconds=0.6)).text

    assert ("data: \n" in said) == primes


async def test_progress_goes_to_the_request_it_is_of(web: Gateway) -> None:
    session = await web.session("tick")

    async def ticked(number: int) -> list[dict[str, Any]]:
        call = tool_call("tick", id=number, token=f"t{number}", steps=3, every=0.1)
        return events_of((await session.post(call)).text)

    for number, found in enumerate(await asyncio.gather(*(ticked(one) for one in range(4)))):
        *notes, last = found
        assert [note["params"]["progressToken"] for note in notes] == [f"t{number}"] * 3
        assert (last["id"], text_of(last)) == (number, "ticked")


async def test_a_cancelled_request_ends_its_stream(web: Gateway) -> None:
    session = await web.session("old")
    waiting = asyncio.create_task(session.call("sleep", seconds=600, id=9))
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    async with asyncio.timeout(BOUND):
        while not waiting.done():
            assert (await session.post(cancel)).status_code == 202
            await asyncio.wait([waiting], timeout=0.1)
    response = await waiting
    [last] = events_of(response.text) or [response.json()]

    assert last["error"]["code"] == -32800


async def test_a_stream_that_broke_off_goes_on_where_it_was(web: Gateway) -> None:
    session = await web.session("tick")
    call = tool_call("tick", id=1, token="t", steps=8, every=0.2)
    seen: list[dict[str, Any]] = []
    async with session.stream("POST", message=call) as response:
        async for event in events(response):
            seen.append(event)
            if len(seen) == 3:
                break
    async with asyncio.timeout(BOUND), session.stream("GET", **last_of(seen)) as response:
        seen += [event async for event in events(response)]
    told = [event["data"] for event in seen if event.get("data")]

    assert [note["params"]["progress"] for note in told[:-1]] == list(range(1, 9))
    assert text_of(told[-1]) == "ticked"
    assert len({event["id"] for event in seen}) == len(seen)


def last_of(seen: list[dict[str, Any]]) -> dict[str, str]:
    return {"Last-Event-ID": seen[-1]["id"]}


async def test_an_answer_is_kept_for_a_client_whose_connection_broke(web: Gateway) -> None:
    session = await web.session("old")
    async with session.stream("POST", message=tool_call("sleep", seconds=1)) as response:
        first = await anext(events(response))
    async with asyncio.timeout(BOUND), session.stream("GET", **last_of([first])) as response:
        [last] = [event async for event in events(response)]

    assert text_of(last["data"]) == "slept"


async def test_an_event_of_nobody_is_404(web: Gateway) -> None:
    first, second = await web.session("old"), await web.session("old")
    async with first.stream("POST", message=tool_call("sleep", seconds=0.5)) as response:
        theirs = (await anext(events(response)))["id"]
    for id in (theirs, "x", "x.1", "", "." * 9):
        async with second.stream("GET", **{"Last-Event-ID": id}) as response:
            assert response.status_code == 404


async def test_a_stream_whose_next_event_is_gone_is_404_and_not_one_with_a_hole(
    tmp_path: Path,
) -> None:
    many = KEEP_EVENTS + 10
    async with gateway(tmp_path, {"old": server("floods", "legacy")}) as web:
        session = await web.session("old")
        flood = tool_call("flood", token="t", messages=many, bytes=8)
        async with asyncio.timeout(BOUND), session.stream("POST", message=flood) as response:
            seen = [event async for event in events(response)]
        told = [event for event in seen if event.get("data")]
        assert len(told) == many + 1

        for place, status in ((told[0], 404), (told[-KEEP_EVENTS - 1], 200), (told[-1], 200)):
            async with session.stream("GET", **last_of([place])) as response:
                assert response.status_code == status


async def test_the_newest_reader_has_the_stream_of_a_session(web: Gateway) -> None:
    session = await web.session("old")
    async with session.stream() as first, asyncio.timeout(BOUND), session.stream() as second:
        assert second.status_code == 200
        async for _ in events(first):
            pass  # it ends


# Bounds.


async def test_beyond_the_bound_a_session_is_refused_until_one_ends(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"sessions": 2}) as web:
        first, _ = await web.session("old"), await web.session("old")

        refused = await web.initialize("old")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        await first.delete()
        assert (await web.initialize("old")).status_code == 200


async def test_a_session_that_nobody_uses_ends_and_its_process_with_it(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"session_timeout": "500ms"}) as web:
        session = await web.session("old")
        async with asyncio.timeout(BOUND):
            while await sessions_of(web, "old"):
                await asyncio.sleep(0.05)

        assert (await session.call("echo", text="")).status_code == 404


async def test_a_call_in_flight_keeps_its_session(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"session_timeout": "500ms"}) as web:
        session = await web.session("old")

        assert text_of(events_of((await session.call("sleep", seconds=2)).text)[-1]) == "slept"


async def test_a_session_ends_too_when_an_answer_of_it_came_on_a_stream(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"session_timeout": "500ms"}) as web:
        session = await web.session("old")
        answer = await session.call("sleep", seconds=1)
        assert answer.headers["content-type"].startswith("text/event-stream")
        async with asyncio.timeout(BOUND):
            while await sessions_of(web, "old"):
                await asyncio.sleep(0.05)


async def test_a_call_whose_client_is_gone_keeps_no_session(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"session_timeout": "500ms"}) as web:
        session = await web.session("old")
        async with session.stream("POST", message=tool_call("sleep", seconds=600)) as response:
            assert response.status_code == 200
        async with asyncio.timeout(BOUND):
            while await sessions_of(web, "old"):
                await asyncio.sleep(0.05)


async def test_a_gateway_that_was_restarted_knows_no_session(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers) as web:
        session = await web.session("old")
        headers = session.headers
    async with gateway(tmp_path, servers) as web:
        session = await web.session("old")
        session.headers = headers

        assert (await session.call("echo", text="")).status_code == 404


async def test_sessions_that_cost_no_process_have_a_larger_bound(tmp_path: Path) -> None:
    servers = {"new": server("asks_modern"), "old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"sessions": 1}) as web:
        first, *others = [await web.session("new") for _ in range(SHARING)]
        assert (await others[0].call("echo", text="a")).status_code == 200
        async with first.stream() as stream:
            assert stream.status_code == 200
            await web.session("new")

            assert (await first.call("echo", text="a")).status_code == 200
        # The one that nobody used for longest made room; its client starts anew.
        answers = [(await one.call("echo", text="a")).status_code for one in others]
        assert sorted(answers) == [200] * (SHARING - 2) + [404]
        assert answers[1] == 404
        # And those with a process of their own have theirs.
        await web.session("old")
        assert (await web.initialize("old")).status_code == 503


async def test_a_modern_server_with_a_process_for_each_client_has_the_smaller_bound(
    tmp_path: Path,
) -> None:
    servers = {"new": {"command": server("asks_modern"), "isolation": "session"}}
    async with gateway(tmp_path, servers, limits={"sessions": 1}) as web:
        session = await web.session("new")

        assert (await web.initialize("new")).status_code == 503
        assert (await session.call("echo", text="a")).status_code == 200


async def test_a_session_whose_streams_have_ended_is_as_idle_as_any(tmp_path: Path) -> None:
    servers = {"old": server("thin", "legacy")}
    async with gateway(tmp_path, servers, limits={"session_timeout": "500ms"}) as web:
        session = await web.session("old")
        streamed = await session.call("sleep", seconds=0.6)
        assert streamed.headers["content-type"] == "text/event-stream"

        async with asyncio.timeout(BOUND):
            while await sessions_of(web, "old"):
                await asyncio.sleep(0.05)
