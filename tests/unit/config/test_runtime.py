"""The files of a running daemon: who may find it, and how."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mcpnatsd.config import runtime
from mcpnatsd.config.runtime import Running
from mcpnatsd.errors import ConfigError, UsageError

OURS = Running(
    name="mcpnatsd",
    pid=os.getpid(),
    instance="K3J9",
    prefix="mcp",
    url="nats://127.0.0.1:4222",
    urls=("nats://127.0.0.1:4222", "nats://other:4222"),
    started="2026-11-21T04:54:21Z",
    token="s3cret",
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {runtime.OVERRIDE: str(tmp_path / "run")}


@pytest.fixture
def folder(environ: dict[str, str]) -> Path:
    return runtime.own_folder(environ)


def a_dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_daemon_writes_a_client_finds(environ: dict[str, str], folder: Path) -> None:
    path = runtime.write(folder, OURS)

    assert runtime.find_daemon(environ, None) == (path, OURS)
    assert runtime.find_daemon(environ, "mcpnatsd") == (path, OURS)


def test_a_token_is_for_its_owner_only(folder: Path) -> None:
    path = runtime.write(folder, OURS)

    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in folder.iterdir()] == ["mcpnatsd.json"]


def test_a_daemon_that_stopped_is_not_found(environ: dict[str, str], folder: Path) -> None:
    runtime.write(folder, OURS)
    runtime.remove(folder, OURS.name)
    runtime.remove(folder, OURS.name)

    assert runtime.find_daemon(environ, None) is None


def test_a_daemon_that_crashed_is_not_found_and_can_be_replaced(
    environ: dict[str, str], folder: Path
) -> None:
    runtime.write(folder, replace(OURS, pid=a_dead_pid()))
    assert runtime.find_daemon(environ, None) is None

    runtime.write(folder, OURS)
    assert runtime.find_daemon(environ, None) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when a process began")
def test_another_process_of_a_crashed_daemons_number_is_no_daemon(
    environ: dict[str, str], folder: Path
) -> None:
    path = runtime.write(folder, OURS)
    members = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**members, "began": members["began"] - 1}), encoding="utf-8")

    assert runtime.find_daemon(environ, None) is None
    runtime.refuse_second(folder, OURS.name, OURS.pid + 1)


def test_a_file_that_does_not_say_when_its_daemon_began_is_believed(
    environ: dict[str, str], folder: Path
) -> None:
    path = runtime.write(folder, OURS)
    members = json.loads(path.read_text(encoding="utf-8"))
    del members["began"]
    path.write_text(json.dumps(members), encoding="utf-8")

    assert runtime.find_daemon(environ, None) == (path, OURS)


def test_a_second_daemon_of_the_same_name_is_refused(folder: Path) -> None:
    runtime.write(folder, replace(OURS, pid=os.getppid()))

    with pytest.raises(ConfigError, match=f"runs already, pid {os.getppid()}"):
        runtime.write(folder, OURS)


def test_a_daemon_may_write_its_file_again(folder: Path) -> None:
    runtime.write(folder, OURS)
    path = runtime.write(folder, replace(OURS, url="nats://other:4222"))

    assert json.loads(path.read_text())["url"] == "nats://other:4222"


def test_among_several_daemons_one_must_be_chosen(environ: dict[str, str], folder: Path) -> None:
    for name in ("blue", "green"):
        runtime.write(folder, replace(OURS, name=name))

    with pytest.raises(UsageError, match=r"several daemons run here \(blue, green\).*--name"):
        runtime.find_daemon(environ, None)
    found = runtime.find_daemon(environ, "green")
    assert found is not None
    assert found[1].name == "green"


def test_a_name_that_nobody_has_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no daemon named 'blue'"):
        runtime.find_daemon(environ, "blue")
    with pytest.raises(UsageError, match="names no daemon"):
        runtime.find_daemon(environ, "../blue")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "mcpnatsd"}', "\ud800"])
def test_a_file_that_is_no_sense_is_ignored(
    environ: dict[str, str], folder: Path, text: str
) -> None:
    (folder / "mcpnatsd.json").write_bytes(text.encode(errors="surrogatepass"))

    assert runtime.find_daemon(environ, None) is None


@pytest.mark.parametrize("pid", [0, -1, "1", None, 10**30])
def test_a_file_with_an_odd_pid_is_ignored(
    environ: dict[str, str], folder: Path, pid: object
) -> None:
    path = runtime.write(folder, OURS)
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": pid}))

    assert runtime.find_daemon(environ, None) is None


def test_a_folder_that_others_may_write_to_is_not_believed(
    environ: dict[str, str], folder: Path
) -> None:
    runtime.write(folder, OURS)
    folder.chmod(0o777)

    assert runtime.find_daemon(environ, None) is None
    with pytest.raises(ConfigError, match="not ours alone"):
        runtime.own_folder(environ)


def test_a_folder_that_is_a_link_is_not_believed(tmp_path: Path, folder: Path) -> None:
    runtime.write(folder, OURS)
    (tmp_path / "link").symlink_to(folder)

    assert runtime.find_daemon({runtime.OVERRIDE: str(tmp_path / "link")}, None) is None


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=f"set {runtime.OVERRIDE}"):
        runtime.own_folder({"RUNTIME_DIRECTORY": str(tmp_path / "file" / "run")})


def test_systemd_may_name_several_folders(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/a:{tmp_path}/b"}

    assert runtime.own_folder(environ) == tmp_path / "a"


def test_a_clients_user_finds_a_daemon_of_its_session(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    folder = tmp_path / "mcpnatsd"
    folder.mkdir(mode=0o700)
    path = runtime.write(folder, OURS)

    assert path in runtime.running_daemons(session)


def test_a_path_too_long_for_a_socket_is_an_error(tmp_path: Path) -> None:
    assert runtime.socket_path(Path("/run/mcpnatsd"), "blue").name == "blue.sock"
    with pytest.raises(ConfigError, match="too long for a unix socket"):
        runtime.socket_path(tmp_path / ("x" * 100), "blue")


def test_the_daemons_of_the_system_are_believed_whoever_their_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root made their folders, for the users of their units."""
    monkeypatch.setattr(runtime, "_SYSTEM", tmp_path / "mcpnatsd")
    for folder, name in (("mcpnatsd", "main"), ("mcpnatsd-lab", "lab")):
        (tmp_path / folder).mkdir(mode=0o750)
        runtime.write(tmp_path / folder, replace(OURS, name=name))
        if os.geteuid() == 0:
            os.chown(tmp_path / folder, 12345, -1)

    found = runtime.running_daemons({"TMPDIR": str(tmp_path / "tmp")})

    assert sorted(one.name for one in found.values()) == ["lab", "main"]
