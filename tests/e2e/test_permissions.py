"""What NATS grants a user is what a client may do, in both eras."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.msg import Msg

from tests.connections import plain
from tests.faults import LATE, Bus, ask, bus, fault_of, serving
from tests.running import Shim, text_of
from tests.waiting import until

EVERYTHING = '{ user: daemon, password: "d" }'


def user(name: str, *publish: str, inbox: str = "") -> str:
    """Return a user of nats-server who may publish only that; the password is the name."""
    subscribe = json.dumps([f"{inbox or f'_INBOX_{name}'}.>"])
    permissions = f"publish: {{ allow: {json.dumps(publish)} }}, subscribe: {subscribe}"
    return f'{{ user: {name}, password: "{name}", permissions: {{ {permissions} }} }}'


def grants(*tails: str) -> list[str]:
    """Return what lets a user use these tails, in both eras."""
    pinned = "mcp.ses.recorder.*.*"
    return [
        *(f"mcp.req.recorder.{tail}" for tail in tails),
        *(f"{pinned}.{tail}" for tail in ("control", "response", "notifications.>", *tails)),
        "mcp.cxl.recorder",
    ]


ALICE = user("alice", *grants("initialize", "tools.list", "tools.call.echo"))


def as_user(name: str) -> dict[str, str]:
    return {
        "MCPNATSD_USER": name,
        "MCPNATSD_PASSWORD": name,
        "MCPNATSD_INBOX_PREFIX": f"_INBOX_{name}",
    }


@asynccontextmanager
async def guarded_bus(
    folder: Path, *users: str, daemon: str = EVERYTHING, prefix: str = "mcp"
) -> AsyncIterator[Bus]:
    text = f"authorization {{ users: [ {', '.join((daemon, *users))} ] }}"
    async with bus(folder, text) as own:
        nats = {"url": own.natsd.url, "user": "daemon", "password": "d", "prefix": prefix}
        async with serving(own, nats=nats):
            yield own


async def test_only_granted_tools_can_be_called(tmp_path: Path) -> None:
    async with guarded_bus(tmp_path, ALICE) as own:
        shim = await own.modern(**as_user("alice"))
        slow = ask(shim, "sleep", seconds=1000)
        denied = await shim.answer(slow, 20)

        assert fault_of(denied) == (-31002, None)
        assert "mcp.req.recorder.tools.call.sleep" in denied["error"]["message"]
        assert "result" in await shim.answer(shim.modern("tools/list"), LATE)
        assert text_of(await shim.call("echo", text="still")) == "still"
        assert own.record.runs() == {"first": 1, "still": 1}


async def test_only_granted_tools_can_be_called_in_a_session(tmp_path: Path) -> None:
    async with guarded_bus(tmp_path, ALICE) as own:
        shim = await own.legacy(**as_user("alice"))
        assert text_of(await shim.call("echo", era="legacy", text="first")) == "first"
        for _ in range(2):
            asked = [
                ask(shim, "echo", era="legacy", text="before"),
                ask(shim, "record", era="legacy", text="never"),
                ask(shim, "echo", era="legacy", text="after"),
            ]
            before, denied, after = [await shim.answer(id, 20) for id in asked]

            assert fault_of(denied) == (-31002, None)
            assert "tools.call.record" in denied["error"]["message"]
            assert (text_of(before), text_of(after)) == ("before", "after")
        assert own.record.runs() == {"first": 1, "before": 2, "after": 2}
        opened = [method for _, method, _ in own.record.lines() if method == "initialize"]
        assert len(opened) == 1


async def test_a_session_that_is_not_granted_is_refused_at_once(tmp_path: Path) -> None:
    bob = user("bob", "mcp.req.recorder.tools.>", "mcp.cxl.recorder")
    async with guarded_bus(tmp_path, bob) as own:
        shim = await own.shim("recorder", **as_user("bob"))
        refused = await shim.initialize()
        assert fault_of(refused) == (-31002, None)
        assert "mcp.req.recorder.initialize" in refused["error"]["message"]


async def test_an_inbox_that_is_not_granted_is_named(tmp_path: Path) -> None:
    async with guarded_bus(tmp_path, ALICE) as own:
        variables = {**as_user("alice"), "MCPNATSD_INBOX_PREFIX": "_INBOX"}
        shims = [await own.shim("recorder", **variables) for _ in range(2)]
        refused = await shims[0].call("echo", text="x"), await shims[1].initialize()
        for response in refused:
            assert fault_of(response) == (-31002, None)
            assert "_INBOX" in response["error"]["message"].upper()


BY_USER = "mcp.{user}"


def own_user(name: str) -> str:
    return user(name, f"mcp.{name}.>", "$SYS.REQ.USER.INFO")


async def by_user(own: Bus, name: str, *, legacy: bool = False) -> Shim:
    opened = own.legacy if legacy else own.modern
    return await opened("recorder", "--prefix", BY_USER, **as_user(name))


async def test_a_call_belongs_to_its_user(tmp_path: Path) -> None:
    users = own_user("alice"), own_user("bob")
    async with guarded_bus(tmp_path, *users, prefix=BY_USER) as own:
        heard: list[Msg] = []

        async def listen(msg: Msg) -> None:
            heard.append(msg)

        async with (
            plain(own.natsd.url, user="daemon", password="d") as spy,
            plain(own.natsd.url, user="bob", password="bob", inbox_prefix="_INBOX_bob") as bob,
        ):
            alice, other = await by_user(own, "alice"), await by_user(own, "bob")
            await spy.subscribe("mcp.alice.>", cb=listen)
            await spy.flush()
            asked = ask(alice, "sleep", seconds=3)
            await until(lambda: heard, LATE)
            assert heard[0].subject == "mcp.alice.req.recorder.tools.call.sleep"
            body = json.dumps({"call": (heard[0].headers or {})["Mcp-Call"]}).encode()
            await bob.publish("mcp.bob.cxl.recorder", body, headers={"Mcp-Frame": "cancel"})
            await bob.flush()

            assert text_of(await other.call("echo", text="mine")) == "mine"
            assert text_of(await alice.answer(asked, LATE)) == "slept"


async def test_a_session_belongs_to_its_user(tmp_path: Path) -> None:
    users = own_user("alice"), own_user("bob")
    async with guarded_bus(tmp_path, *users, prefix=BY_USER) as own:
        heard: list[Msg] = []

        async def listen(msg: Msg) -> None:
            heard.append(msg)

        async with (
            plain(own.natsd.url, user="daemon", password="d") as spy,
            plain(own.natsd.url, user="bob", password="bob", inbox_prefix="_INBOX_bob") as bob,
        ):
            await spy.subscribe("mcp.alice.ses.>", cb=listen)
            await spy.flush()
            alice = await by_user(own, "alice", legacy=True)
            assert text_of(await alice.call("record", era="legacy", text="one")) == "one"
            last = next(msg for msg in heard if msg.subject.endswith("tools.call.record"))
            theirs = last.subject.replace("mcp.alice.", "mcp.bob.")
            following = str(int((last.headers or {})["Mcp-Seq"]) + 1)
            stolen = last.data.replace(b"one", b"stolen")
            reply = await bob.request(theirs, stolen, headers={"Mcp-Seq": following}, timeout=20)

            assert (reply.headers or {})["Mcp-Frame"] == "close"
            assert text_of(await alice.call("record", era="legacy", text="two")) == "two"
            assert own.record.runs() == {"one": 1, "two": 1}


async def test_a_daemon_that_names_its_callers_starts_without_nats(tmp_path: Path) -> None:
    async with bus(tmp_path) as own:
        own.natsd.kill()
        nats = {"url": own.natsd.url, "prefix": BY_USER}
        async with serving(own, nats=nats) as daemon:
            await daemon.said("NATS is away")
            own.natsd.start()
            await daemon.said("NATS is up")
            shim = await own.shim("recorder", "--prefix", "mcp.anybody")
            assert text_of(await shim.call("echo", text="x", bound=LATE)) == "x"


async def test_a_client_whose_prefix_names_it_waits_for_nats(tmp_path: Path) -> None:
    async with guarded_bus(tmp_path, own_user("alice"), prefix=BY_USER) as own:
        own.natsd.kill()
        shims = [
            await own.shim("recorder", "--prefix", BY_USER, **as_user("alice")) for _ in range(3)
        ]
        for shim in shims:
            await shim.said("NATS is away")
        assert await shims[0].stop() == 0
        asked = ask(shims[1], "echo", text="at last")
        session = asyncio.create_task(shims[2].initialize(LATE))
        own.natsd.start()

        assert text_of(await shims[1].answer(asked, LATE)) == "at last"
        assert "result" in await session
        assert sum("NATS is away" in line for line in shims[1].log) == 1
