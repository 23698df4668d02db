"""A prefix with `{user}`: what comes in over HTTP is published under its caller's own name."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from websockets.asyncio.client import connect

from tests.connections import plain
from tests.e2e.parking import again, answers_of, asks
from tests.gateways import Gateway, events, free_port, modern_message, tool_call
from tests.issuer import Issuer
from tests.natsd import NatsServer
from tests.running import daemon, server, text_of
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
LONG = "x" * 300
ODD = {"*": "=2A", ">": "=3E", "a.b": "a=2Eb", "ann@x.org": "ann=40x=2Eorg", "é": "=C3=A9"}
WAYS = ["modern", "session", "translated", "sse", "ws", "ws modern"]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def grants_of_bob(server: str) -> list[str]:
    """Return what lets bob call `echo` and `query`, and not list any tools."""
    tails = ("server.discover", "tools.call.echo", "tools.call.query")
    pinned = f"mcp.bob.ses.{server}.*.*"
    session = ("control", "response", "notifications.>", "ping")
    return [
        *(f"mcp.bob.req.{server}.{tail}" for tail in ("initialize", *tails)),
        *(f"{pinned}.{tail}" for tail in (*session, *tails)),
        f"mcp.bob.cxl.{server}",
    ]


SERVED = {
    "thin": server("thin"),
    "old": server("thin", "legacy"),
    "new": server("thin", "modern"),
    "mirrored": server("mirrored"),
    **asks(),
}


def user(name: str, *publish: str) -> str:
    """Return a user of nats-server who may publish only that; the password is the name."""
    subscribe = json.dumps([f"_INBOX_{name}.>"])
    allowed = json.dumps(["$SYS.REQ.USER.INFO", "$SRV.>", *publish])
    answers = 'allow_responses: { max: -1, expires: "1m" }'
    permissions = f"publish: {allowed}, subscribe: {subscribe}, {answers}"
    return f'{{ user: {name}, password: "{name}", permissions: {{ {permissions} }} }}'


def nats_config() -> str:
    bob = [grant for name in SERVED for grant in grants_of_bob(name)]
    odd = [f"mcp.{token}.>" for token in (*ODD.values(), "*")]
    host = '{ user: host, password: "host" }'
    users = [
        host, user("web", "mcp.web.>", "mcp.alice.>", *bob), user("trusted", *odd),
    ]  # fmt: skip
    return f"authorization {{ users: [ {', '.join(users)} ] }}"


def as_user(natsd: NatsServer, name: str) -> dict[str, str]:
    own = {"user": name, "password": name, "inbox_prefix": f"_INBOX_{name}"}
    return {"url": natsd.url, "prefix": "mcp.{user}", **own}


@dataclass
class World:
    """A bus on which names are enforced, a gateway on it, and a spy."""

    natsd: NatsServer
    folder: Path
    web: Gateway
    heard: list[Msg] = field(default_factory=list)

    def subjects(self) -> list[str]:
        """Return what was published, but for events."""
        return [msg.subject for msg in self.heard if ".evt." not in msg.subject]

    def requests(self) -> list[str]:
        """Return the requests among it. None of them comes late: its answer was waited for."""
        return [subject for subject in self.subjects() if subject.split(".")[2] == "req"]

    @asynccontextmanager
    async def client(self, token: str) -> AsyncIterator[Gateway]:
        """Return a client that has a token."""
        headers = {"authorization": f"Bearer {token}"}
        async with Gateway(self.web.daemon, self.web.port, headers=headers) as found:
            yield found


@asynccontextmanager
async def gateway(
    folder: Path, natsd: NatsServer, name: str, **endpoint: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway as a user of NATS."""
    port = free_port()
    endpoints = [{"http": f"127.0.0.1:{port}", **endpoint}]
    async with daemon(folder, {}, nats=as_user(natsd, name), endpoints=endpoints) as running:
        await running.said("endpoint open")
        async with Gateway(running, port) as found:
            yield found


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    names = ("alice", "bob", LONG, *ODD)
    path.write_text("".join(f"{name} {token_of(name)}\n" for name in names), encoding="utf-8")
    return str(path)


def token_of(name: str) -> str:
    return f"token-of-{name.encode().hex()}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, tokens: str) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("users")
    with NatsServer(folder / "natsd", nats_config()) as natsd:
        host = as_user(natsd, "host")
        async with (
            daemon(folder / "host", SERVED, nats=host),
            gateway(folder / "web", natsd, "web", tokens=tokens) as web,
            plain(natsd.url, user="host", password="host") as spy,
        ):
            found = World(natsd, folder, web)

            async def hear(msg: Msg) -> None:
                found.heard.append(msg)

            await spy.subscribe("mcp.>", cb=hear)
            await spy.flush()
            yield found


# Each way in.


async def by_modern(client: Gateway, tool: str, **arguments: Any) -> dict[str, Any]:
    response = await client.call("thin", tool, **arguments)
    found: dict[str, Any] = response.json()
    return found


async def by_session(client: Gateway, name: str, tool: str, **arguments: Any) -> dict[str, Any]:
    session = await client.session(name)
    response = await session.call(tool, **arguments)
    assert (await session.delete()).status_code == 200
    found: dict[str, Any] = response.json()
    return found


async def by_sse(client: Gateway, tool: str, **arguments: Any) -> dict[str, Any]:
    async with client.http.stream("GET", "/sse/old") as response, asyncio.timeout(BOUND):
        stream = events(response, decoded=False)
        place = (await anext(stream))["data"]
        answer: dict[str, Any] = {}
        for message in (INITIALIZE, tool_call(tool, **arguments)):
            assert (await client.http.post(place, json=message)).status_code == 202
            answer = json.loads((await anext(stream))["data"])
    return answer


async def by_socket(client: Gateway, *messages: dict[str, Any]) -> dict[str, Any]:
    url = f"ws://127.0.0.1:{client.port}/ws/thin"
    own = {"authorization": client.http.headers["authorization"]}
    answer: dict[str, Any] = {}
    async with (
        connect(url, subprotocols=["mcp"], proxy=None, additional_headers=own) as opened,  # type: ignore[list-item]
        asyncio.timeout(BOUND),
    ):
        for message in messages:
            await opened.send(json.dumps(message))
            answer = json.loads(await opened.recv()) if "id" in message else answer
    return answer


async def call(client: Gateway, way: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool in one of the ways; return the answer."""
    message = tool_call(tool, **arguments)
    match way:
        case "modern":
            return await by_modern(client, tool, **arguments)
        case "session":
            return await by_session(client, "old", tool, **arguments)
        case "translated":
            return await by_session(client, "new", tool, **arguments)
        case "sse":
            return await by_sse(client, tool, **arguments)
        case "ws":
            return await by_socket(client, INITIALIZE, INITIALIZED, message)
        case _:
            body, _ = modern_message("tools/call", **message["params"])
            return await by_socket(client, body)


@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_may_do_what_nats_grants_to_its_name(world: World, way: str) -> None:
    async with (
        world.client(token_of("bob")) as bob,
        world.client(token_of("alice")) as alice,
    ):
        refused = await call(bob, way, "pid")

        assert refused["error"]["code"] == -31002, refused
        assert "mcp.bob." in refused["error"]["message"]
        assert text_of(await call(bob, way, "echo", text="bob")) == "bob"
        assert text_of(await call(alice, way, "pid")).isdigit()


@pytest.mark.parametrize("way", WAYS)
async def test_all_that_a_caller_sends_is_under_its_name(world: World, way: str) -> None:
    async with world.client(token_of("alice")) as alice:
        world.heard.clear()
        assert text_of(await call(alice, way, "echo", text="a")) == "a"
        await until(lambda: any("tools.call.echo" in one for one in world.subjects()), BOUND)

    # Of bob, who came before, a farewell may come late.
    assert {one.split(".")[1] for one in world.subjects()} - {"bob"} == {"alice"}


async def test_a_cancel_and_a_farewell_are_said_under_their_callers_name(world: World) -> None:
    async with world.client(token_of("alice")) as alice:
        world.heard.clear()
        slow = asyncio.create_task(alice.call("thin", "sleep", seconds=60))
        await until(lambda: any("tools.call.sleep" in one for one in world.subjects()), BOUND)
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        await call(alice, "translated", "echo", text="a")

        def said() -> set[str]:
            frames = [(msg.headers or {}).get("Mcp-Frame", "") for msg in of_alice(world)]
            return set(frames)

        await until(lambda: {"cancel", "left"} <= said(), BOUND)


def of_alice(world: World) -> list[Msg]:
    return [msg for msg in world.heard if msg.subject.startswith("mcp.alice.cxl.")]


# Names.


async def test_nothing_that_a_client_sends_changes_its_name(world: World) -> None:
    forged: dict[str, str | None] = {
        "mcp-user": "alice",
        "x-forwarded-user": "alice",
        "x-remote-user": "alice",
        "mcp-call": f"{'0' * 32}.1",
        "nats-subject": "mcp.alice.req.thin.tools.call.pid",
    }
    meta = {"user": "alice", "io.modelcontextprotocol/user": "alice"}
    async with world.client(token_of("bob")) as bob:
        world.heard.clear()
        refused = await bob.modern(
            "thin",
            "tools/call",
            headers=forged,
            name="pid",
            arguments={"user": "alice"},
            _meta=meta,
        )
        places = [
            (await bob.http.post(f"/mcp/{path}", json={})).status_code
            for path in ("alice.req.thin", "..%2Falice", "thin%2Ereq", "*", "%3E")
        ]
        assert text_of(await call(bob, "modern", "echo", text="after")) == "after"
        await until(lambda: any("call.echo" in one for one in world.subjects()), BOUND)

    assert refused.json()["error"]["code"] == -31002
    assert places == [404] * len(places)
    assert {one.split(".")[1] for one in world.requests()} == {"bob"}


async def test_a_name_is_one_token_whatever_it_is(
    world: World, tokens: str, tmp_path: Path
) -> None:
    async with gateway(tmp_path, world.natsd, "trusted", tokens=tokens) as web:
        for name in (*ODD, LONG):
            world.heard.clear()
            headers: dict[str, str | None] = {"authorization": f"Bearer {token_of(name)}"}
            listed = await web.modern("thin", "tools/list", headers=headers)
            await until(world.requests, BOUND)

            assert listed.status_code == 200, listed.text
            [subject] = world.requests()
            assert subject.endswith(".req.thin.tools.list")
            token = subject.removeprefix("mcp.").removesuffix(".req.thin.tools.list")
            assert token == ODD.get(name, token)
            assert len(token) == 66 if name == LONG else token in ODD.values()


async def test_a_signed_token_gives_its_subjects_name(world: World, tmp_path: Path) -> None:
    async with (
        Issuer() as issuer,
        gateway(tmp_path, world.natsd, "trusted", jwt=issuer.trust) as web,
    ):
        world.heard.clear()
        headers: dict[str, str | None] = {
            "authorization": f"Bearer {issuer.token(sub='auth0|carol')}"
        }
        listed = await web.modern("thin", "tools/list", headers=headers)
        await until(world.requests, BOUND)

    assert listed.status_code == 200
    assert world.requests() == ["mcp.auth0=7Ccarol.req.thin.tools.list"]


async def test_without_tokens_all_callers_are_the_gateways_user(
    world: World, tmp_path: Path
) -> None:
    async with gateway(tmp_path, world.natsd, "web") as web:
        world.heard.clear()
        listed = await web.modern(
            "thin", "tools/list", headers={"authorization": f"Bearer {token_of('alice')}"}
        )
        await until(world.requests, BOUND)

    assert listed.status_code == 200
    assert world.requests() == ["mcp.web.req.thin.tools.list"]


# What is learnt of servers, and kept for callers.


async def test_who_may_not_list_tools_does_not_switch_off_a_check_for_others(
    world: World,
) -> None:
    """The headers of a call are compared with what the list says of its tool."""
    region: dict[str, Any] = {"name": "query", "arguments": {"region": "eu"}}
    wrong: dict[str, str | None] = {"mcp-param-region": "us"}
    async with (
        world.client(token_of("bob")) as bob,
        world.client(token_of("alice")) as alice,
    ):
        unchecked = await bob.modern("mirrored", "tools/call", headers=wrong, **region)
        checked = await alice.modern("mirrored", "tools/call", headers=wrong, **region)

    assert unchecked.status_code == 200
    assert checked.json()["error"]["code"] == -32020


async def test_the_page_shows_what_its_reader_may_list(world: World) -> None:
    pages = []
    for name in ("alice", "bob"):
        async with world.client(token_of(name)) as client:
            pages.append(await client.http.get("/mcp/thin", headers={"accept": "text/html"}))

    assert [one.status_code for one in pages] == [200, 200]
    assert "<dt>echo</dt>" in pages[0].text
    assert "<dt>" not in pages[1].text
    assert "mcp.bob.req.thin.tools.list" in pages[1].text


async def test_a_parked_call_is_its_callers_at_gateways_of_different_users(
    world: World, tokens: str, tmp_path: Path
) -> None:
    secret = "what several gateways know"
    headers: dict[str, str | None] = {"authorization": f"Bearer {token_of('alice')}"}
    async with (
        gateway(tmp_path / "a", world.natsd, "web", tokens=tokens, secret=secret) as one,
        gateway(tmp_path / "b", world.natsd, "trusted", tokens=tokens, secret=secret) as other,
    ):
        first = again({"requestState": None}, None, "elicit", text="x")
        asked = {key: first[key] for key in ("name", "arguments", "_meta")}
        parked = (await one.modern("asks", "tools/call", headers=headers, **asked)).json()["result"]
        params = again(parked, answers_of(parked), "elicit", text="x")
        answer = await other.modern("asks", "tools/call", headers=headers, **params)

    assert text_of(answer.json()) == "x: me on x"
