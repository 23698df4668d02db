"""Under which name a gateway's callers are on the bus: theirs, and the same tomorrow."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.parking import again, answers_of, asks
from tests.gateways import Gateway, free_port
from tests.natsd import NatsServer
from tests.running import Running, daemon, server, text_of

End = Callable[[Running], Awaitable[None]]
SECRET = "a-secret-of-several-gateways"
OTHER = "another-secret-of-gateways"


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text("alice alice-token\nbob bob-token\n")
    return str(path)


@asynccontextmanager
async def gateway(
    folder: Path, natsd: NatsServer, port: int = 0, **endpoint: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway alone; one that is run again in its folder has its state."""
    port = port or free_port()
    endpoints = [{"http": f"127.0.0.1:{port}", **endpoint}]
    async with daemon(folder, {}, nats_url=natsd.url, endpoints=endpoints) as running:
        await running.said("endpoint open")
        async with Gateway(running, port) as found:
            yield found


async def killed(running: Running) -> None:
    running.process.send_signal(signal.SIGKILL)
    assert await running.ended() == -signal.SIGKILL


async def stopped(running: Running) -> None:
    assert await running.stop() == 0


def bearer(name: str) -> dict[str, str | None]:
    return {"authorization": f"Bearer {name}-token"} if name else {}


async def park(web: Gateway, name: str, **how: Any) -> dict[str, Any]:
    """Call a tool that asks its client; return the result that says so."""
    params = again({"requestState": None}, None, "elicit", text="x")
    asked = {key: params[key] for key in ("name", "arguments", "_meta")}
    response = await web.modern("asks", "tools/call", headers=bearer(name), **asked, **how)
    result: dict[str, Any] = response.json()["result"]
    assert result["resultType"] == "input_required", result
    return result


async def retry(web: Gateway, name: str, result: dict[str, Any]) -> dict[str, Any]:
    params = again(result, answers_of(result), "elicit", text="x")
    response = await web.modern("asks", "tools/call", headers=bearer(name), **params)
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


def refused(answer: dict[str, Any]) -> str:
    assert answer["error"]["code"] == -32602, answer
    return str(answer["error"]["message"])


# What a parked call's state is worth.


async def test_a_parked_call_is_not_anothers_at_the_same_gateway(
    tmp_path: Path, natsd: NatsServer, tokens: str
) -> None:
    async with (
        daemon(tmp_path / "host", asks(), nats_url=natsd.url),
        gateway(tmp_path / "web", natsd, tokens=tokens) as web,
    ):
        parked = await park(web, "alice")

        assert "another client's" in refused(await retry(web, "bob", parked))
        assert text_of(await retry(web, "alice", parked)) == "x: me on x"


@pytest.mark.parametrize(("name", "end"), [("alice", killed), ("alice", stopped), ("", killed)])
async def test_a_parked_call_outlives_the_gateway_it_came_through(
    tmp_path: Path, natsd: NatsServer, tokens: str, name: str, end: End
) -> None:
    port = free_port()
    who = {"tokens": tokens} if name else {}
    async with daemon(tmp_path / "host", asks(), nats_url=natsd.url):
        async with gateway(tmp_path / "web", natsd, port, **who) as web:
            parked = await park(web, name)
            await end(web.daemon)
        async with gateway(tmp_path / "web", natsd, port, **who) as web:
            assert text_of(await retry(web, name, parked)) == "x: me on x"

    key = tmp_path / "web" / "state" / "http.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)


async def test_a_parked_call_is_answered_through_any_gateway_with_the_same_secret(
    tmp_path: Path, natsd: NatsServer, tokens: str
) -> None:
    async with (
        daemon(tmp_path / "host", asks(), nats_url=natsd.url),
        gateway(tmp_path / "a", natsd, tokens=tokens, secret=SECRET) as one,
        gateway(tmp_path / "b", natsd, tokens=tokens, secret=SECRET) as same,
        gateway(tmp_path / "c", natsd, tokens=tokens, secret=OTHER) as other,
        gateway(tmp_path / "d", natsd, tokens=tokens) as own,
    ):
        parked = await park(one, "alice")

        assert "another client's" in refused(await retry(other, "alice", parked))
        assert "another client's" in refused(await retry(own, "alice", parked))
        assert "another client's" in refused(await retry(same, "bob", parked))
        assert text_of(await retry(same, "alice", parked)) == "x: me on x"
        assert not any(SECRET in line for line in one.daemon.log)


async def test_gateways_with_one_secret_do_not_mistake_each_others_calls(
    tmp_path: Path, natsd: NatsServer, tokens: str
) -> None:
    """Whoever runs a call knows it by its token: two of the same would be one call sent twice."""
    async with (
        daemon(tmp_path / "host", {"thin": server("thin")}, nats_url=natsd.url),
        gateway(tmp_path / "a", natsd, tokens=tokens, secret=SECRET) as one,
        gateway(tmp_path / "b", natsd, tokens=tokens, secret=SECRET) as same,
    ):
        calls = [
            web.modern(
                "thin", "tools/call", headers=bearer("alice"), name="sleep",
                arguments={"seconds": 0.5},
            )
            for web in (one, same)
        ]  # fmt: skip
        answers = await asyncio.gather(*calls)

    assert [text_of(one.json()) for one in answers] == ["slept", "slept"]


async def test_what_cannot_be_kept_costs_no_request(
    tmp_path: Path, natsd: NatsServer, tokens: str
) -> None:
    (tmp_path / "web" / "state" / "http.key").mkdir(parents=True)
    async with (
        daemon(tmp_path / "host", {"thin": server("thin")}, nats_url=natsd.url),
        gateway(tmp_path / "web", natsd, tokens=tokens) as web,
    ):
        said = await web.daemon.said("new names with each start")
        listed = await web.modern("thin", "tools/list", headers=bearer("alice"))

    assert "http.key" in said
    assert listed.status_code == 200
