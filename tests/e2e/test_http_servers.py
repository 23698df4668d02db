"""Servers that listen at a URL, on the bus like any other: eras, transports, faults."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.connections import plain
from tests.e2e.clients import BOTH_ERAS, ask, cancel, client, refusal, status_of
from tests.gateways import free_port
from tests.http_servers import SDK1, HttpRequest, everything, peer, scripted
from tests.running import Shim, daemon, shim, text_of, verb

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "serverInfo": {"name": "far", "version": "1"},
}
LATE = 40.0
"""Bound of what waits for an SDK to start."""


def at(url: str, **config: Any) -> dict[str, Any]:
    return {"far": {"url": url, **config}}


async def exercise(one: Shim, era: str) -> None:
    """Use everything that a client sees of the peers' server."""
    assert text_of(await one.call("echo", era=era, text="hé\n")) == "hé\n"
    big = await one.call("big", era=era, bytes=3_000_000)
    assert len(text_of(big)) == 3_000_000
    assert (await one.call("fail", era=era))["result"]["isError"]
    send = one.modern if era == "modern" else one.legacy
    id = send("tools/call", name="progress", arguments={"steps": 3}, _meta={"progressToken": "t"})
    assert text_of(await one.answer(id)) == "done"
    reports = [note["params"] for note in one.notes if note["method"] == "notifications/progress"]
    assert [report["progress"] for report in reports] == [1, 2, 3]
    assert {report["progressToken"] for report in reports} == {"t"}
    read = await one.answer(send("resources/read", uri="test://hello"))
    assert read["result"]["contents"][0]["text"] == "hello"


async def cancels(one: Shim, era: str) -> None:
    """Cancel a call, and have the server say that it noticed."""
    id = ask(one, era, "slow", seconds=600)
    await one.call("echo", era=era, text="between")
    one.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
    count = "0"
    while count == "0":
        count = text_of(await one.call("cancelled", era=era))
    assert count == "1"


@BOTH_ERAS
async def test_a_server_of_both_eras_is_on_the_bus(tmp_path: Path, era: str) -> None:
    async with (
        peer() as (url, _),
        daemon(tmp_path, at(url)),
        client(tmp_path, "far", era) as one,
    ):
        await exercise(one, era)
        await cancels(one, era)


@pytest.mark.parametrize("kind", ["http", "json", "stateless", "sse"])
async def test_a_legacy_server_is_on_the_bus(tmp_path: Path, kind: str) -> None:
    async with (
        peer(kind, python=SDK1) as (url, _),
        daemon(tmp_path, at(url)),
        client(tmp_path, "far", "legacy") as one,
    ):
        assert text_of(await one.call("echo", era="legacy", text="a")) == "a"
        if kind in ("http", "sse"):
            await exercise(one, "legacy")
            await cancels(one, "legacy")


@pytest.mark.parametrize("kind", ["streamableHttp", "sse"])
async def test_a_typescript_server_is_on_the_bus(tmp_path: Path, kind: str) -> None:
    async with (
        everything(kind) as url,
        daemon(tmp_path, at(url)),
        client(tmp_path, "far", "legacy") as one,
    ):
        called = await one.call("echo", era="legacy", message="a")
        assert text_of(called) == "Echo: a"


async def test_each_legacy_client_has_a_session_of_its_own(tmp_path: Path) -> None:
    async with (
        peer(python=SDK1) as (url, _),
        daemon(tmp_path, at(url)),
        client(tmp_path, "far", "legacy") as one,
        client(tmp_path, "far", "legacy") as other,
    ):
        status = await status_of(tmp_path, "far", sessions=2)
        assert status["state"] == "running"
        assert [process["pid"] for process in status["processes"]] == [None, None]
        for each in (one, other):
            assert text_of(await each.call("echo", era="legacy", text="a")) == "a"


async def test_a_person_calls_a_tool_and_sees_the_server(tmp_path: Path) -> None:
    async with peer() as (url, _), daemon(tmp_path, at(url + "?key=hush")) as running:
        called = await verb(tmp_path, "call", "far", "echo", "text=hello")
        listed = await verb(tmp_path, "list")
        shown = await verb(tmp_path, "status")
        asked = await verb(tmp_path, "status", "--json")

    assert called.out.strip() == "hello"
    assert "far" in listed.out
    assert "running" in shown.out
    told = shown.out + asked.out + listed.out + "\n".join(running.log)
    assert "hush" not in told


async def test_headers_are_sent_and_shown_nowhere(tmp_path: Path) -> None:
    port = free_port()
    headers = {"Authorization": "Bearer ${env:FAR_TOKEN}"}
    async with (
        peer("token", port=port) as (url, _),
        daemon(
            tmp_path,
            at(url, headers=headers),
            variables={"FAR_TOKEN": "hush", "LOG_LEVEL": "debug"},
        ) as running,
        client(tmp_path, "far") as one,
    ):
        assert text_of(await one.call("echo", text="a")) == "a"
        shown = await verb(tmp_path, "status", "--json")

    assert "hush" not in "\n".join(running.log) + shown.out


async def test_a_wrong_token_is_told_to_the_client(tmp_path: Path) -> None:
    async with (
        peer("token") as (url, _),
        daemon(tmp_path, at(url, headers={"Authorization": "Bearer wrong"})),
        await shim(tmp_path, "far") as one,
    ):
        id = ask(one, "modern", "echo", text="a")

        await refusal(one, id, -31004, "HTTP 401", "headers: {Authorization")
        await status_of(tmp_path, "far", state="failing")


async def test_https_is_spoken_with_whom_this_machine_trusts(
    tmp_path: Path, certificate: Path
) -> None:
    async with (
        peer("http", tls=certificate) as (url, _),
        daemon(tmp_path / "b", at(url)),
        await shim(tmp_path / "b", "far") as stranger,
        daemon(tmp_path / "a", at(url), variables={"SSL_CERT_FILE": str(certificate / "cert.pem")}),
        client(tmp_path / "a", "far") as one,
    ):
        assert text_of(await one.call("echo", text="a")) == "a"
        id = ask(stranger, "modern", "echo", text="a")
        await refusal(stranger, id, -31004, "certificate is not trusted")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


# Who shares what.


async def test_clients_with_a_session_each_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with (
        peer() as (url, _),
        daemon(tmp_path, at(url, isolation="session")),
        client(tmp_path, "far") as one,
        client(tmp_path, "far") as other,
    ):
        ids = [ask(each, "modern", "slow", seconds=0.2) for each in (one, other)]
        for each, id in zip((one, other), ids, strict=True):
            assert text_of(await each.answer(id)) == "slept"
        assert len((await status_of(tmp_path, "far"))["processes"]) == 2


async def test_legacy_clients_may_share_one_session(tmp_path: Path) -> None:
    async with (
        peer(python=SDK1) as (url, _),
        daemon(tmp_path, at(url, isolation="shared")),
        client(tmp_path, "far", "legacy") as one,
        client(tmp_path, "far", "legacy") as other,
    ):
        for each in (one, other):
            assert text_of(await each.call("echo", era="legacy", text="a")) == "a"
        status = await status_of(tmp_path, "far", sessions=2)
        assert len(status["processes"]) == 1


async def test_an_old_script_calls_a_tool_of_a_legacy_server(tmp_path: Path, nats_url: str) -> None:
    async with (
        peer(python=SDK1) as (url, _),
        daemon(tmp_path, at(url), nats_url=nats_url),
        plain(nats_url) as bus,
    ):
        answer = await bus.request("mcp.req.far.tools.call.echo", b'{"text":"a"}', timeout=LATE)

        assert b'"a"' in answer.data


async def test_a_subscription_is_answered_and_ended(tmp_path: Path) -> None:
    async with peer() as (url, _), daemon(tmp_path, at(url)), client(tmp_path, "far") as one:
        await one.call("echo", text="a")
        wanted = {"toolsListChanged": True}
        id = one.modern("subscriptions/listen", id="mine", notifications=wanted)
        note = await one.read()
        assert note["method"] == "notifications/subscriptions/acknowledged"
        meta = note["params"]["_meta"]
        assert meta["io.modelcontextprotocol/subscriptionId"] == "mine"
        await status_of(tmp_path, "far", in_flight=1)
        cancel(one, id)
        await status_of(tmp_path, "far", in_flight=0)


# Away, and back.


@BOTH_ERAS
async def test_a_server_that_is_away_is_told_at_once(tmp_path: Path, era: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/mcp"
    async with daemon(tmp_path, at(url)), await shim(tmp_path, "far") as one:
        if era == "legacy":
            error = (await one.initialize())["error"]
        else:
            error = (await one.call("echo", text="a"))["error"]

        assert error["code"] == -31004
        assert f"cannot be reached at {url}: connection refused" in error["message"]
        status = await status_of(tmp_path, "far", state="failing")
        assert "cannot be reached" in status["error"]


async def test_a_server_that_comes_later_is_found_without_anybody_asking(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    async with daemon(tmp_path, at(url, start="eager")):
        await status_of(tmp_path, "far", state="failing")
        async with peer(port=port):
            status = await status_of(tmp_path, "far", bound=LATE, state="running")

            assert status["error"] is None


async def test_a_server_that_goes_away_and_comes_back_is_noticed(tmp_path: Path) -> None:
    port = free_port()
    async with daemon(tmp_path, at(f"http://127.0.0.1:{port}/mcp")):
        async with peer(port=port), client(tmp_path, "far") as one:
            assert text_of(await one.call("echo", text="a")) == "a"
            await status_of(tmp_path, "far", state="running")
        await status_of(tmp_path, "far", bound=LATE, state="failing")
        async with peer(port=port):
            await status_of(tmp_path, "far", bound=LATE, state="running")
            async with client(tmp_path, "far") as one:
                assert text_of(await one.call("echo", text="b")) == "b"


@BOTH_ERAS
async def test_a_kill_in_the_midst_of_calls_is_told_to_each(tmp_path: Path, era: str) -> None:
    port = free_port()
    async with (
        daemon(tmp_path, at(f"http://127.0.0.1:{port}/mcp")),
        peer(port=port) as (_, process),
        client(tmp_path, "far", era) as one,
    ):
        asked = [ask(one, era, "slow", seconds=600) for _ in range(3)]
        await status_of(tmp_path, "far", in_flight=3)
        process.kill()
        for id in asked:
            await refusal(one, id, -31004)
        await process.wait()
        async with peer(port=port):
            await until_answered(one, era)


async def until_answered(one: Shim, era: str) -> None:
    """Call until the server is back: each refusal says that it is away."""
    while True:
        response = await one.call("echo", era=era, text="back", bound=LATE)
        if "result" in response:
            assert text_of(response) == "back"
            return
        assert response["error"]["code"] in (-31004, -31008)


async def test_a_session_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    port = free_port()
    async with daemon(tmp_path, at(f"http://127.0.0.1:{port}/mcp")):
        async with peer(python=SDK1, port=port):
            one = await shim(tmp_path, "far")
            assert "result" in await one.initialize()
            assert text_of(await one.call("echo", era="legacy", text="a")) == "a"
        async with one, peer(python=SDK1, port=port):
            await until_answered(one, "legacy")


async def test_a_server_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    limits = {"call_timeout": "1s"}
    async with (
        peer() as (url, process),
        daemon(tmp_path, at(url, limits=limits)),
        client(tmp_path, "far") as one,
    ):
        assert text_of(await one.call("echo", text="a")) == "a"
        os.kill(process.pid, signal.SIGSTOP)
        id = ask(one, "modern", "echo", text="b")
        await refusal(one, id, -31008, "did not answer within 1 s")
        os.kill(process.pid, signal.SIGCONT)
        await until_answered(one, "modern")


async def test_a_drain_waits_for_a_call_at_a_url(tmp_path: Path) -> None:
    async with peer() as (url, _), daemon(tmp_path, at(url)) as running:
        async with client(tmp_path, "far") as one:
            await one.call("echo", text="a")
            id = ask(one, "modern", "slow", seconds=2)
            await status_of(tmp_path, "far", in_flight=1)
            running.process.terminate()

            assert text_of(await one.answer(id)) == "slept"
        assert await running.ended() == 0


@BOTH_ERAS
async def test_a_server_that_takes_requests_and_says_nothing_is_shown_as_failing(
    tmp_path: Path, era: str
) -> None:
    deaf = True

    async def answer(request: HttpRequest) -> None:
        if deaf:
            await request.gone()
        elif era == "modern":
            await answer_modern(request)
        else:
            await answer_legacy(request)

    async with (
        scripted(answer) as far,
        daemon(tmp_path, at(far.url, limits={"start_timeout": "1s"})),
    ):
        async with await shim(tmp_path, "far") as one:
            asked = one.call("echo", text="a") if era == "modern" else one.initialize()
            error = (await asked)["error"]
            assert error["code"] in (-31004, -31008)
            assert "1 s" in error["message"]
        status = await status_of(tmp_path, "far", state="failing")
        assert "1 s" in status["error"]

        deaf = False
        async with client(tmp_path, "far", era) as one:
            await until_answered(one, era)
            status = await status_of(tmp_path, "far", state="running")
            assert status["error"] is None


async def answer_modern(request: HttpRequest) -> None:
    """Answer as the smallest modern server would."""
    if request.message["method"] == "server/discover":
        versions = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        request.answer(200, request.result({"resultType": "complete", **versions}))
    else:
        request.answer(200, request.result(echoed(request)))


async def answer_legacy(request: HttpRequest) -> None:
    """Answer as the smallest legacy server would, without sessions."""
    if request.method != "POST":
        request.answer(405)
    elif request.message["method"] == "initialize":
        request.answer(200, request.result(HELLO))
    elif request.message["method"] == "tools/call":
        request.answer(200, request.result(echoed(request)))
    elif "id" in request.message:
        error = {"code": -32601, "message": "there is no such method"}
        request.answer(200, {"jsonrpc": "2.0", "id": request.message["id"], "error": error})
    else:
        request.answer(202)


def echoed(request: HttpRequest) -> dict[str, Any]:
    text = request.message["params"].get("arguments", {}).get("text", "")
    return {"resultType": "complete", "content": [{"type": "text", "text": text}]}


async def test_a_session_that_the_server_forgot_is_opened_anew(tmp_path: Path) -> None:
    known: list[str] = []

    async def answer(request: HttpRequest) -> None:
        session = request.headers.get("mcp-session-id")
        if session is not None and session not in known:
            request.answer(404)
        elif request.body and request.message.get("method") == "initialize":
            known.append(f"session-{len(far.requests)}")
            request.answer(200, request.result(HELLO), mcp_session_id=known[-1])
        else:
            await answer_legacy(request)

    async with (
        scripted(answer) as far,
        daemon(tmp_path, at(far.url)),
        client(tmp_path, "far", "legacy") as one,
    ):
        assert text_of(await one.call("echo", era="legacy", text="a")) == "a"
        known.clear()
        await until_answered(one, "legacy")

        assert len(far.sent("initialize")) >= 2
        status = await status_of(tmp_path, "far", state="running")
        assert status["error"] is None


async def test_a_session_at_a_server_that_hangs_goes_on_when_that_does(tmp_path: Path) -> None:
    limits = {"call_timeout": "1s"}
    async with (
        peer(python=SDK1) as (url, process),
        daemon(tmp_path, at(url, limits=limits)),
        client(tmp_path, "far", "legacy") as one,
    ):
        assert text_of(await one.call("echo", era="legacy", text="a")) == "a"
        os.kill(process.pid, signal.SIGSTOP)
        id = ask(one, "legacy", "echo", text="b")
        await refusal(one, id, -31008, "did not answer within 1 s")
        os.kill(process.pid, signal.SIGCONT)

        await until_answered(one, "legacy")


async def test_a_legacy_server_that_is_away_is_shown_to_be(tmp_path: Path) -> None:
    port = free_port()
    async with daemon(tmp_path, at(f"http://127.0.0.1:{port}/mcp")):
        async with peer(python=SDK1, port=port):
            one = await shim(tmp_path, "far")
            assert "result" in await one.initialize()
            await status_of(tmp_path, "far", state="running")
        async with one:
            status = await status_of(tmp_path, "far", bound=LATE, state="failing")
            assert "cannot be reached" in status["error"]
            async with peer(python=SDK1, port=port):
                await until_answered(one, "legacy")
                status = await status_of(tmp_path, "far", bound=LATE, state="running")
                assert status["error"] is None
