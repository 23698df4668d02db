"""What counts as another look of the files of a configuration."""

from pathlib import Path

from mcpnatsd.daemon.looks import looks_of


def test_nothing_that_happened_is_the_same_look(tmp_path: Path) -> None:
    file = tmp_path / "mcpnatsd.yaml"
    file.write_text("servers: {}")

    assert looks_of(file, []) == looks_of(file, [])


def test_a_file_that_may_be_read_by_others_now_looks_other_than_before(tmp_path: Path) -> None:
    file = tmp_path / "mcpnatsd.yaml"
    file.write_text("servers: {}")
    file.chmod(0o600)
    before = looks_of(file, [])

    file.chmod(0o640)

    assert looks_of(file, []) != before


def test_a_named_file_that_comes_looks_other_than_before(tmp_path: Path) -> None:
    file, named = tmp_path / "mcpnatsd.yaml", tmp_path / "nats.creds"
    before = looks_of(file, [named])

    named.touch()

    assert looks_of(file, [named]) != before
