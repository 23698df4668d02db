"""`check`, told right from wrong."""

from pathlib import Path

import pytest

from mcpnatsd.verbs.check import check


def test_a_file_that_is_right_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text("servers: { time: { command: [date] } }")

    assert check(path, {}) == 0
    assert capsys.readouterr() == (f"{path} is valid: 1 server, 0 endpoints\n", "")


def test_each_fault_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text("servers: { time: { comand: [date] } }\nservrs: {}\n")

    assert check(path, {}) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith(f"{path}:") for line in err.splitlines())
    assert len(err.splitlines()) >= 2
