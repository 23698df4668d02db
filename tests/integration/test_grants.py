"""The nats-server configurations of WIRE.md, on a real one: who may what, and that it works."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.connections import plain
from tests.e2e.parking import Raw, again, answers_of
from tests.gateways import Gateway, free_port
from tests.natsd import NatsServer
from tests.running import Shim, daemon, server, shim, text_of, verb

WIRE = Path(__file__).parents[2] / "mcpnatsd" / "protocol" / "WIRE.md"
HOST = {"user": "host", "password": "host-secret", "inbox_prefix": "_INBOX_host"}
ALICE = ("--user", "alice", "--password", "alice-secret", "--inbox-prefix", "_INBOX_alice")


def example(name: str) -> str:
    """Return a configuration of the page, with a tool that the test's server has."""
    found = re.search(
        rf"^```nats-{name}\n(.*?)^```", WIRE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found
    return found[1].replace("get_issue", "echo")


@asynccontextmanager
async def client_of(folder: Path, name: str, era: str) -> AsyncIterator[Shim]:
    """Run alice's shim, and the host's daemon, under a configuration of the page."""
    folder.mkdir(exist_ok=True)
    with NatsServer(folder / "nats", example(name)) as nats:
        own = {"url": nats.url, **HOST}
        async with (
            daemon(folder / "host", {"github": server("thin", era)}, nats=own),
            await shim(folder, "github", "--nats", nats.url, *ALICE) as client,
        ):
            if era == "legacy":
                await client.initialize()
            yield client


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("name", ["permissions", "accounts"])
async def test_what_is_granted_works(tmp_path: Path, name: str, era: str) -> None:
    large = "x" * 3_000_000
    async with client_of(tmp_path, name, era) as client:
        assert text_of(await client.call("echo", era=era, text="small")) == "small"
        assert text_of(await client.call("echo", era=era, bound=60, text=large)) == large


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_what_is_not_granted_is_forbidden_and_costs_nothing_else(
    tmp_path: Path, era: str
) -> None:
    async with client_of(tmp_path, "permissions", era) as client:
        assert (await client.call("pid", era=era))["error"]["code"] == -31002
        assert text_of(await client.call("echo", era=era, text="on")) == "on"
        assert not any("anew" in line for line in client.log)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_gateways_callers_may_do_what_is_granted_to_their_names(
    tmp_path: Path, era: str
) -> None:
    tokens, port = tmp_path / "tokens", free_port()
    tokens.write_text("alice alice-token\nbob bob-token\n")
    endpoint = {"http": f"127.0.0.1:{port}", "tokens": str(tokens)}
    with NatsServer(tmp_path / "nats", example("gateway")) as nats:
        own = {"url": nats.url, "prefix": "mcp.{user}"}
        web = {"user": "gateway", "password": "gateway-secret", "inbox_prefix": "_INBOX_gateway"}
        github = {"github": server("thin", era)}
        async with (
            daemon(tmp_path / "host", github, nats={**own, **HOST}),
            daemon(tmp_path / "web", {}, nats={**own, **web}, endpoints=[endpoint]) as running,
        ):
            await running.said("endpoint open")
            for name, status in (("bob", -31002), ("alice", None)):
                bearer = {"authorization": f"Bearer {name}-token"}
                async with Gateway(running, port, headers=bearer) as client:
                    caller = client if era == "modern" else await client.session("github")
                    at = ("github",) if era == "modern" else ()
                    called = (await caller.call(*at, "pid")).json()
                    assert text_of((await caller.call(*at, "echo", text="on")).json()) == "on"
                    assert called.get("error", {}).get("code") == status
        async with (
            daemon(tmp_path / "host", github, nats={**own, **HOST}),
            await shim(
                tmp_path, "github", "--nats", nats.url, "--prefix", "mcp.{user}", *ALICE
            ) as native,
        ):
            if era == "legacy":
                await native.initialize()
            assert text_of(await native.call("echo", era=era, text="on")) == "on"


async def test_a_granted_user_finds_the_server(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", example("permissions")) as nats:
        own = {"url": nats.url, **HOST}
        async with daemon(tmp_path / "host", {"github": server("thin")}, nats=own):
            listed = await verb(tmp_path, "list", "--nats", nats.url, *ALICE)
            shown = await verb(tmp_path, "info", "github", "--nats", nats.url, *ALICE)

    assert (listed.code, shown.code) == (0, 0), (listed, shown)
    assert "github" in listed.out
    assert "echo" in shown.out


async def test_hosts_may_forward_what_another_of_them_holds(tmp_path: Path) -> None:
    as_alice = {"user": "alice", "password": "alice-secret", "inbox_prefix": b"_INBOX_alice"}
    servers = {"github": server("asks_legacy")}
    text = example("permissions").replace("tools.call.echo", "tools.call.elicit")
    text = text.replace('"$SRV.INFO", ', '"$SRV.INFO", "$SRV.PING.mcp-github", ')
    with NatsServer(tmp_path / "nats", text) as nats:
        own = {"url": nats.url, **HOST}
        async with (
            daemon(tmp_path / "a", servers, nats=own),
            daemon(tmp_path / "b", servers, nats=own),
            plain(nats.url, **as_alice) as client,
        ):
            alice = Raw(client, "github")
            result, holder = await alice.park("elicit", text="x")
            (other,) = await alice.instances(2) - {holder}
            retried = again(result, answers_of(result), "elicit", text="x")

            answer = json.loads((await alice.ask(retried, other)).data)
            assert text_of(answer) == "x: me on x"
