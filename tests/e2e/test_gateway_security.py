"""Who may come in over HTTP, from where, and with which token."""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.gateways import BOTH, Gateway, free_port, gateway
from tests.issuer import AUDIENCE, ISSUER, Issuer
from tests.running import daemon, server, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("places")
    places = {"hosts": ["mcp.example.com"], "origins": ["https://app.example.com"]}
    async with gateway(folder, {"thin": server("thin")}, **places) as found:
        yield found


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("mcp.example.com", 200),
     ("MCP.example.com:443", 200), ("evil.example.com", 421), ("localhost.evil.com", 421),
     ("127.0.0.1.evil.com", 421), ("", 421)],
)  # fmt: skip
async def test_only_its_own_names_reach_it(web: Gateway, host: str, status: int) -> None:
    response = await web.modern("thin", "tools/list", headers={"host": host})

    assert response.status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("https://app.example.com", 200),
     ("http://app.example.com", 403), ("https://evil.example.com", 403), ("null", 403),
     ("http://localhost.evil.com", 403), ("https://app.example.com.evil.com", 403)],
)  # fmt: skip
async def test_only_pages_of_known_origins_may_come(web: Gateway, origin: str, status: int) -> None:
    response = await web.modern("thin", "tools/list", headers={"origin": origin})
    preflight = await web.http.options(
        "/mcp/thin", headers={"origin": origin, "access-control-request-method": "POST"}
    )

    assert response.status_code == status
    assert preflight.status_code == (204 if status == 200 else 403)
    allowed = response.headers.get("access-control-allow-origin")
    assert allowed == (origin if status == 200 else None)


async def test_a_page_is_shown_to_a_browser_and_says_nothing_it_should_not(web: Gateway) -> None:
    page = await web.http.get("/mcp/thin", headers={"accept": "text/html,*/*"})
    listing = await web.http.get("/", headers={"accept": "text/html"})
    missing = await web.http.get("/mcp/%3Cscript%3E", headers={"accept": "text/html"})

    assert page.status_code == 200
    assert "<dt>echo</dt>" in page.text
    assert f"{web.url}/mcp/thin" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert '<a href="/mcp/thin">' in listing.text
    assert missing.status_code == 404
    assert "<script>" not in missing.text


# Tokens of a file.


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("tokens")
    tokens = folder / "tokens"
    tokens.write_text("# who may come\nalice alice-secret\nbob bob-secret\n")
    servers = {"thin": server("thin"), "old": server("thin", "legacy")}
    async with gateway(folder, servers, tokens=str(tokens)) as found:
        yield found


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers", [{}, bearer("alice"), bearer("alice-secret2"),
                {"authorization": "Basic alice-secret"}],
)  # fmt: skip
async def test_nobody_comes_in_without_a_token(
    guarded: Gateway, headers: dict[str, str | None]
) -> None:
    response = await guarded.modern("thin", "tools/list", headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    for path in ("/", "/mcp/thin", "/sse/thin", "/nowhere"):
        assert (await guarded.http.get(path)).status_code == 401


async def test_a_token_lets_its_client_in(guarded: Gateway) -> None:
    response = await guarded.modern("thin", "tools/list", headers={**bearer("alice-secret")})

    assert response.status_code == 200


async def test_a_session_is_its_owners_alone(guarded: Gateway) -> None:
    opened = await guarded.initialize("old", **bearer("alice-secret"))
    named = {"accept": BOTH, "mcp-session-id": opened.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    async def status(token: str) -> int:
        headers = {**named, **bearer(token)}
        return (await guarded.http.post("/mcp/old", json=ping, headers=headers)).status_code

    assert [await status(f"{who}-secret") for who in ("bob", "alice")] == [404, 200]


async def test_tokens_are_read_again_when_their_file_changes(guarded: Gateway) -> None:
    tokens = guarded.daemon.folder / "tokens"

    async def status(token: str) -> int:
        response = await guarded.modern("thin", "tools/list", headers={**bearer(token)})
        return response.status_code

    assert await status("carol-secret") == 401
    tokens.write_text("carol carol-secret\nbob bob-secret\nalice alice-secret\n")
    assert await status("carol-secret") == 200
    for wrong in ("this is not a file of tokens\n", "carol one-secret\nbob one-secret\n"):
        tokens.write_text(wrong)
        assert await status("carol-secret") == 200
    await guarded.daemon.said("tokens not read")
    await guarded.daemon.said("tokens:2: this token is somebody else's already")
    assert not any("secret" in line for line in guarded.daemon.log)


# Signed tokens.


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def signed(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("signed")
    async with gateway(folder, {"thin": server("thin")}, jwt=issuer.trust) as found:
        yield found


async def signed_status(signed: Gateway, token: str) -> int:
    return (await signed.modern("thin", "tools/list", headers={**bearer(token)})).status_code


async def test_a_signed_token_lets_its_client_in(signed: Gateway, issuer: Issuer) -> None:
    assert await signed_status(signed, issuer.token()) == 200


async def test_a_token_that_is_not_for_us_is_refused(signed: Gateway, issuer: Issuer) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = [
        issuer.token(aud="https://other.example.com"),
        issuer.token(iss="https://evil.example.com"),
        issuer.token(exp=int(time.time()) - 60),
        issuer.token(sub=None),
        issuer.token(sub=""),
        issuer.token(sub=7),
        issuer.token(aud=None),
        issuer.token(key=stranger),
        issuer.token()[:-4] + "AAAA",
        jwt.encode({"sub": "alice"}, None, algorithm="none"),
        "x" * 20_000,
        "a.b.c",
    ]

    assert [await signed_status(signed, token) for token in wrong] == [401] * len(wrong)


async def test_tokens_of_unknown_keys_do_not_have_the_keys_fetched_each_time(
    signed: Gateway, issuer: Issuer
) -> None:
    assert await signed_status(signed, issuer.token()) == 200
    before = issuer.fetched
    for number in range(10):
        assert await signed_status(signed, issuer.token(kid=f"k{number}")) == 401

    assert issuer.fetched - before <= 1
    assert await signed_status(signed, issuer.token()) == 200


async def test_a_client_learns_where_its_token_comes_from(signed: Gateway) -> None:
    refused = await signed.modern("thin", "tools/list")
    place = "/.well-known/oauth-protected-resource"
    found = [(await signed.http.get(one)).json() for one in (place, f"{place}/mcp/thin")]

    assert f'resource_metadata="{AUDIENCE}{place}"' in refused.headers["www-authenticate"]
    for one in found:
        assert one["resource"] == AUDIENCE
        assert one["authorization_servers"] == [ISSUER]


# TLS, and addresses.


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


async def test_https_is_spoken_with_a_certificate(tmp_path: Path, certificate: Path) -> None:
    tls = {name: str(certificate / f"{name}.pem") for name in ("cert", "key")}
    context = ssl.create_default_context(cafile=tls["cert"])
    async with (
        gateway(tmp_path, {"thin": server("thin")}, tls=tls) as web,
        Gateway(web.daemon, web.port, "https", verify=context) as client,
    ):
        response = await client.call("thin", "echo", text="a")

    assert text_of(response.json()) == "a"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls": {"cert": "/nowhere/c.pem", "key": "/nowhere/k.pem"}}, "TLS of endpoint"),
        ({"tokens": "/nowhere/tokens"}, "/nowhere/tokens cannot be read"),
    ],
)
async def test_a_file_that_is_missing_is_named_and_stops_nobody_else(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}, **settings) as web:
        await web.daemon.said(said)


async def test_a_port_that_is_taken_is_named(tmp_path: Path, web: Gateway) -> None:
    endpoints = [{"http": f"127.0.0.1:{web.port}"}]
    async with daemon(tmp_path, {}, endpoints=endpoints) as running:
        await running.said("cannot be listened on")


async def test_a_listener_that_anybody_reaches_warns(tmp_path: Path) -> None:
    address = f"0.0.0.0:{free_port()}"
    async with daemon(tmp_path, {}, endpoints=[{"http": address}]) as running:
        assert address in await running.said("anybody who reaches this listener")


async def test_too_many_requests_at_once_are_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, {"thin": server("thin")}, limits={"requests": 2}) as web:
        slow = [asyncio.create_task(web.call("thin", "sleep", seconds=5)) for _ in range(2)]
        async with asyncio.timeout(BOUND):
            while await web.open_requests() < 2:
                await asyncio.sleep(0.05)
        found = await web.modern("thin", "tools/list")
        assert found.status_code == 503
        assert found.json()["error"]["code"] == -31007
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
