"""What a Python program says of its place on NATS."""

from dataclasses import fields
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


@pytest.mark.parametrize("name", [None, 7, ["github", None]])
def test_a_name_that_is_no_text_is_refused_by_its_field(name: Any) -> None:
    with pytest.raises(TypeError, match="service_name"):
        NatsClientParameters(service_name=name)


@pytest.mark.parametrize("name", [None, 7, ["github"]])
def test_a_server_has_one_name(name: Any) -> None:
    with pytest.raises(TypeError, match=r"service_name.*give a text"):
        NatsServerParameters(service_name=name)


@pytest.mark.parametrize("url", ["http://me:w0rd@nats", ["nats://a", "redis://me:w0rd@nats"]])
def test_a_url_that_nats_does_not_speak_is_refused_at_once(url: Any) -> None:
    """It would look like a NATS that is away."""
    with pytest.raises(ValueError, match="NATS does not speak") as caught:
        NatsClientParameters(service_name="x", url=url)

    assert "w0rd" not in str(caught.value)


@pytest.mark.parametrize("url", ["nats://me:w0rd@nats:99999", "nats:port", "nats://a,nats://b:0"])
def test_a_port_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="port of") as caught:
        NatsClientParameters(service_name="x", url=url)

    assert "w0rd" not in str(caught.value)


def test_a_url_that_is_not_set_is_refused_by_its_field() -> None:
    with pytest.raises(TypeError, match="url is a NoneType"):
        NatsClientParameters(service_name="x", url=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["", "here", "here:4222", "nats://a,tls://b", "ws://a", "wss://a", ["nats://[::1]:1"]]
)
def test_what_may_be_a_nats_is_taken(url: Any) -> None:
    assert NatsClientParameters(service_name="x", url=url).url == url


@pytest.mark.parametrize("prefix", ["a b", "a..b", "a.>", "{me}"])
def test_a_prefix_that_cannot_begin_a_subject_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix"):
        NatsClientParameters(service_name="x", prefix=prefix)


@pytest.mark.parametrize(
    "field", ["line_bytes", "output_line_bytes", "call_timeout", "concurrency"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_what_leaves_no_room_for_a_request_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}.*more than 0"):
        NatsServerParameters(service_name="x", **{field: value})


@pytest.mark.parametrize("field", ["idle_timeout", "drain_timeout"])
def test_a_time_may_be_nothing_but_not_less(field: str) -> None:
    said: dict[str, Any] = {field: 0}
    assert getattr(NatsServerParameters(service_name="x", **said), field) == 0
    with pytest.raises(ValueError, match=f"{field}.*0 or more"):
        NatsServerParameters(service_name="x", **{**said, field: -1})


def test_a_time_that_is_no_number_is_refused_by_its_field() -> None:
    with pytest.raises(TypeError, match="connect_timeout '5'"):
        NatsClientParameters(service_name="x", connect_timeout="5")  # type: ignore[arg-type]


def test_nats_must_have_some_time_to_be_there() -> None:
    with pytest.raises(ValueError, match="connect_timeout"):
        NatsClientParameters(service_name="x", connect_timeout=0)


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


@pytest.mark.parametrize("kind", [NatsClientParameters, NatsServerParameters])
def test_every_field_is_in_the_page_of_the_examples(kind: Any) -> None:
    """`help()` shows no text of a field."""
    page = (Path(__file__).parents[3] / "etc/examples/README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {field.name for field in fields(kind)} <= set("`".join(rows).split("`"))
