"""A stand-in for a server at a URL: what it is told, what it tells, and every way to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpcore2
import pytest

from mcpnatsd.backends import http_session
from mcpnatsd.backends.http_launch import RemoteLauncher
from mcpnatsd.backends.http_network import Network
from mcpnatsd.backends.http_process import RemoteProcess
from mcpnatsd.backends.process import Exit
from mcpnatsd.config.model import Limits, ServerConfig, Transport
from mcpnatsd.errors import Busy, ProcessDied
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.lines import Oversize
from tests.gateways import free_port
from tests.http_servers import Answerer, HttpRequest, Scripted, scripted
from tests.running import META
from tests.waiting import until

DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s"}}
KIB = 1024


class Owner:
    """Whoever a server's stand-in belongs to: writes down what it is told."""

    process: RemoteProcess

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.oversize: list[Oversize] = []
        self.exits: list[Exit] = []

    def receive_output(self, line: bytes) -> None:
        assert not self.exits, "a line after the end"
        assert b"\n" not in line
        self.messages.append(json.loads(line))

    def receive_oversize(self, skipped: Oversize) -> None:
        self.oversize.append(skipped)

    def exited(self, exit: Exit) -> None:
        self.exits.append(exit)

    def write(self, **message: object) -> None:
        self.process.write(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def modern(self, id: object, method: str, **params: Any) -> None:
        meta = {**META, **params.pop("_meta", {})}
        self.write(id=id, method=method, params={**params, "_meta": meta})

    def initialize(self) -> None:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
        self.write(id=1, method="initialize", params=params)

    async def answer(self, id: object) -> dict[str, Any]:
        """Wait for the response with that id."""
        await until(lambda: any(one.get("id") == id for one in self.messages) or self.exits)
        [found] = [one for one in self.messages if one.get("id") == id]
        return found

    async def code(self, id: object) -> int:
        error = (await self.answer(id))["error"]
        assert isinstance(error["code"], int)
        return error["code"]

    async def end(self) -> str:
        await until(lambda: self.exits, timeout=25)
        assert len(self.exits) == 1
        return self.exits[0].sentence()


@asynccontextmanager
async def stand_in(url: str, **config: Any) -> AsyncIterator[Owner]:
    launcher, owner = RemoteLauncher(), Owner()
    owner.process = await launcher.start(ServerConfig(name="far", url=url, **config), owner)
    try:
        yield owner
    finally:
        await owner.process.stop()
        await launcher.close()


def modern(answer: Answerer) -> Answerer:
    """Return what answers `server/discover`, and leaves the rest to `answer`."""

    async def discovering(request: HttpRequest) -> None:
        if request.body and request.message.get("method") == "server/discover":
            request.answer(200, request.result(DISCOVERED))
        else:
            await answer(request)

    return discovering


def legacy(answer: Answerer, session: str = "s1") -> Answerer:
    """Return what opens a session, and leaves the rest to `answer`."""

    async def opening(request: HttpRequest) -> None:
        method = request.message.get("method", "") if request.body else ""
        if method == "initialize":
            request.answer(200, request.result(INITIALIZED), **{"Mcp-Session-Id": session})
        elif method.startswith("notifications/"):
            request.answer(202)
        elif request.method == "DELETE":
            request.answer(200)
        else:
            await answer(request)

    return opening


def always(status: int, body: bytes | object = b"", **headers: str) -> Answerer:
    async def answering(request: HttpRequest) -> None:
        request.answer(status, body, **headers)

    return answering


async def echo(request: HttpRequest) -> None:
    if request.method == "GET":
        request.answer(405)
    elif "method" not in request.message:
        request.answer(202)
    else:
        request.answer(200, request.result(request.message["params"].get("arguments")))


@asynccontextmanager
async def discovered(answer: Answerer, **config: Any) -> AsyncIterator[tuple[Owner, Scripted]]:
    """Yield a stand-in that found a modern server."""
    async with scripted(modern(answer)) as server, stand_in(server.url, **config) as owner:
        owner.modern(0, "server/discover")
        await owner.answer(0)
        yield owner, server


@asynccontextmanager
async def opened(answer: Answerer, **config: Any) -> AsyncIterator[tuple[Owner, Scripted]]:
    """Yield a stand-in with an open session."""
    async with scripted(legacy(answer)) as server, stand_in(server.url, **config) as owner:
        owner.initialize()
        await owner.answer(1)
        owner.write(method="notifications/initialized")
        yield owner, server


# Nobody there, or nobody for us.


@pytest.mark.parametrize("begin", [lambda o: o.modern(1, "server/discover"), Owner.initialize])
async def test_a_server_that_is_away_ends_its_stand_in(begin: Callable[[Owner], None]) -> None:
    async with stand_in(f"http://127.0.0.1:{free_port()}/mcp?key=hush") as owner:
        begin(owner)
        said = await owner.end()

        assert said.startswith("cannot be reached at http://127.0.0.1:")
        assert said.endswith("/mcp: connection refused")
        with pytest.raises(ProcessDied, match="cannot be reached"):
            owner.modern(2, "tools/list")


async def test_a_name_that_nobody_knows_is_said() -> None:
    async with stand_in("http://nobody.invalid/mcp") as owner:
        owner.initialize()

        assert "nobody.invalid" in await owner.end()


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (401, b"", {}, "answered HTTP 401 Unauthorized at {url}: it does not let us in"),
        (403, {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}, {}, "HTTP 403"),
        (307, b"", {"location": "/mcp/?key=hush"}, "its `url` may be {url}/"),
        (500, b"<html>", {}, "answered HTTP 500 Internal Server Error at {url}"),
        (503, b"", {}, "answered HTTP 503"),
        (200, b"<html>", {"content-type": "text/html"}, "answered with text/html at {url}"),
        (200, b"", {}, "answered with text/plain"),
    ],
)
async def test_a_server_that_does_not_speak_to_us_ends_its_stand_in(
    era: str, status: int, body: bytes | object, headers: dict[str, str], said: str
) -> None:
    answer = always(status, body, **headers)
    async with scripted(answer) as server, stand_in(server.url) as owner:
        owner.modern(1, "server/discover") if era == "modern" else owner.initialize()
        sentence = await owner.end()

    assert said.format(url=server.url) in sentence
    assert "hush" not in sentence
    assert owner.messages == []


@pytest.mark.parametrize("status", [400, 404, 405, 406, 415])
async def test_a_server_that_refuses_discovery_is_of_the_other_era(status: int) -> None:
    async with scripted(always(status, b"no")) as server, stand_in(server.url) as owner:
        owner.modern(1, "server/discover")

        assert await owner.code(1) == -31004
        assert owner.exits == []


async def test_an_error_of_the_server_keeps_its_code_and_gets_our_id() -> None:
    error = {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32600, "message": "no"}}
    async with scripted(always(400, error)) as server, stand_in(server.url) as owner:
        owner.modern(1, "server/discover")

        assert await owner.code(1) == -32600


async def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(modern(echo)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:hush@").removesuffix("/mcp"))
        monkeypatch.delenv("no_proxy", raising=False)
        async with stand_in("http://far.invalid/mcp") as owner:
            owner.modern(1, "server/discover")

            assert (await owner.answer(1))["result"] == DISCOVERED
    [found] = proxy.requests
    assert found.path == "http://far.invalid/mcp"
    assert found.headers["host"] == "far.invalid"
    assert found.headers["proxy-authorization"].startswith("Basic ")


# A modern server.


async def test_a_request_says_in_its_headers_what_it_says_in_its_body() -> None:
    async with discovered(echo) as (owner, server):
        owner.modern(1, "tools/call", name="größe", arguments={"a": 1})

        assert (await owner.answer(1))["result"] == {"a": 1}
        assert owner.process.unwritten_bytes == 0
    [found] = server.sent("tools/call")
    assert found.headers["mcp-method"] == "tools/call"
    assert found.headers["mcp-name"] == "=?base64?Z3LDtsOfZQ==?="
    assert found.headers["mcp-protocol-version"] == "2026-07-28"
    assert found.headers["accept"] == "application/json, text/event-stream"
    assert "mcp-session-id" not in found.headers


async def test_configured_headers_are_sent_and_are_no_secret_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    headers = {"Authorization": "Bearer hush", "Host": "elsewhere", "Mcp-Method": "nothing"}
    async with discovered(always(500), headers=headers) as (owner, server):
        owner.modern(1, "tools/list")
        await owner.code(1)

    assert server.requests[0].headers["authorization"] == "Bearer hush"
    assert server.requests[0].headers["host"] == "elsewhere"
    assert server.requests[0].headers["mcp-method"] == "server/discover"
    assert "hush" not in caplog.text


async def test_a_stream_brings_notifications_before_its_response() -> None:
    async def answer(request: HttpRequest) -> None:
        request.stream()
        request.writer.write(b": keep-alive\n\n")
        request.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}})
        request.event(request.result({}))
        request.close()

    async with discovered(answer) as (owner, _):
        owner.modern(1, "tools/list")
        await owner.answer(1)

        assert [one.get("method") for one in owner.messages[1:]] == ["notifications/progress", None]


async def test_a_stream_that_ends_gives_its_connection_back() -> None:
    async def answer(request: HttpRequest) -> None:
        body = f"data: {json.dumps(request.result({}))}\n\n"
        request.begin(content_type="text/event-stream", transfer_encoding="chunked")
        request.writer.write(f"{len(body):x}\r\n{body}\r\n".encode())
        await asyncio.sleep(0.03)  # the end comes when the answer was passed on already
        request.writer.write(b"0\r\n\r\n")

    async with discovered(answer) as (owner, server):
        for id in range(1, 4):
            owner.modern(id, "tools/list")
            await owner.answer(id)
            await until(lambda: len(owner.process._parts) == 1)  # but for the watch

        assert len({one.writer for one in server.requests}) == 1


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_request() -> None:
    async def answer(request: HttpRequest) -> None:
        request.answer(200, request.result({}))
        await request.writer.drain()
        request.close()

    async with discovered(answer) as (owner, server):
        for id in range(1, 6):
            owner.modern(id, "tools/list")
            assert "result" in await owner.answer(id)
            await until(lambda: _is_closed(server.requests[-1]))

        assert len({one.writer for one in server.requests}) == 5


async def test_a_message_over_several_lines_is_put_on_one() -> None:
    async def answer(request: HttpRequest) -> None:
        request.answer(200, b'{"jsonrpc":"2.0",\r\n"id":1,\n"result":{}}', **JSON)

    async with discovered(answer) as (owner, _):
        owner.modern(1, "tools/list")

        assert (await owner.answer(1))["result"] == {}


async def test_a_cancel_closes_the_stream_and_nothing_else() -> None:
    closed = asyncio.Event()

    async def answer(request: HttpRequest) -> None:
        if request.message["id"] != 1:
            return await echo(request)
        request.stream()
        await request.writer.drain()
        await until(lambda: request.writer.transport.is_closing() or _at_eof(request))
        closed.set()
        return None

    async with discovered(answer) as (owner, server):
        owner.modern(1, "tools/call", name="a")
        await until(lambda: server.sent("tools/call"))
        owner.write(method="notifications/cancelled", params={"requestId": 1})
        await asyncio.wait_for(closed.wait(), 10)
        owner.modern(2, "tools/list", arguments={})
        await owner.answer(2)

        assert not any(one.get("id") == 1 for one in owner.messages)
        assert server.sent("notifications/cancelled") == []


async def test_a_cancel_before_anything_was_sent_sends_nothing() -> None:
    async with discovered(echo) as (owner, server):
        owner.modern(1, "tools/call", name="a")
        owner.write(method="notifications/cancelled", params={"requestId": 1})
        owner.modern(2, "tools/list", arguments={})
        await owner.answer(2)

        assert server.sent("tools/call") == []
        assert owner.process.unwritten_bytes == 0


@pytest.mark.parametrize("ending", ["abort", "end", "half"])
async def test_a_stream_that_dies_is_an_error_for_its_request_alone(ending: str) -> None:
    async def answer(request: HttpRequest) -> None:
        if request.message["id"] != 1:
            return await echo(request)
        request.stream()
        if ending == "half":
            request.writer.write(b'data: {"jsonrpc":"2.0","id":1,"result":{}}')
        await request.writer.drain()
        request.writer.transport.abort() if ending == "abort" else request.close()
        return None

    async with discovered(answer) as (owner, _):
        owner.modern(1, "tools/call", name="a")
        error = (await owner.answer(1))["error"]
        owner.modern(2, "tools/list", arguments={})

        assert error["code"] == -31004
        assert "whether the request ran is unknown" in error["message"]
        assert "result" in await owner.answer(2)


@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (500, b"oh", {}, -31004),
        (401, b"", {}, -31004),
        (413, b"", {}, -31003),
        (429, b"", {}, -31007),
        (302, b"", {"location": "http://elsewhere/"}, -31004),
        (200, b"<html>", {"content-type": "text/html"}, -31004),
        (200, b"not json", {"content-type": "application/json"}, -31004),
        (200, b"", {"content-type": "application/json"}, -31004),
        (404, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "m"}}, {}, -32601),
        (500, {"jsonrpc": "2.0", "id": 7, "error": {"code": -32603, "message": "m"}}, {}, -32603),
    ],
)
async def test_a_bad_answer_is_an_error_for_its_request_alone(
    status: int, body: bytes | object, headers: dict[str, str], code: int
) -> None:
    async with discovered(always(status, body, **headers)) as (owner, _):
        owner.modern(1, "tools/call", name="a")

        assert await owner.code(1) == code
        assert owner.exits == []


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("kind", ["json", "events"])
async def test_a_huge_answer_fails_its_request_alone(kind: str) -> None:
    async def answer(request: HttpRequest) -> None:
        if request.message["id"] != 1:
            return await echo(request)
        large = request.result("x" * 100 * KIB)
        if kind == "json":
            request.answer(200, large)
        else:
            request.stream()
            request.event(large)
        return None

    limits = Limits(output_line_bytes=10 * KIB)
    async with discovered(answer, limits=limits) as (owner, _):
        owner.modern(1, "tools/call", name="a")
        await until(lambda: owner.oversize)
        [skipped] = owner.oversize
        owner.modern(2, "tools/list", arguments={})

        assert jsonrpc.id_at_ends(skipped.head, skipped.tail) == 1
        assert "result" in await owner.answer(2)


async def test_a_server_that_goes_away_is_noticed_while_nothing_is_asked() -> None:
    async with discovered(echo) as (owner, server):
        assert server.server is not None
        server.server.close()

        assert "cannot be reached" in await owner.end()


async def test_more_than_may_wait_is_refused_as_busy() -> None:
    async def never(_request: HttpRequest) -> None:
        await asyncio.Event().wait()

    async with discovered(never) as (owner, _):
        large = "x" * 20 * KIB * KIB
        owner.modern(1, "tools/call", name="a", arguments=large)
        with pytest.raises(Busy, match="does not keep up"):
            owner.modern(2, "tools/call", name="a", arguments=large)


async def test_what_nobody_reads_waits_at_the_server() -> None:
    told = asyncio.Event()

    async def answer(request: HttpRequest) -> None:
        request.stream()
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": "x" * 64 * KIB}
        for _ in range(1000):
            request.event(note)
            await request.writer.drain()
        told.set()

    async with discovered(answer) as (owner, _):
        owner.modern(1, "subscriptions/listen")
        await until(lambda: len(owner.messages) > 1)
        owner.process.pause()
        await asyncio.sleep(0.5)
        count = len(owner.messages)
        await asyncio.sleep(0.5)
        assert len(owner.messages) == count
        assert not told.is_set()
        owner.process.resume()
        await until(told.is_set)


async def test_a_notification_of_an_extension_is_passed_on() -> None:
    async with discovered(always(202)) as (owner, server):
        owner.write(method="notifications/x", params={"a": 1})
        await until(lambda: server.sent("notifications/x"))

    [found] = server.sent("notifications/x")
    assert found.headers["mcp-method"] == "notifications/x"
    assert found.headers["mcp-protocol-version"] == "2026-07-28"


async def test_a_message_that_the_server_does_not_take_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with discovered(always(400)) as (owner, _):
        owner.write(method="notifications/x")
        await until(lambda: "server did not take a message" in caplog.text)

        assert owner.exits == []


# Arguments in headers.

TOOL = {
    "name": "query",
    "inputSchema": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    },
}
BAD_TOOL = {**TOOL, "name": "bad", "inputSchema": {"x-mcp-header": "Region"}}
MISMATCH = {"code": -32020, "message": "header missing"}


async def strict(request: HttpRequest) -> None:
    """Answer as a server with a tool whose argument stands in a header."""
    message = request.message
    if message["method"] == "tools/list":
        request.answer(200, request.result({"tools": [TOOL, BAD_TOOL]}))
    elif request.headers.get("mcp-param-region") != message["params"]["arguments"]["region"]:
        request.answer(400, {"jsonrpc": "2.0", "id": message["id"], "error": MISMATCH})
    else:
        request.answer(200, request.result({}))


async def test_arguments_are_mirrored_once_the_tools_are_known() -> None:
    async with discovered(strict) as (owner, server):
        owner.modern(1, "tools/list")
        listed = (await owner.answer(1))["result"]["tools"]
        owner.modern(2, "tools/call", name="query", arguments={"region": "eu"})

        assert (await owner.answer(2))["result"] == {}
        assert [one["name"] for one in listed] == ["query"], "nobody may use the other one"
        assert len(server.sent("tools/call")) == 1


async def test_a_call_refused_for_its_headers_is_sent_again_once_the_tools_are_known() -> None:
    async with discovered(strict) as (owner, server):
        owner.modern(1, "tools/call", name="query", arguments={"region": "eu"})

        assert (await owner.answer(1))["result"] == {}
        assert len(server.sent("tools/call")) == 2
        assert all("tools" not in one.get("result", {}) for one in owner.messages)


async def test_a_call_refused_again_is_refused_for_good() -> None:
    async with discovered(strict) as (owner, server):
        owner.modern(1, "tools/list")
        await owner.answer(1)
        owner.modern(2, "tools/call", name="other", arguments={"region": "eu"})

        assert await owner.code(2) == -32020
        assert len(server.sent("tools/call")) == 1


# A session.


async def test_a_session_keeps_its_id_and_revision_and_is_ended() -> None:
    async with opened(echo) as (owner, server):
        owner.write(id=2, method="tools/list", params={})
        await owner.answer(2)
        await until(lambda: owner.process.unwritten_bytes == 0)
        await owner.process.stop()

    first, *others = server.requests
    assert "mcp-session-id" not in first.headers
    assert {one.headers["mcp-session-id"] for one in others} == {"s1"}
    assert {one.headers["mcp-protocol-version"] for one in others} == {"2025-11-25"}
    assert others[-1].method == "DELETE"
    assert [one.sentence() for one in owner.exits] == ["was let go"]


async def test_what_is_told_arrives_before_what_follows_it() -> None:
    async def slowly(request: HttpRequest) -> None:
        if request.body and request.message.get("method") == "notifications/roots/list_changed":
            await asyncio.sleep(0.3)
            request.answer(202)
        else:
            await legacy(echo)(request)

    async with scripted(slowly) as server, stand_in(server.url) as owner:
        owner.initialize()
        owner.write(method="notifications/roots/list_changed")
        owner.write(id="mine", result={})
        owner.write(id=2, method="tools/list", params={})
        await owner.answer(2)

        posts = [one.message for one in server.requests if one.method == "POST"]
        assert [one.get("method", "response") for one in posts] == [
            "initialize",
            "notifications/roots/list_changed",
            "response",
            "tools/list",
        ]


async def test_a_request_that_takes_long_holds_nobody_up() -> None:
    async def answer(request: HttpRequest) -> None:
        if request.body and request.message["id"] == 2:
            await asyncio.Event().wait()
        await echo(request)

    async with opened(answer) as (owner, _):
        owner.write(id=2, method="tools/call", params={})
        owner.write(id=3, method="tools/list", params={})

        assert "result" in await owner.answer(3)


async def test_the_server_asks_on_the_stream_that_is_always_open() -> None:
    async def answer(request: HttpRequest) -> None:
        if request.method == "GET":
            request.stream()
            request.event({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
            await asyncio.Event().wait()
        request.answer(202)

    async with opened(answer) as (owner, server):
        assert (await owner.answer("q"))["method"] == "roots/list"
        owner.write(id="q", result={"roots": []})
        await until(lambda: any(b'"roots"' in one.body for one in server.requests))


async def test_a_stream_that_breaks_is_opened_again_behind_its_last_event() -> None:
    async def answer(request: HttpRequest) -> None:
        if request.method != "GET":
            return await echo(request)
        request.stream()
        last = request.headers.get("last-event-id", "")
        request.writer.write(b"retry: 10\n")
        request.event({"jsonrpc": "2.0", "method": f"after/{last}"}, id=f"{last}e")
        await request.writer.drain()
        request.close()
        return None

    async with opened(answer) as (owner, _):
        await until(lambda: len(owner.messages) > 3)

        methods = [one.get("method") for one in owner.messages[1:4]]
        assert methods == ["after/", "after/e", "after/ee"]


async def test_the_answer_to_a_request_comes_over_another_connection() -> None:
    async def answer(request: HttpRequest) -> None:
        if request.method == "POST":
            request.stream()
            request.writer.write(b"retry: 10\nid: first\ndata:\n\n")
            await request.writer.drain()
            request.close()
        elif request.headers.get("last-event-id") == "first":
            request.stream()
            request.event({"jsonrpc": "2.0", "id": 2, "result": {"late": True}}, id="second")
        else:
            request.answer(405)

    async with opened(answer) as (owner, _):
        owner.write(id=2, method="tools/call", params={})

        assert (await owner.answer(2))["result"] == {"late": True}


async def test_a_stream_that_cannot_be_resumed_fails_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_session, "RESUME_ATTEMPTS", 2)

    async def answer(request: HttpRequest) -> None:
        if request.method == "POST":
            request.stream()
            request.writer.write(b"retry: 10\nid: first\ndata:\n\n")
            await request.writer.drain()
        elif request.headers.get("last-event-id") != "first":
            request.answer(405)
        request.close()

    async with opened(answer) as (owner, server):
        owner.write(id=2, method="tools/call", params={})

        assert await owner.code(2) == -31004
        assert sum(one.method == "GET" for one in server.requests) >= 2


async def test_a_session_that_the_server_forgot_ends_the_stand_in() -> None:
    async with opened(always(404, b"who?")) as (owner, _):
        owner.write(id=2, method="tools/list", params={})

        assert await owner.end() == "says that the session is over"


async def test_an_unknown_method_ends_no_session() -> None:
    error = {"jsonrpc": "2.0", "id": 2, "error": {"code": -32601, "message": "no"}}
    async with opened(always(404, error)) as (owner, _):
        owner.write(id=2, method="tools/list", params={})

        assert await owner.code(2) == -32601
        assert owner.exits == []


@pytest.mark.parametrize("status", [400, 404])
async def test_a_server_that_restarted_is_noticed_by_its_stream(status: int) -> None:
    opens = 0

    async def answer(request: HttpRequest) -> None:
        nonlocal opens
        opens += 1
        if opens > 1:
            return request.answer(status)
        request.stream()
        request.writer.write(b"retry: 10\n\n")
        await request.writer.drain()
        return request.close()

    async with opened(answer) as (owner, _):
        assert await owner.end() == "says that the session is over"


async def test_a_batch_is_taken_apart() -> None:
    async def answer(request: HttpRequest) -> None:
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
        request.answer(200, [request.result({}), note])

    async with opened(answer) as (owner, _):
        owner.write(id=2, method="tools/list", params={})
        await owner.answer(2)
        await until(lambda: owner.messages[-1].get("method") == "notifications/message")


async def test_a_cancel_is_told_and_its_stream_is_left_a_while_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_session, "CANCELLED_LINGER", 0.1)
    gone = asyncio.Event()

    async def answer(request: HttpRequest) -> None:
        if request.method == "GET":
            return request.answer(405)
        request.stream()
        await request.writer.drain()
        await until(lambda: _at_eof(request))
        gone.set()
        return None

    async with opened(answer) as (owner, server):
        owner.write(id=0, method="tools/call", params={})
        await until(lambda: server.sent("tools/call"))
        owner.write(method="notifications/cancelled", params={"requestId": 0})
        await asyncio.wait_for(gone.wait(), 10)

        assert server.sent("notifications/cancelled")


async def test_one_connection_that_fails_is_no_end_for_the_other_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[HttpRequest] = []

    async def answer(request: HttpRequest) -> None:
        if request.message["id"] == 1:
            held.append(request)
            await asyncio.Event().wait()
        await echo(request)

    async with discovered(answer) as (owner, _):
        owner.modern(1, "tools/call", name="a")
        await until(lambda: held)
        monkeypatch.setattr(Network, "connect_tcp", refuse)
        owner.modern(2, "tools/call", name="b")
        owner.modern(3, "tools/call", name="c")

        assert await owner.code(2) == -31004
        assert owner.exits == []
        held[0].answer(200, held[0].result({}))
        assert "result" in await owner.answer(1)


async def refuse(*_: object, **__: object) -> None:
    raise httpcore2.ConnectError("no more files")


async def test_a_server_without_a_stream_is_asked_for_one_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_session, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http_session, "LEAST_PAUSE", 0.01)
    async with opened(always(200, b"<html>", **{"content-type": "text/html"})) as (owner, server):
        await until(lambda: any(one.method == "GET" for one in server.requests))
        for id in range(2, 102):  # meanwhile it would have asked again
            owner.write(id=id, method="tools/list", params={})
            await owner.answer(id)

        assert sum(one.method == "GET" for one in server.requests) == 1
        assert owner.exits == []


# The older transport.


def old(endpoint: str = "/messages?session=7") -> tuple[Answerer, list[HttpRequest]]:
    """Return an HTTP+SSE server, and the streams that are open on it."""
    streams: list[HttpRequest] = []

    async def answer(request: HttpRequest) -> None:
        if request.method == "GET":
            streams.append(request)
            request.stream()
            request.event(endpoint, name="endpoint")
            await asyncio.Event().wait()
        elif request.path == "/mcp":
            request.answer(405)
        else:
            request.answer(202)
            if "id" in request.message:
                result = INITIALIZED if request.message["method"] == "initialize" else {}
                streams[-1].event(request.result(result))

    return answer, streams


async def test_an_old_server_is_found_out() -> None:
    answer, _ = old()
    async with scripted(answer) as server, stand_in(server.url) as owner:
        owner.initialize()
        await owner.answer(1)
        owner.write(method="notifications/initialized")
        owner.write(id=2, method="tools/list")
        await owner.answer(2)

        assert [one.path for one in server.requests][-1] == "/messages?session=7"
        await until(lambda: owner.process.unwritten_bytes == 0)


async def test_an_old_server_is_spoken_to_as_configured() -> None:
    answer, _ = old()
    async with (
        scripted(answer) as server,
        stand_in(server.url, transport=Transport.SSE) as owner,
    ):
        owner.initialize()
        await owner.answer(1)

        assert [one.method for one in server.requests] == ["GET", "POST"]


async def test_a_server_that_shall_speak_http_is_not_asked_for_more() -> None:
    answer, _ = old()
    async with (
        scripted(answer) as server,
        stand_in(server.url, transport=Transport.HTTP) as owner,
    ):
        owner.initialize()

        assert "answered HTTP 405" in await owner.end()
        assert [one.method for one in server.requests] == ["POST"]


async def test_a_stream_that_names_no_endpoint_is_no_old_server() -> None:
    async def answer(request: HttpRequest) -> None:
        if request.method == "POST":
            return request.answer(405)
        request.stream()
        await request.writer.drain()
        return request.close()

    async with scripted(answer) as server, stand_in(server.url) as owner:
        owner.initialize()

        assert "answered HTTP 405" in await owner.end()


async def test_an_old_server_whose_stream_ends_is_gone() -> None:
    answer, streams = old()
    async with scripted(answer) as server, stand_in(server.url) as owner:
        owner.initialize()
        await owner.answer(1)
        streams[0].close()

        assert (await owner.end()).startswith("ended its stream")


async def test_headers_are_for_nobody_elsewhere() -> None:
    async with scripted(always(202)) as elsewhere:
        answer, _ = old(endpoint=elsewhere.url)
        headers = {"Authorization": "hush"}
        async with scripted(answer) as server, stand_in(server.url, headers=headers) as owner:
            owner.initialize()

            assert "over HTTP+SSE it sends us to another origin" in await owner.end()
        assert elsewhere.requests == []


def _is_closed(request: HttpRequest) -> bool:
    return request.writer.transport.is_closing()


def _at_eof(request: HttpRequest) -> bool:
    reader = request.writer._transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
    return bool(reader is None or reader.at_eof())
