"""What a Python program says of its place on NATS."""

from pathlib import Path
from typing import Any

import pytest

from mcpnatsd.config import runtime
from mcpnatsd.config.model import TlsConfig
from mcpnatsd.config.settings import VARIABLES
from mcpnatsd.errors import UsageError
from mcpnatsd.transport import NatsClientParameters, NatsServerParameters

WORDS = ["mcp.server.github", "git hub", "", "x" * 65, "github.", "*.github", ["github", "a.b"]]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no daemon and no variable of this machine found."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(runtime.OVERRIDE, str(tmp_path))


@pytest.mark.parametrize("name", WORDS)
def test_a_name_that_no_server_can_have_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="service_name"):
        NatsClientParameters(service_name=name)


@pytest.mark.parametrize("kind", [NatsClientParameters, NatsServerParameters])
def test_the_subject_of_an_older_transport_is_refused_with_the_name_to_use(kind: Any) -> None:
    with pytest.raises(ValueError, match="use 'github'"):
        kind(service_name="mcp.server.github")


def test_a_server_cannot_serve_every_name() -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        NatsServerParameters(service_name="*")


def test_no_server_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="names no server"):
        NatsClientParameters(service_name=[])


def test_every_server_stands_alone() -> None:
    with pytest.raises(ValueError, match="or a list"):
        NatsClientParameters(service_name=["*", "github"])


@pytest.mark.parametrize(
    ("name", "several"), [("github", False), ("*", True), (["github"], True), (("a", "b"), True)]
)
def test_a_list_or_every_server_is_one_session_over_several(name: Any, *, several: bool) -> None:
    assert NatsClientParameters(service_name=name).several is several


def test_metadata_under_our_keys_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mcp\.tools"):
        NatsServerParameters(service_name="x", metadata={"mcp.tools": "7"})


def test_metadata_that_nats_would_not_show_is_refused() -> None:
    with pytest.raises(ValueError, match="strings"):
        NatsServerParameters(service_name="x", metadata={"size": 7})  # type: ignore[dict-item]


def test_an_instance_that_cannot_stand_in_a_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="server_id"):
        NatsServerParameters(service_name="x", server_id="a.b")


def test_a_password_without_a_user_is_refused() -> None:
    with pytest.raises(ValueError, match="user"):
        NatsClientParameters(service_name="x", password="secret")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no file /nowhere/a\.creds"):
        NatsClientParameters(service_name="x", credentials="/nowhere/a.creds")


def test_no_secret_is_shown() -> None:
    params = NatsClientParameters(
        service_name="x", url="nats://me:w0rd@h", token="t0ken", user="u", password="w0rd"
    )

    assert "0rd" not in repr(params)
    assert "t0ken" not in repr(params)


def test_without_a_url_nats_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPNATSD_NATS_URL", "nats://there:4222")
    monkeypatch.setenv("MCPNATSD_TOKEN", "t")
    monkeypatch.setenv("MCPNATSD_PREFIX", "tools")

    found = NatsClientParameters(service_name="x").nats()

    assert (found.urls, found.token, found.prefix) == (("nats://there:4222",), "t", "tools")


def test_without_anything_nats_is_at_its_usual_place() -> None:
    found = NatsClientParameters(service_name="x").nats()

    assert (found.urls, found.prefix) == (("nats://127.0.0.1:4222",), "mcp")


def test_who_we_are_is_said_in_one_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of the environment beside a user of the parameters would be a third identity."""
    monkeypatch.setenv("MCPNATSD_TOKEN", "of the environment")

    found = NatsClientParameters(service_name="x", user="ann", password="w").nats()

    assert (found.user, found.password, found.token) == ("ann", "w", None)


def test_several_urls_are_one_cluster() -> None:
    found = NatsClientParameters(service_name="x", url=["nats://a", "nats://b"]).nats()

    assert found.urls == ("nats://a", "nats://b")


def test_what_the_parameters_say_goes_to_the_connection(tmp_path: Path) -> None:
    creds = tmp_path / "a.creds"
    creds.touch()
    tls = TlsConfig(ca="/ca.pem")

    found = NatsServerParameters(
        service_name="x", credentials=str(creds), tls=tls, prefix="p", inbox_prefix="_I"
    ).nats()

    assert (found.credentials, found.tls) == (str(creds), tls)
    assert (found.prefix, found.inbox_prefix) == ("p", "_I")


def test_a_daemon_of_that_name_that_does_not_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPNATSD_NAME", "green")

    with pytest.raises(UsageError, match=r"green.*url"):
        NatsClientParameters(service_name="x").nats()
