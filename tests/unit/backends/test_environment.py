"""What of the daemon's environment a server sees."""

import pytest

from mcpnatsd.backends.environment import server_environment


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "PATH",
        "LC_ALL",
        "https_proxy",
        "HTTPS_PROXY",
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
        "NPM_CONFIG_REGISTRY",
        "npm_config_registry",
        "UV_CACHE_DIR",
    ],
)
def test_what_a_server_needs_passes(name: str) -> None:
    assert server_environment({name: "value"}, {}) == {name: "value"}


@pytest.mark.parametrize(
    "name",
    [
        "NATS_CREDS",
        "NATS_TOKEN",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "AWS_SECRET_ACCESS_KEY",
        "LD_PRELOAD",
    ],
)
def test_what_is_the_daemons_own_does_not(name: str) -> None:
    assert server_environment({name: "value"}, {}) == {}


def test_a_shell_function_does_not_pass() -> None:
    assert server_environment({"TERM": "() { :; }"}, {}) == {}


def test_what_is_configured_wins() -> None:
    environ = {"HOME": "/root", "PATH": "/bin"}

    assert server_environment(environ, {"HOME": "/srv", "NATS_CREDS": "on purpose"}) == {
        "HOME": "/srv",
        "PATH": "/bin",
        "NATS_CREDS": "on purpose",
    }
