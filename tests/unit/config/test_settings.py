"""Where a client verb finds NATS."""

import os
from pathlib import Path

import pytest

from mcpnatsd.config import runtime
from mcpnatsd.config.model import TlsConfig
from mcpnatsd.config.runtime import Running
from mcpnatsd.config.settings import resolve
from mcpnatsd.errors import UsageError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which no daemon runs."""
    return {runtime.OVERRIDE: str(tmp_path / "run")}


@pytest.fixture
def daemon(environ: dict[str, str]) -> Path:
    """Return the file of a daemon with an embedded NATS."""
    running = Running(
        name="blue",
        pid=os.getpid(),
        instance="K3J9",
        prefix="blue",
        url="nats://127.0.0.1:5222",
        urls=("nats://127.0.0.1:5222",),
        started="2026-11-21T04:54:21Z",
        token="s3cret",
    )
    return runtime.write(runtime.own_folder(environ), running)


def test_a_flag_comes_first(environ: dict[str, str], daemon: Path) -> None:
    environ["MCPNATSD_NATS_URL"] = "nats://variable"
    found = resolve({"nats": "nats://a, nats://b", "prefix": "flag"}, environ)

    assert daemon.exists()
    assert found.urls == ("nats://a", "nats://b")
    assert (found.prefix, found.token, found.where) == ("flag", None, "--nats")


def test_then_a_variable(environ: dict[str, str], daemon: Path, tmp_path: Path) -> None:
    creds, ca = tmp_path / "a.creds", tmp_path / "ca.pem"
    creds.touch()
    ca.touch()
    environ |= {
        "MCPNATSD_NATS_URL": "tls://a",
        "MCPNATSD_CREDS": str(creds),
        "MCPNATSD_TLS_CA": str(ca),
        "MCPNATSD_INBOX_PREFIX": "_INBOX_a",
    }
    found = resolve({}, environ)

    assert daemon.exists()
    assert (found.urls, found.prefix, found.token) == (("tls://a",), "mcp", None)
    assert (found.credentials, found.tls) == (str(creds), TlsConfig(ca=str(ca)))
    assert (found.inbox_prefix, found.where) == ("_INBOX_a", "MCPNATSD_NATS_URL")


def test_then_the_daemon_of_this_machine(environ: dict[str, str], daemon: Path) -> None:
    found = resolve({"nats": None}, environ)

    assert found.urls == ("nats://127.0.0.1:5222",)
    assert (found.prefix, found.token, found.where) == ("blue", "s3cret", str(daemon))
    assert resolve({"name": "blue"}, environ) == found


def test_an_identity_of_ones_own_replaces_the_daemons(
    environ: dict[str, str], daemon: Path
) -> None:
    found = resolve({"user": "ann", "password": "pw"}, environ)

    assert daemon.exists()
    assert (found.user, found.password, found.token) == ("ann", "pw", None)


def test_then_the_default(environ: dict[str, str]) -> None:
    found = resolve({}, environ)

    assert found.urls == ("nats://127.0.0.1:4222",)
    assert "default" in found.where


def test_no_secret_is_shown(environ: dict[str, str]) -> None:
    shown = repr(resolve({"nats": "nats://a:pw@b", "token": "s3cret"}, environ))

    assert "pw" not in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"tls_cert": "/a"}, "go together"),
        ({"password": "a"}, "needs --user"),
        ({"nats": " , "}, "holds no URL"),
        ({"nats": "http://127.0.0.1:8222"}, "NATS does not speak http://"),
        ({"nats": "nats://127.0.0.1:77777"}, "the port of 127.0.0.1 is none"),
        ({"creds": "/nowhere/a.creds"}, "--creds: there is no file /nowhere/a.creds"),
        ({"tls_ca": "/nowhere/ca.pem"}, "--tls-ca: there is no file"),
        ({"name": "green"}, "no daemon named 'green'"),
    ],
)
def test_what_does_not_go_together_is_an_error(
    environ: dict[str, str], flags: dict[str, str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        resolve(flags, environ)
