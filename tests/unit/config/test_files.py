"""The files that a configuration names: which they are, and that their content counts."""

from pathlib import Path

import pytest

from mcpnatsd.config.files import (
    digests,
    located,
    named_files,
    nats_files,
    refuse_unreadable,
    wrong_with_credentials,
    wrong_with_nkey,
)
from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    HttpEndpoint,
    HttpTls,
    NatsConfig,
    TlsConfig,
)
from mcpnatsd.errors import ConfigError


def test_a_secret_that_stands_in_the_configuration_itself_is_no_file() -> None:
    creds = "-----BEGIN NATS USER JWT-----\neyJ\n"

    assert nats_files(NatsConfig(credentials=creds, nkey="SUAM")) == ()


def test_all_files_are_named_once() -> None:
    tls = HttpTls(cert="/cert", key="/key")
    endpoint = HttpEndpoint(address="h:1", tls=tls, tokens="/read-when-it-changes")
    nats = NatsConfig(credentials="/creds", nkey="/nkey", tls=TlsConfig(ca="/ca", cert="/cert"))

    assert named_files(Config(nats=nats, endpoints=(endpoint, endpoint))) == (
        "/nkey",
        "/creds",
        "/ca",
        "/cert",
        "/key",
    )


def test_other_content_is_another_digest_and_the_same_is_not(tmp_path: Path) -> None:
    file = tmp_path / "creds"
    file.write_text("one")
    first = digests([str(file)])
    file.write_text("two")
    second = digests([str(file)])
    file.write_text("one")

    assert first != second
    assert digests([str(file)]) == first
    assert digests([str(tmp_path / "none")]) == {str(tmp_path / "none"): ""}


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none cannot be read: no such file"):
        refuse_unreadable([str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        refuse_unreadable([str(tmp_path)])


SEED = "SUAM" + "A" * 54


def test_an_embedded_nats_has_no_files_of_ours() -> None:
    nats = NatsConfig(embedded=EmbeddedConfig(), credentials="/creds", tls=TlsConfig(ca="/ca"))

    assert nats_files(nats) == ()


@pytest.mark.parametrize("nkey", [SEED, f"\n {SEED}\n", "/etc/nkey", "~/n.nk", "SUnny.nk"])
def test_a_seed_or_a_path_is_right(nkey: str) -> None:
    assert wrong_with_nkey(nkey) is None
    assert bool(nats_files(NatsConfig(nkey=nkey))) is (SEED not in nkey)


@pytest.mark.parametrize(
    "nkey",
    [
        f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------",
        f"{SEED}\n{SEED}",
        f"{SEED}=",
        SEED.lower(),
        "SAAM" + "A" * 54,
    ],
)
def test_what_may_be_a_secret_is_refused_and_not_shown(nkey: str) -> None:
    for wrong in (wrong_with_nkey(nkey), wrong_with_credentials(nkey)):
        assert wrong is not None
        assert "AAAA" not in wrong.upper()


def test_credentials_are_a_path_or_hold_a_jwt() -> None:
    jwt = "-----BEGIN NATS USER JWT-----\neyJ\n"

    assert wrong_with_credentials(f"\n{jwt}") is None
    assert wrong_with_credentials("/etc/user.creds") is None
    assert wrong_with_credentials("eyJ" + "a" * 40) is not None


def test_the_home_of_nobody_is_a_file_that_is_not_there() -> None:
    file = "~no-such-user/x"

    assert digests([file]) == {file: ""}
    with pytest.raises(ConfigError, match="no such file"):
        refuse_unreadable([file])


def test_a_file_may_be_in_ones_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert located("~/x") == tmp_path / "x"
