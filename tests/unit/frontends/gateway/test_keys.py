"""The key behind the names of callers: kept once, for one user's eyes."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mcpnatsd.config.model import HttpEndpoint
from mcpnatsd.frontends.gateway.keys import BYTES, NAME, kept_key, key_of

HERE = HttpEndpoint(address="127.0.0.1:8085")


def test_what_is_no_key_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for content in (b"", b"x" * (BYTES - 1), b"x" * (BYTES + 1)):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ValueError, match="32 bytes: remove it"):
            kept_key(path)
        assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / NAME
    kept_key(path)
    path.chmod(0o640)

    with pytest.raises(ValueError, match="others may read it"):
        kept_key(path)


def test_a_folder_that_is_a_file_costs_the_names_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()

    assert len(key_of(HERE, tmp_path / "file")) == BYTES
    assert "new names with each start" in caplog.text


def test_who_starts_at_the_same_moment_has_the_same_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    found: list[bytes] = []

    def start() -> None:
        together.wait()
        found.append(kept_key(tmp_path / "state" / NAME))

    starting = [threading.Thread(target=start) for _ in range(8)]
    for one in starting:
        one.start()
    for one in starting:
        one.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == [NAME]


def test_a_listener_has_its_own_key_or_the_one_of_its_secret(tmp_path: Path) -> None:
    elsewhere = replace(HERE, address="127.0.0.1:8086")
    shared = {"secret": "known to several"}

    assert key_of(HERE, tmp_path) == key_of(HERE, tmp_path)
    assert key_of(HERE, tmp_path) != key_of(elsewhere, tmp_path)
    assert key_of(HERE, None) != key_of(HERE, None)
    assert key_of(replace(HERE, **shared), None) == key_of(replace(elsewhere, **shared), tmp_path)
