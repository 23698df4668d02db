"""Modern Streamable HTTP: each POST one message, each request one exchange."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.gateways import BOTH, Gateway, events, events_of, gateway, modern_message, raw, raw_post
from tests.running import server, status, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    servers = {"thin": server("thin"), "old": server("thin", "legacy")}
    servers |= {"mirrored": server("mirrored"), "py2": peers.command_of("py2")}
    servers["hidden"] = server("thin")
    offered = ["thin", "old", "mirrored", "p*", "nowhere"]
    limits = {"body_bytes": "1MiB"}
    async with gateway(folder, servers, servers=offered, limits=limits) as found:
        yield found


def code(response: Any) -> int:
    found = response.json()["error"]["code"]
    assert isinstance(found, int)
    return found


# What is refused.


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (b"[]", 400, -32600),
        (b'{"a":' * 100_000, 400, -32700),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', 400, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', 400, -32600),
    ],
)
async def test_what_is_no_request_is_refused(
    web: Gateway, body: bytes, status: int, error: int
) -> None:
    _, headers = modern_message("tools/list")
    sent = {**headers, "content-type": "application/json"}
    response = await web.http.post("/mcp/thin", content=body, headers=sent)

    assert (response.status_code, code(response)) == (status, error)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mcp-method": None},
        {"mcp-method": "tools/list"},
        {"mcp-name": None},
        {"mcp-name": "exit"},
        {"mcp-name": "=?base64?!!?="},
        {"mcp-protocol-version": None},
        {"mcp-protocol-version": "2027-01-01"},
    ],
)
async def test_headers_and_body_that_differ_are_refused(
    web: Gateway, wrong: dict[str, str | None]
) -> None:
    response = await web.modern("thin", "tools/call", headers=wrong, name="echo", arguments={})

    assert (response.status_code, code(response)) == (400, -32020)
    assert response.json()["id"] == 1


async def test_a_header_that_stands_twice_is_refused(web: Gateway) -> None:
    body, headers = modern_message("tools/call", name="echo", arguments={})
    request = raw_post("/mcp/thin", body, {**headers, "Connection": "close", "MCP-NAME": "exit"})

    answer = await raw(web.port, request)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"-32020" in answer


async def test_a_revision_nobody_speaks_is_named(web: Gateway) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2027-01-01"}
    headers = {"mcp-protocol-version": "2027-01-01"}
    response = await web.modern("thin", "tools/list", headers=headers, _meta=meta)

    assert (response.status_code, code(response)) == (400, -32022)
    assert response.json()["error"]["data"]["supported"] == ["2026-07-28"]


async def test_a_method_that_is_not_there_is_404(web: Gateway) -> None:
    for method in ("initialize", "ping", "no/such"):
        response = await web.modern("thin", method)
        assert (method, response.status_code) == (method, 404 if method != "ping" else 200)


@pytest.mark.parametrize(
    ("change", "status"),
    [({"accept": "application/json"}, 406), ({"accept": "text/html"}, 406),
     ({"content-type": "text/plain"}, 415)],
)  # fmt: skip
async def test_content_nobody_can_use_is_refused(
    web: Gateway, change: dict[str, str], status: int
) -> None:
    response = await web.modern("thin", "tools/list", headers=change)

    assert response.status_code == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD"])
async def test_other_methods_are_405(web: Gateway, method: str) -> None:
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-session-id": "x", "accept": BOTH}
    response = await web.http.request(method, "/mcp/thin", headers=headers)

    assert response.status_code == 405
    assert "POST" in response.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/mcp", "/mcp/", "/mcp/hidden", "/mcp/a.b", "/mcp/%3E", "/mcp/a%20b", "/mcp/thin/x",
             "/mcp/" + "p" * 65, "/mcp/p%0d%0aPUB%20x", "/x/thin", "/mcp/*"],
)  # fmt: skip
async def test_what_is_not_offered_is_404(web: Gateway, path: str) -> None:
    body, headers = modern_message("tools/list")

    assert (await web.http.post(path, json=body, headers=headers)).status_code == 404


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(web: Gateway, declared: bool) -> None:  # noqa: FBT001
    body, headers = modern_message("tools/call", name="echo", arguments={"text": "x" * (2 << 20)})
    payload = json.dumps(body).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(payload), 65536):
            yield payload[start : start + 65536]

    request = raw_post("/mcp/thin", body, headers) if declared else None
    if request is not None:
        head = request[: -len(payload) - 1]
        closing = head.replace(b"Host:", b"Connection: close\r\nHost:")
        answer = await raw(web.port, closing + payload[:100])
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"-31003" in answer
    else:
        sent = {**headers, "content-type": "application/json"}
        response = await web.http.post("/mcp/thin", content=pieces(), headers=sent)
        assert (response.status_code, code(response)) == (413, -31003)


async def test_a_server_that_is_nowhere_is_said_to_be(web: Gateway) -> None:
    response = await web.call("nowhere", "echo")

    assert (response.status_code, code(response)) == (503, -31001)
    assert response.headers["retry-after"]


# What is answered.


async def test_a_call_is_answered_with_json(web: Gateway) -> None:
    response = await web.modern(
        "thin", "tools/call", id="7", name="echo", arguments={"text": "né\u2028"}
    )

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["id"] == "7"
    assert text_of(response.json()) == "né\u2028"


async def test_blanks_around_a_header_are_no_part_of_it(web: Gateway) -> None:
    body, headers = modern_message("tools/call", name="echo", arguments={"text": "a"})
    headers["mcp-name"] = "  echo \t "
    answer = await raw(web.port, raw_post("/mcp/thin", body, {**headers, "Connection": "close"}))

    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_server_of_the_other_era_is_named_to_a_client_that_discovers(web: Gateway) -> None:
    response = await web.modern("old", "server/discover")

    assert response.status_code in (200, 404)
    if response.status_code == 404:  # without translation
        assert code(response) == -32601


async def test_many_clients_with_one_id_get_their_own_answers(web: Gateway) -> None:
    texts = [f"n{number}" for number in range(50)]
    answers = await asyncio.gather(*(web.call("thin", "echo", text=one) for one in texts))

    assert [text_of(one.json()) for one in answers] == texts


async def test_two_hundred_connections_at_once_with_one_id_get_their_own_answers(
    web: Gateway,
) -> None:
    async def ask(number: int) -> bytes:
        arguments = {"text": f"<{number}>"}
        body, headers = modern_message("tools/call", name="echo", arguments=arguments)
        return await raw(web.port, raw_post("/mcp/thin", body, {**headers, "Connection": "close"}))

    for number, answer in enumerate(await asyncio.gather(*map(ask, range(200)))):
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"<%d>"' % number in answer


async def test_slow_and_quick_calls_on_one_connection_are_answered_in_their_order(
    web: Gateway,
) -> None:
    posts = []
    for number in range(6):
        arguments: dict[str, Any] = {"text": f"<{number}>"}
        name = "echo"
        if number in (0, 3):
            name, arguments = "sleep", {"seconds": 0.3}
        body, headers = modern_message("tools/call", id=number, name=name, arguments=arguments)
        if number == 5:
            headers["Connection"] = "close"
        posts.append(raw_post("/mcp/thin", body, headers))
    said = await raw(web.port, b"".join(posts))

    bodies = [
        json.loads(part.partition(b"\r\n\r\n")[2]) for part in said.split(b"HTTP/1.1 200 OK")[1:]
    ]
    assert [one["id"] for one in bodies] == [0, 1, 2, 3, 4, 5]


async def test_a_pipelined_call_behind_one_that_is_cancelled_never_runs(web: Gateway) -> None:
    slow, headers = modern_message("tools/call", name="sleep", arguments={"seconds": 600})
    fatal, more = modern_message("tools/call", name="exit", arguments={"status": 3})
    pid = text_of((await web.call("thin", "pid")).json())
    _, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(raw_post("/mcp/thin", slow, headers) + raw_post("/mcp/thin", fatal, more))
    await in_flight(web, "thin", 1)
    writer.transport.abort()
    await in_flight(web, "thin", 0)

    assert text_of((await web.call("thin", "pid")).json()) == pid


async def test_progress_comes_on_a_stream_before_the_answer(web: Gateway) -> None:
    response = await web.modern(
        "thin", "tools/call", name="progress", arguments={"steps": 3}, _meta={"progressToken": "p"}
    )

    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    *notes, last = events_of(response.text)
    assert [note["params"]["progress"] for note in notes] == [1, 2, 3]
    assert text_of(last) == "3 steps"


async def test_an_answer_that_takes_long_is_still_json(web: Gateway) -> None:
    response = await web.call("thin", "sleep", seconds=0.6)

    assert response.headers["content-type"] == "application/json"
    assert text_of(response.json()) == "slept"


async def test_a_notification_is_accepted(web: Gateway) -> None:
    body, headers = modern_message("notifications/cancelled", requestId=1)
    del body["id"]
    response = await web.http.post("/mcp/thin", json=body, headers=headers)

    assert (response.status_code, response.content) == (202, b"")


async def test_a_large_answer_is_whole(web: Gateway) -> None:
    response = await web.call("thin", "big", bytes=3_000_000)

    assert text_of(response.json()) == "x" * 3_000_000


async def test_a_client_that_leaves_cancels_its_call(web: Gateway) -> None:
    before = text_of((await web.call("py2", "cancelled")).json())
    body, headers = modern_message("tools/call", name="slow", arguments={"seconds": 600})
    _, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(raw_post("/mcp/py2", body, headers))
    await in_flight(web, "py2", 1)
    writer.transport.abort()

    async with asyncio.timeout(BOUND):
        while text_of((await web.call("py2", "cancelled")).json()) == before:
            await asyncio.sleep(0.05)
    await in_flight(web, "py2", 0)


async def in_flight(web: Gateway, name: str, many: int) -> None:
    async with asyncio.timeout(BOUND):
        while True:
            [found] = [
                one for one in (await status(web.daemon.folder))["servers"] if one["name"] == name
            ]
            if found["in_flight"] == many:
                return
            await asyncio.sleep(0.05)


async def test_a_subscription_is_a_stream_until_its_client_leaves(web: Gateway) -> None:
    body, headers = modern_message(
        "subscriptions/listen", id="sub", notifications={"toolsListChanged": True}
    )
    async with web.http.stream("POST", "/mcp/py2", json=body, headers=headers) as response:
        async with asyncio.timeout(BOUND):
            stream = events(response)
            first = await anext(stream)
        assert first["data"]["method"] == "notifications/subscriptions/acknowledged"
        meta = first["data"]["params"]["_meta"]
        assert meta["io.modelcontextprotocol/subscriptionId"] == "sub"
        assert await web.open_requests() == 1
    async with asyncio.timeout(BOUND):
        while await web.open_requests():
            await asyncio.sleep(0.05)


# Arguments that are mirrored.


@pytest.mark.parametrize(
    ("arguments", "headers", "status"),
    [
        ({"region": "eu"}, {"mcp-param-region": "eu"}, 200),
        ({"region": "né"}, {"mcp-param-region": "=?base64?bsOp?="}, 200),
        ({"rows": 42}, {"mcp-param-rows": "42.0"}, 200),
        ({}, {}, 200),
        ({"region": None}, {}, 200),
        ({}, {"mcp-param-else": "x"}, 200),
        ({"region": "eu"}, {}, 400),
        ({"region": "eu"}, {"mcp-param-region": "us"}, 400),
        ({}, {"mcp-param-region": "eu"}, 400),
        ({"rows": 42}, {"mcp-param-rows": "43"}, 400),
    ],
)
async def test_an_argument_is_mirrored_as_its_tool_says(
    web: Gateway, arguments: dict[str, Any], headers: dict[str, str | None], status: int
) -> None:
    response = await web.modern(
        "mirrored", "tools/call", headers=headers, name="query", arguments=arguments
    )

    assert response.status_code == status
    if status == 400:
        assert code(response) == -32020


async def test_what_is_to_be_mirrored_is_still_checked_when_a_server_lists_its_tools_no_more(
    tmp_path: Path,
) -> None:
    wrong: dict[str, Any] = {"name": "query", "headers": {"mcp-param-region": "us"}}
    async with gateway(tmp_path, {"mirrored": server("mirrored")}) as web:

        async def status() -> int:
            arguments = {"region": "eu"}
            found = await web.modern("mirrored", "tools/call", arguments=arguments, **wrong)
            return found.status_code

        assert await status() == 400
        assert text_of((await web.call("mirrored", "hide")).json()) == "hidden"
        async with asyncio.timeout(BOUND):
            while text_of((await web.call("mirrored", "refused")).json()) == "0":
                assert await status() == 400
        assert await status() == 400


async def test_a_gateway_of_its_own_reaches_a_server_over_nats(
    tmp_path: Path, nats_url: str
) -> None:
    async with (
        gateway(tmp_path / "b", {}, nats_url=nats_url) as web,
        gateway(tmp_path / "a", {"far": server("thin")}, nats_url=nats_url),
    ):
        assert text_of((await web.call("far", "echo", text="hi")).json()) == "hi"
