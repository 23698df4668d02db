"""Who may come in: what a client without a token is told, and files of tokens that are wrong."""

from pathlib import Path

import pytest

from mcpnatsd.config.model import HttpEndpoint, JwtConfig
from mcpnatsd.errors import HttpRefused
from mcpnatsd.frontends.gateway.gate import Gate, TokenFile, metadata_url
from mcpnatsd.frontends.gateway.http_request import HttpHead

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Nobody:
    """Knows no token."""

    async def principal(self, token: str) -> str | None:
        assert token
        return None


def trusting(audience: str) -> JwtConfig:
    return JwtConfig(jwks="https://a.example/keys", issuer="https://a.example", audience=audience)


async def challenge(gate: Gate, *headers: tuple[bytes, bytes]) -> str:
    http = HttpHead("GET", "/", b"", list(headers))
    http.read_headers()
    with pytest.raises(HttpRefused) as refused:
        await gate.principal(http)
    assert refused.value.status == 401
    return refused.value.headers["www-authenticate"]


TOKEN = (b"authorization", b"Bearer wrong")


async def test_a_client_learns_what_its_token_lacks_and_where_there_are_others() -> None:
    jwt = trusting("https://h.example/mcp")
    gate = Gate(HttpEndpoint(address="127.0.0.1:1", jwt=jwt), Nobody())
    place = f'resource_metadata="https://h.example{WELL_KNOWN}/mcp"'

    assert await challenge(gate) == f"Bearer {place}"
    assert await challenge(gate, TOKEN) == f'Bearer {place}, error="invalid_token"'


async def test_a_challenge_without_a_place_is_one_all_the_same(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alice alice-secret\n")
    gate = Gate(HttpEndpoint(address="127.0.0.1:1", tokens=str(tokens)), None)

    assert await challenge(gate) == "Bearer"
    assert await challenge(gate, TOKEN) == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        ("https://h.example", f"https://h.example{WELL_KNOWN}"),
        ("https://h.example/", f"https://h.example{WELL_KNOWN}"),
        ("https://h.example:8443/mcp", f"https://h.example:8443{WELL_KNOWN}/mcp"),
        ("https://h.example/a/b?c=d", f"https://h.example{WELL_KNOWN}/a/b?c=d"),
        ("urn:mcp", ""),
        ("mcp", ""),
        ("http://[", ""),
        ('https://h.example/"', ""),
    ],
)
def test_the_well_known_place_stands_between_host_and_path(resource: str, place: str) -> None:
    assert metadata_url(resource) == place


def faults(caplog: pytest.LogCaptureFixture) -> int:
    return caplog.text.count("tokens not read")


@pytest.mark.parametrize("wrong", [b"one two three\n", b"\xff\n", None])
def test_a_wrong_file_of_tokens_is_told_once_and_locks_nobody_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: bytes | None
) -> None:
    path = tmp_path / "tokens"
    path.write_text("alice alice-secret\n")
    tokens = TokenFile(path)
    for number in (1, 2):
        if wrong is None:
            path.unlink()
        else:
            path.write_bytes(wrong + b"#" * number)
        for _ in range(5):
            assert tokens.principal("alice-secret") == "alice"
        assert faults(caplog) == number

        path.write_text(f"alice alice-secret\nbob bob-secret{number}\n")
        assert tokens.principal(f"bob-secret{number}") == "bob"


def test_a_file_that_may_be_read_again_is_read_though_nothing_in_it_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "tokens", tmp_path / "other"
    path.write_text("alice alice-secret\n")
    tokens = TokenFile(path)
    other.write_text("bob bob-secret\n")
    path.unlink()
    path.mkdir()  # not even the superuser can read that
    for _ in range(3):
        assert tokens.principal("bob-secret") is None
    assert faults(caplog) == 1
    path.rmdir()
    other.rename(path)

    assert tokens.principal("bob-secret") == "bob"
    assert tokens.principal("alice-secret") is None
