"""From a tree that keeps the schema to values, and what no schema can say."""

import pytest

from mcpnatsd.config.build import MOST_SOCKET_BYTES, build, late_faults
from mcpnatsd.config.model import (
    Config,
    HttpEndpoint,
    HttpLimits,
    HttpTls,
    JwtConfig,
    MetricsConfig,
    Transport,
)


def endpoint(path: str) -> dict[str, str]:
    return {"unix": path, "server": "a"}


def test_an_empty_tree_is_the_default_configuration() -> None:
    assert build({}) == Config()


def test_a_right_tree_has_no_late_faults() -> None:
    tree = {
        "servers": {"a": {"command": ["x", ""]}},
        "endpoints": [endpoint("/a"), endpoint("/b")],
    }

    assert list(late_faults(tree)) == []


def test_a_program_needs_a_name() -> None:
    [(path, text)] = late_faults({"servers": {"a": {"command": ["", "x"]}}})

    assert path == ("servers", "a", "command", 0)
    assert text == "the program's name is empty"


def test_a_socket_serves_one_server() -> None:
    tree = {"endpoints": [endpoint("/a"), endpoint("/b"), endpoint("/a"), endpoint("/a")]}
    faults = list(late_faults(tree))

    assert [path for path, _ in faults] == [("endpoints", 2, "unix"), ("endpoints", 3, "unix")]
    assert all("endpoints[0] has this path already" in text for _, text in faults)


def test_a_socket_path_has_the_bytes_that_the_system_has_room_for() -> None:
    longest = "/" + "x" * (MOST_SOCKET_BYTES - 1)

    assert list(late_faults({"endpoints": [endpoint(longest)]})) == []
    [(_, text)] = late_faults({"endpoints": [endpoint(longest[:-1] + "é")]})
    assert "at most 107 bytes" in text


@pytest.mark.parametrize(
    "tree",
    [None, [], {"servers": None, "endpoints": None}, {"servers": [1], "endpoints": {"unix": "/a"}},
     {"servers": {"a": None, "b": {"command": "x"}}, "endpoints": [None, {"unix": 1}]}],
)  # fmt: skip
def test_a_tree_that_breaks_the_schema_is_left_to_the_schema(tree: object) -> None:
    assert list(late_faults(tree)) == []


@pytest.mark.parametrize(
    ("endpoint", "key", "text"),
    [
        ({}, (), '"unix" or "http" is missing'),
        ({"unix": "/a"}, (), '"server" is missing'),
        ({"http": "127.0.0.1:1", "server": "a"}, ("server",), "does not go with `http`"),
        ({"http": "127.0.0.1:1", "unix": "/a"}, ("unix",), "an endpoint of its own"),
        ({"unix": "/a", "server": "a", "tokens": "/t"}, ("tokens",), "does not go with `unix`"),
        ({"unix": "/a", "server": "a", "secret": "s"}, ("secret",), "does not go with `unix`"),
    ],
)
def test_an_endpoint_is_of_one_kind(
    endpoint: dict[str, str], key: tuple[str, ...], text: str
) -> None:
    [(path, said)] = late_faults({"endpoints": [endpoint]})

    assert path == ("endpoints", 0, *key)
    assert text in said


def test_an_http_endpoint_has_what_the_file_says() -> None:
    [found] = build(
        {
            "endpoints": [
                {
                    "http": "[::1]:80",
                    "servers": ["a*"],
                    "tls": {"cert": "/c", "key": "/k"},
                    "jwt": {"jwks": "https://j", "issuer": "https://i", "audience": "https://a"},
                    "secret": "never shown to anybody",
                    "limits": {"sessions": 3, "session_timeout": 5},
                }
            ]
        }
    ).endpoints

    assert found == HttpEndpoint(
        address="[::1]:80",
        servers=("a*",),
        tls=HttpTls(cert="/c", key="/k"),
        jwt=JwtConfig(jwks="https://j", issuer="https://i", audience="https://a"),
        secret="never shown to anybody",
        limits=HttpLimits(sessions=3, session_timeout=5.0),
    )
    assert "never shown" not in repr(found)


def test_a_server_at_a_url_has_what_the_file_says() -> None:
    tree = {"url": "http://h/mcp", "headers": {"A": "b"}, "transport": "sse"}
    found = build({"servers": {"a": tree}}).servers["a"]

    assert (found.command, found.url, found.transport) == ((), "http://h/mcp", Transport.SSE)
    assert dict(found.headers) == {"A": "b"}
    assert "h/mcp" not in repr(found)
    assert "headers" not in repr(found)


def test_a_metrics_listener_has_what_the_file_says() -> None:
    listener = {"listen": "0.0.0.0:8222", "drain_from": ["10.1.2.3/8", "::1"]}

    assert list(late_faults({"metrics": listener})) == []
    assert build({"metrics": listener}).metrics == MetricsConfig(
        listen="0.0.0.0:8222", drain_from=("10.1.2.3/8", "::1")
    )
    assert build({"metrics": None}).metrics is None


@pytest.mark.parametrize("network", ["10.0.0.0/33", "1.2.3", "::/129"])
def test_a_network_that_is_none_is_named(network: str) -> None:
    tree = {"metrics": {"listen": "127.0.0.1:0", "drain_from": ["127.0.0.1", network]}}
    [(path, text)] = late_faults(tree)

    assert path == ("metrics", "drain_from", 1)
    assert "is no network" in text
