"""Requests that come to the wrong instance: passed on, left to others, taken back."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import NoRespondersError

from tests.connections import plain
from tests.e2e.clients import client, status_of
from tests.e2e.parking import ASKING, Raw, again, answers_of, asks, request
from tests.e2e.test_parked import error, holding, text, two
from tests.faults import LATE, bus
from tests.running import daemon, server, text_of


async def send(
    nats: Client, call: str, instance: str, params: dict[str, Any], reply: str = ""
) -> str:
    """Publish a call of a tool to one instance; return where its frames arrive."""
    reply = reply or nats.new_inbox()
    tail = f"mcp.ses.asks.{instance}.{'2' * 32}.tools.call.{params['name']}"
    headers = {"Mcp-Wire": "1", "Mcp-Call": call}
    await nats.publish(tail, request(1, params), reply=reply, headers=headers)
    return reply


async def test_a_denied_tool_is_not_called_by_forwarding_either(tmp_path: Path) -> None:
    async with bus(tmp_path) as own:
        url = own.natsd.url
        rules = asks(tools={"deny": ["elicit"]})
        async with daemon(tmp_path / "a", asks(), nats_url=url), plain(url) as nats:
            one = Raw(nats)
            result, holder = await one.park("elicit", text="x")
            async with daemon(tmp_path / "b", rules, nats_url=url):
                (other,) = await one.instances(2) - {holder}
                params = again(result, answers_of(result), "elicit", text="x")
                assert error(await one.ask(params, other))["code"] == -31002
            assert text(await one.ask(params, holder)) == "x: me on x"


async def test_a_token_that_no_header_may_hold_is_not_passed_on(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, _), plain(own.natsd.url) as nats:
        one = Raw(nats)
        result, holder = await one.park("elicit", text="x")
        (other,) = await one.instances(2) - {holder}
        params = again(result, answers_of(result), "elicit", text="x")
        for edge in ("e\u00e9", "e" * 120):
            refused = error(await Raw(nats, edge=edge).ask(params, other))
            assert refused["code"] == -32600
            assert "Mcp-Call" in refused["message"]


async def test_a_state_that_is_no_text_is_refused(tmp_path: Path) -> None:
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", asks(), nats_url=url), plain(url) as nats:
            one = Raw(nats)
            result, holder = await one.park("elicit", text="x")
            params = again(result, {}, "elicit", text="x")
            for state in (f"mcpnatsd.1.{holder}.e30.\ud800", f"mcpnatsd.1.{holder}.e30.\u00e9", 7):
                refused = error(await one.ask({**params, "requestState": state}))
                assert refused["code"] in (-32602, -32600, -32700)
            assert text(await one.ask(again(result, answers_of(result), "elicit", text="x")))


async def test_a_large_retry_is_forwarded_with_progress_and_counted_once(tmp_path: Path) -> None:
    large = "x" * 2_000_000
    async with two(tmp_path) as (own, daemons), plain(own.natsd.url) as nats:
        one = Raw(nats)
        meta = {**ASKING, "progressToken": "t"}
        given = {"name": "progress", "arguments": {"steps": 0, "ask": True}, "_meta": meta}
        first = await one.ask(given)
        result, holder = json.loads(first.data)["result"], (first.headers or {})["Mcp-Instance"]
        (other,) = await one.instances(2) - {holder}
        wanted = answers_of(result)
        answers = {key: {"action": "accept", "content": {"answer": large}} for key in wanted}
        params = {**again(result, answers, "progress"), **given}
        body = request(1, params)
        frames = await upload(nats, one.next_call(), other, "tools.call.progress", body)

        kinds = [(frame.headers or {}).get("Mcp-Frame") for frame in frames]
        assert kinds == ["upload", "note", None]
        assert json.loads(frames[1].data)["params"]["progressToken"] == "t"
        assert "result" in json.loads(frames[-1].data)
        calls = sum([(await status_of(each.folder, "asks"))["calls"] for each in daemons.values()])
        assert calls == 2  # the call, and its retry


async def upload(nats: Client, call: str, instance: str, tail: str, body: bytes) -> list[Any]:
    """Send a request in parts to one instance; return its frames."""
    inbox = nats.new_inbox()
    sub = await nats.subscribe(inbox)
    piece = 128 * 1024
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    base = {"Mcp-Wire": "1", "Mcp-Call": call}
    token = "3" * 32
    subject = f"mcp.ses.asks.{instance}.{token}.{tail}"
    more = {"Mcp-Upload": f"{len(body)}, {len(pieces)}", "Mcp-Tunnel": token}
    await nats.publish(subject, b"", reply=inbox, headers={**base, **more})
    frames = [await sub.next_msg(LATE)]
    assert (frames[0].headers or {})["Mcp-Frame"] == "upload"
    for number, one in enumerate(pieces, 1):
        part = {"Mcp-Part": f"{number}/{len(pieces)}"}
        if number < len(pieces):
            part["Mcp-Frame"] = "part"
        await nats.publish(subject, one, reply=inbox, headers={**base, **part})
    while "Mcp-Frame" in (frames[-1].headers or {}):
        frames.append(await sub.next_msg(LATE))
    return frames


async def test_a_forwarded_call_is_found_again_after_a_restart_of_the_broker(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (own, daemons):
        async with plain(own.natsd.url) as nats:
            one = Raw(nats)
            result, holder = await one.park("elicit_then_sleep", text="x")
            (other,) = await one.instances(2) - {holder}
            call = one.next_call()
            params = again(result, answers_of(result), "elicit_then_sleep", text="x")
            await send(nats, call, other, params)
            folder = await holding(daemons)
            await status_of(folder, "asks", parked=0, in_flight=1)
        own.natsd.restart()
        async with plain(own.natsd.url) as nats:
            inbox = nats.new_inbox()
            sub = await nats.subscribe(inbox)
            headers = {"Mcp-Frame": "ask", "Mcp-Call": call}
            body = json.dumps({"call": call}).encode()
            async with asyncio.timeout(LATE):
                while True:
                    await nats.publish("mcp.cxl.asks", body, reply=inbox, headers=headers)
                    try:
                        frame = await sub.next_msg(1)
                    except TimeoutError:
                        continue
                    if (frame.headers or {}).get("Mcp-Frame") == "running":
                        break
            assert (frame.headers or {})["Mcp-Instance"] == other
            cancel = {"Mcp-Frame": "cancel", "Mcp-Call": call}
            await nats.publish("mcp.cxl.asks", body, headers=cancel)
            await status_of(folder, "asks", LATE, in_flight=0)


async def test_a_daemon_that_stops_says_so_to_whom_it_forwarded(tmp_path: Path) -> None:
    async with two(tmp_path) as (own, daemons), plain(own.natsd.url) as nats:
        one = Raw(nats)
        result, holder = await one.park("elicit_then_sleep", text="x")
        (other,) = await one.instances(2) - {holder}
        params = again(result, answers_of(result), "elicit_then_sleep", text="x")
        sub = await nats.subscribe(inbox := nats.new_inbox())
        await send(nats, one.next_call(), other, params, inbox)
        folder = await holding(daemons)
        await status_of(folder, "asks", parked=0, in_flight=1)
        (forwarding,) = [each for each in daemons.values() if each.folder != folder]
        forwarding.process.terminate()
        await forwarding.said("draining", bound=LATE)
        forwarding.process.terminate()  # it does not wait any longer

        lost = error(await sub.next_msg(LATE))
        assert (lost["code"], lost["data"]["outcome"]) == (-31005, "unknown")
        await status_of(folder, "asks", in_flight=0)


async def test_a_modern_server_keeps_its_own_state_even_if_it_looks_like_ours(
    tmp_path: Path,
) -> None:
    servers = {"modern": server("asks_modern")}
    async with daemon(tmp_path, servers), client(tmp_path, "modern") as one:
        assert text_of(await one.call("echo", text="on")) == "on"  # so the era is known
        state = "mcpnatsd.1.0123456789abcdef.e30.x"
        given = {"name": "p", "inputResponses": {"who": {}}, "requestState": state}
        assert "result" in await one.answer(one.modern("prompts/get", **given))


async def test_users_never_share_a_process_whatever_they_call_themselves(tmp_path: Path) -> None:
    servers = {"thin": {"command": server("thin"), "isolation": "session"}}
    async with bus(tmp_path) as own:
        nats_section = {"url": own.natsd.url, "prefix": "mcp.{user}"}
        async with daemon(tmp_path, servers, nats=nats_section), plain(own.natsd.url) as nats:
            pids = []
            for number, user in enumerate(("ann", "bob", "ann")):
                subject = f"mcp.{user}.req.thin.tools.call.pid"
                headers = {"Mcp-Wire": "1", "Mcp-Call": f"{'e' * 32}.{number}"}
                body = request(1, {"name": "pid", "arguments": {}})
                frame = await nats.request(subject, body, timeout=LATE, headers=headers)
                pids.append(text(frame))
    assert pids[0] == pids[2] != pids[1]


async def test_an_instance_that_left_requests_to_others_comes_back_when_it_is_alone(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    script = f'test -e {broken} && exit 3; exec "$@"'
    fragile = {
        "asks": {"command": ["sh", "-c", script, "sh", *server("asks_legacy")], "era": "legacy"}
    }
    async with bus(tmp_path) as own:
        url = own.natsd.url
        async with daemon(tmp_path / "a", fragile, nats_url=url) as a, plain(url) as nats:
            one = Raw(nats)
            (first,) = await one.instances(1)
            async with daemon(tmp_path / "b", asks(era="legacy"), nats_url=url):
                await one.instances(2)
                params = {"name": "echo", "arguments": {"text": "on"}}
                for _ in range(3):
                    assert error(await one.ask(params, first))["code"] == -31004
                await a.said("left to other instances", bound=LATE)
                async with asyncio.timeout(LATE):  # until NATS knows as well
                    while "error" in json.loads((await one.ask(params)).data):
                        pass
            broken.unlink()
            async with asyncio.timeout(LATE):
                while True:
                    with suppress(NoRespondersError):
                        if "result" in json.loads((await one.ask(params)).data):
                            break
