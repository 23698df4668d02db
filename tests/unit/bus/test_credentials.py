"""Who we are, out of files and strings."""

import base64
import ssl
from pathlib import Path

import nkeys  # type: ignore[import-untyped]
import pytest

from mcpnatsd.bus import credentials
from mcpnatsd.config.model import TlsConfig
from mcpnatsd.errors import ConfigError

SEED = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER).decode()
CREDS = f"""-----BEGIN NATS USER JWT-----
e30.e30.sig
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def test_credentials_may_be_a_file_or_its_content(tmp_path: Path) -> None:
    path = tmp_path / "user.creds"
    path.write_text(CREDS, encoding="utf-8")
    for given in (CREDS, str(path)):
        assert credentials.user_jwt(given) == b"e30.e30.sig"
        assert credentials.user_seed(given) == SEED.encode()


def test_a_file_without_a_user_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "user.creds"
    path.write_text("half", encoding="utf-8")
    with pytest.raises(ConfigError, match="NATS USER JWT"):
        credentials.user_jwt(str(path))


def test_a_seed_may_be_a_file_or_its_content(tmp_path: Path) -> None:
    path = tmp_path / "user.nk"
    path.write_text(f"{SEED}\n", encoding="utf-8")
    assert credentials.nkey_seed(SEED) == credentials.nkey_seed(str(path)) == SEED.encode()


def test_a_signature_is_the_seeds_own() -> None:
    key, signature = credentials.sign(SEED.encode(), "nonce")
    pair = nkeys.from_seed(bytearray(SEED.encode()))
    assert key == pair.public_key.decode()
    assert pair.verify(b"nonce", base64.b64decode(signature))


@pytest.mark.parametrize("seed", [b"", b"half", b"SUAAA", SEED.encode()[:-3]])
def test_a_broken_seed_is_an_error_that_does_not_show_it(seed: bytes) -> None:
    with pytest.raises(ConfigError, match="not valid") as caught:
        credentials.sign(seed, "nonce")
    assert not seed or seed.decode() not in str(caught.value)


def test_space_around_a_seed_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "user.nk"
    path.write_text(f"\n {SEED}\n", encoding="utf-8")

    assert credentials.nkey_seed(f"\n {SEED}\n") == SEED.encode()
    assert credentials.nkey_seed(str(path)) == SEED.encode()


def test_all_files_may_be_in_ones_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "user.nk").write_text(SEED, encoding="utf-8")
    (tmp_path / "ca.pem").write_text("", encoding="utf-8")

    assert credentials.nkey_seed("~/user.nk") == SEED.encode()
    with pytest.raises(ssl.SSLError):  # it is found, and holds no certificate
        credentials.tls_context(TlsConfig(ca="~/ca.pem"))
    with pytest.raises(ConfigError, match="no-such-user/x cannot be read: no such file"):
        credentials.nkey_seed("~no-such-user/x")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing, there = str(tmp_path / "missing"), tmp_path / "there"
    there.touch()
    reads = (
        lambda: credentials.user_jwt(missing),
        lambda: credentials.user_seed(missing),
        lambda: credentials.nkey_seed(missing),
        lambda: credentials.tls_context(TlsConfig(ca=missing)),
        lambda: credentials.tls_context(TlsConfig(cert=missing, key=str(there))),
        lambda: credentials.tls_context(TlsConfig(cert=str(there), key=missing)),
    )
    for read in reads:
        with pytest.raises(ConfigError, match=f"{missing} cannot be read: no such file"):
            read()
