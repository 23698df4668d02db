"""The HTTP client: what it shows of a URL, who gets our headers, and which proxy it uses."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mcpnatsd.backends.http_client import HttpClient, Unreachable
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import RemoteProtocolError

URL = "https://far.example/mcp?key=hush#part"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(ServerConfig(name="far", url=URL))
    yield client
    await client.close()


async def test_a_log_shows_no_query(client: HttpClient) -> None:
    assert client.where == "https://far.example/mcp"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/messages?session=1", "https://far.example/messages?session=1"),
        ("messages", "https://far.example/messages"),
        ("?session=1", "https://far.example/mcp?session=1"),
        ("https://far.example:443/m", "https://far.example:443/m"),
        ("https://FAR.example/m", "https://FAR.example/m"),
    ],
)
async def test_a_reference_is_resolved(client: HttpClient, reference: str, url: str) -> None:
    assert client.within(reference) == url


@pytest.mark.parametrize(
    "reference",
    [
        "http://far.example/m",
        "//elsewhere.example/m",
        "https://far.example:8443/m",
        "https://far.example.elsewhere.example/m",
        "https://far.example@elsewhere.example/m",
        "file:///etc/passwd",
    ],
)
async def test_headers_go_to_no_other_origin(client: HttpClient, reference: str) -> None:
    with pytest.raises(RemoteProtocolError, match="another origin"):
        client.within(reference)


@pytest.mark.parametrize(
    ("url", "variables", "proxied"),
    [
        ("http://far.example/", {}, False),
        ("http://far.example/", {"http_proxy": "http://u:p@proxy:3128"}, True),
        ("https://far.example/", {"HTTPS_PROXY": "proxy:3128"}, True),
        ("https://far.example/", {"http_proxy": "http://proxy:3128"}, False),
        ("https://far.example/", {"ALL_PROXY": "http://proxy:3128"}, True),
        ("http://far.example/", {"http_proxy": "http://proxy", "no_proxy": ".example"}, False),
        ("http://127.0.0.1:8000/", {"http_proxy": "http://proxy:3128"}, False),
        ("http://127.8.8.8:8000/", {"http_proxy": "http://proxy:3128"}, False),
        ("http://[::1]:8000/", {"http_proxy": "http://proxy:3128"}, False),
        ("http://localhost:8000/", {"http_proxy": "http://proxy:3128"}, False),
        ("http://localhost.example/", {"http_proxy": "http://proxy:3128"}, True),
    ],
)
async def test_a_proxy_is_used_where_the_environment_names_one_but_never_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], *, proxied: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = HttpClient(ServerConfig(name="far", url=url))

    assert client.is_proxied is proxied
    await client.close()


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_a_name_that_no_host_can_have_is_told(host: str) -> None:
    client = HttpClient(ServerConfig(name="far", url=f"http://{host}/mcp"))
    try:
        with pytest.raises(Unreachable, match="its name is none that a host can have"):
            await client.check()
        with pytest.raises(Unreachable, match="its name is none that a host can have"):
            async with client.post(b"{}", []):
                pass
    finally:
        await client.close()
