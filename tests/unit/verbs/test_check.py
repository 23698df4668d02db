"""`check`, told right from wrong."""

from pathlib import Path

import pytest

from mcpnatsd.verbs import check as verb
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


WITH_CREDENTIAL = 'nats: { token: "${credential:nats}" }\n'


def test_credentials_that_only_systemd_hands_over_make_no_file_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "CREDENTIALS", tmp_path / "none")
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(WITH_CREDENTIAL)

    assert check(path, {}) == 0
    out, err = capsys.readouterr()
    assert err == f"{path}:1:16: nats.token: ${{credential:nats}} was not looked into\n"
    assert f"nothing else is wrong with {path}" in out


def test_what_else_is_wrong_is_still_wrong_without_the_credentials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "CREDENTIALS", tmp_path / "none")
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(f"{WITH_CREDENTIAL}servrs: {{}}\n")

    assert check(path, {}) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "servrs: unknown key" in err
    assert "${credential:nats} was not looked into" in err


def test_who_may_read_the_folder_of_the_units_has_the_credentials_looked_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "CREDENTIALS", tmp_path)
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(WITH_CREDENTIAL)

    assert check(path, {}) == 78
    assert "put it into /etc/mcpnatsd/credentials/" in capsys.readouterr().err

    (tmp_path / "nats").write_text("secret")
    assert check(path, {}) == 0
    assert "is valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nats: {{ credentials: {0}/a.creds }}", "{0}/a.creds cannot be read: no such file"),
        ("nats: {{ tls: {{ ca: {0} }} }}", "{0} cannot be read: is a directory"),
        ("endpoints: [{{ http: '127.0.0.1:1', tokens: {0}/t }}]", "{0}/t cannot be read: no such"),
        (
            "servers: {{ a: {{ command: [cat], cwd: {0}/b }} }}",
            "server a: there is no folder {0}/b",
        ),
    ],
)
def test_what_a_reload_would_refuse_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, wrong: str
) -> None:
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(text.format(tmp_path))

    assert check(path, {}) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}: {wrong.format(tmp_path)}")


def test_a_program_that_is_not_here_is_said_and_may_be_there_for_the_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text("servers: { a: { command: [no-such-program] } }")

    assert check(path, {}) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"{path}: server a: there is no program no-such-program")
    assert "is valid" in out
