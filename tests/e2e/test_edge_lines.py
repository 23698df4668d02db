"""Lines that a client should not write: answered at the edge, and without harm to the next."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.running import META, Running, Shim, daemon, encoded, server, shim, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVERS = {"modern": "thin", "legacy": "old"}
MOST_LINE_BYTES = 32 * 1024 * 1024
PING: dict[str, Any] = {"jsonrpc": "2.0", "id": "p", "method": "ping"}

REFUSED = {
    "garbage": (b"not json\n", None, -32700),
    "half an object": (b'{"jsonrpc": "2.0", "id": 9, "method": "ping"\n', None, -32700),
    "invalid UTF-8": (
        b'{"jsonrpc": "2.0", "id": 9, "method": "ping", "params": {"x": "\xff"}}\n',
        9,
        -32700,
    ),
    "nesting": (
        b'{"jsonrpc": "2.0", "id": 9, "method": "ping", "x": %b}\n' % (b"[" * 9999 + b"]" * 9999),
        None,
        -32700,
    ),
    "a batch": (b"[" + encoded(PING).strip() + b"]\n", None, -32600),
    "a number": (b"42\n", None, -32600),
    "a fractional id": (encoded({**PING, "id": 1.5}), None, -32600),
    "a null id": (encoded({**PING, "id": None}), None, -32600),
    "a boolean id": (encoded({**PING, "id": True}), None, -32600),
    "no jsonrpc": (b'{"id": 9, "method": "ping"}\n', 9, -32600),
    "jsonrpc 1.0": (b'{"jsonrpc": "1.0", "id": 9, "method": "ping"}\n', 9, -32600),
    "a method that is no string": (encoded({**PING, "id": 9, "method": 7}), 9, -32600),
    "neither request nor response": (b'{"jsonrpc": "2.0", "id": 9}\n', 9, -32600),
    "a request that is a response": (encoded({**PING, "id": 9, "result": {}}), 9, -32600),
    "a call of no tool": (
        encoded({**PING, "id": 9, "method": "tools/call", "params": {"_meta": META}}),
        9,
        -32600,
    ),
    "params that are a list": (
        encoded({**PING, "id": 9, "method": "tools/call", "params": [1]}),
        9,
        -32600,
    ),
}
"""Each line, and the id and code of its answer."""

IGNORED = {
    "an empty line": b"\n",
    "blanks": b"  \t \n",
    "a bare CR": b"\r\n\r\r\n",
    "a BOM alone": b"\xef\xbb\xbf\n",
    "a response nobody asked for": b'{"jsonrpc": "2.0", "id": 99, "result": {}}\n',
    "an error nobody asked for": (
        b'{"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": ""}}\n'
    ),
    "an error without an id": b'{"jsonrpc": "2.0", "error": {"code": 1, "message": "?"}}\n',
    "a notification nobody knows": b'{"jsonrpc": "2.0", "method": "notifications/unheard/of"}\n',
    "a cancel of nothing": encoded(
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}}
    ),
    "a cancel without an id": b'{"jsonrpc": "2.0", "method": "notifications/cancelled"}\n',
}


def spaced(message: dict[str, Any], line_end: str) -> bytes:
    """Return JSON over several lines, ended as somebody's editor does."""
    return json.dumps(message, indent=1).replace("\n", line_end).encode()


ECHO = {
    "jsonrpc": "2.0",
    "id": "e",
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "grüße\r\n🌍"}, "_meta": META},
}

ANSWERED = {
    "a BOM": b"\xef\xbb\xbf" + encoded(ECHO),
    "CR LF at the end": encoded(ECHO).strip() + b"\r\n",
    "raw CR between the tokens": spaced(ECHO, "\r") + b"\n",
    "blanks around it": b"  " + encoded(ECHO).strip() + b"\t\n",
    "UTF-8 that is not escaped": json.dumps(ECHO, ensure_ascii=False).encode() + b"\n",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One daemon with a server of each era."""
    servers = {"thin": server("thin", "modern"), "old": server("thin", "legacy")}
    async with daemon(tmp_path_factory.mktemp("lines"), servers) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=SERVERS)
async def host(bridge: Running, request: pytest.FixtureRequest) -> AsyncIterator[Shim]:
    """A client that speaks one of the eras already; nothing but its answers is ever said."""
    async with await shim(bridge.folder, SERVERS[request.param]) as host:
        if request.param == "legacy":
            await host.initialize()
        assert text_of(await host.call("echo", text="first")) == "first"
        yield host
        assert await rest_of(host) == []


@pytest_asyncio.fixture(loop_scope="module")
async def client(host: Shim) -> AsyncIterator[Shim]:
    """The same client; after each test its next call works, and nothing else has come."""
    host.unasked.clear()
    yield host
    # Legacy servers do not look into `_meta`: one call is good for both eras.
    assert text_of(await host.call("echo", text="next")) == "next"
    assert host.unasked == host.notes == []


async def rest_of(host: Shim) -> list[bytes]:
    """Close its stdin; return what else it writes."""
    assert host.process.stdin is not None
    assert host.process.stdout is not None
    host.process.stdin.close()
    rest = await host.process.stdout.read()
    assert await host.ended() == 0
    return rest.splitlines()


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_no_message_is_refused(client: Shim, kind: str) -> None:
    line, id, code = REFUSED[kind]

    client.write(line)
    answer = await client.read()

    assert (answer["id"], answer["error"]["code"]) == (id, code)
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["message"]


@pytest.mark.parametrize("kind", IGNORED)
async def test_what_wants_no_answer_gets_none(client: Shim, kind: str) -> None:
    client.write(IGNORED[kind])


@pytest.mark.parametrize("kind", ANSWERED)
async def test_what_can_be_read_is_answered(client: Shim, kind: str) -> None:
    client.write(ANSWERED[kind])

    assert text_of(await client.answer("e")) == "grüße\r\n🌍"


async def test_a_line_over_32_mib_is_skipped(client: Shim) -> None:
    client.write(b'{"jsonrpc": "2.0", "id": 9, "method": "ping", "x": "')
    client.write(b"x" * (MOST_LINE_BYTES + 1024 * 1024))
    client.write(b'"}\n')
    answer = await client.read()

    assert (answer["id"], answer["error"]["code"]) == (9, -31003)
    assert str(MOST_LINE_BYTES) in answer["error"]["message"]


async def test_a_method_cannot_inject_a_line_into_nats(client: Shim) -> None:
    """A client's bytes never reach a subject or a header raw."""
    method = "tools\r\nPUB mcp.cxl.thin 0\r\n\r\n/call"

    answer = await client.answer(client.modern(method))

    assert answer["error"]["code"] == -32601
    assert method in answer["error"]["message"]


async def test_an_id_in_flight_is_not_taken_again(client: Shim) -> None:
    client.modern("tools/call", id=5, name="sleep", arguments={"seconds": 1})
    client.modern("tools/call", id=5, name="echo", arguments={"text": "again"})

    refused, slept = await client.answer(5), await client.answer(5)

    assert refused["error"]["code"] == -32600
    assert text_of(slept) == "slept"


async def test_an_id_is_free_again_once_it_is_answered_or_cancelled(client: Shim) -> None:
    client.modern("tools/call", id=5, name="sleep", arguments={"seconds": 60})
    client.write(
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    )
    for text in ("one", "two"):
        client.modern("tools/call", id=5, name="echo", arguments={"text": text})

        assert text_of(await client.answer(5)) == text


@pytest.mark.parametrize("line", [b"tools/list", b"tools/call"])
async def test_a_request_before_initialize_belongs_to_no_era(bridge: Running, line: bytes) -> None:
    params = {"name": "echo", "arguments": {}}
    async with await shim(bridge.folder, "old") as host:
        answer = await host.answer(host.legacy(line.decode(), **params))
        pinged = await host.answer(host.legacy("ping"))

    assert answer["error"]["code"] == -32600
    assert "initialize" in answer["error"]["message"]
    assert pinged["result"] == {}


async def test_a_modern_client_is_told_where_it_can_open_a_session(bridge: Running) -> None:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}
    async with await shim(bridge.folder, "thin") as host:
        assert text_of(await host.call("echo", text="modern")) == "modern"
        error = (await host.answer(host.legacy("initialize", **params)))["error"]
        assert text_of(await host.call("echo", text="still")) == "still"

    assert (error["code"], error["data"]["requested"]) == (-31006, "2025-06-18")
    assert "needs a connection of its own" in error["message"]


async def test_a_last_line_without_its_end_is_answered(bridge: Running) -> None:
    """`printf` at a prompt forgets the newline."""
    async with await shim(bridge.folder, "thin") as host:
        host.write(encoded(ECHO).strip())
        [line] = await rest_of(host)

    assert text_of(json.loads(line)) == "grüße\r\n🌍"
