"""The verbs against a daemon that runs, with servers of both eras."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mcpnatsd.config import runtime
from tests.natsd import NatsServer

THIN = Path(__file__).parents[2] / "servers" / "thin.py"
PROGRAM = [sys.executable, "-m", "mcpnatsd"]
CONFIG = """\
name: verbs
nats: {{ url: {url}, prefix: {prefix} }}
servers:
  both: {{ command: [{python}, {thin}, both] }}
  modern: {{ command: [{python}, {thin}, modern] }}
  legacy: {{ command: [{python}, {thin}, legacy] }}
  broken: {{ command: [{python}, -c, "import sys; sys.exit('no luck')"] }}
"""
ERAS = pytest.mark.parametrize("server", ["modern", "legacy"])


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Shell:
    """Runs verbs on the machine where a daemon runs."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
        )

    def json(self, *words: str) -> Any:
        done = self(*words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def work_of(self, server: str) -> tuple[int, int]:
        """Return how many requests and sessions a server has open."""
        [one] = [one for one in self.json("status")["servers"] if one["name"] == server]
        return one["in_flight"], one["sessions"]


@pytest.fixture(scope="module")
def shell(nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("verbs")
    config = folder / "mcpnatsd.yaml"
    config.write_text(
        CONFIG.format(url=nats_url, prefix=f"t{uuid4().hex}", python=sys.executable, thin=THIN)
    )
    environ = {
        **{name: text for name, text in os.environ.items() if not name.startswith("MCPNATSD_")},
        runtime.OVERRIDE: str(folder / "run"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [*PROGRAM, "run", "--config", str(config)], env=environ, stdout=log, stderr=log
        )
        shell = Shell(environ)
        until(lambda: "NATS is up" in (folder / "log").read_text())
        until(lambda: len(shell.json("list")) == 4)
        yield shell
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def test_list_has_every_server(shell: Shell) -> None:
    assert [one["name"] for one in shell.json("list")] == ["both", "broken", "legacy", "modern"]
    assert shell("list").stdout.splitlines()[0].split()[:2] == ["SERVER", "INSTANCES"]


@ERAS
def test_info_asks_the_server_in_its_own_era(shell: Shell, server: str) -> None:
    card = shell.json("info", server)

    assert card["era"] == server
    assert card["serverInfo"] == {"name": "thin", "version": "1.0.0"}
    assert "echo" in [tool["name"] for tool in card["tools"]]
    [listed] = [one for one in shell.json("list") if one["name"] == server]
    assert (listed["eras"], listed["tools"]) == ([server], len(card["tools"]))


def test_info_is_a_page_for_people(shell: Shell) -> None:
    page = shell("info", "both").stdout

    assert page.startswith("both: thin 1.0.0\nspeaks MCP 2026-07-28")
    assert "      text (string, optional)" in page


@ERAS
def test_call_prints_the_text(shell: Shell, server: str) -> None:
    for words in (
        ["text=hello you"],
        ['{"text": "hello you"}'],
        ["--timeout", "9", 'text:="hello you"'],
    ):
        done = shell("call", server, "echo", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello you\n", "")


@ERAS
def test_progress_is_shown_as_it_comes(shell: Shell, server: str) -> None:
    done = shell("call", server, "progress", "steps=3")

    assert done.stderr.splitlines() == ["1/3", "2/3", "3/3"]
    assert done.returncode == 0


@ERAS
def test_a_large_result_arrives_whole(shell: Shell, server: str) -> None:
    assert len(shell("call", server, "big", "bytes=3000000").stdout) == 3_000_001


@ERAS
def test_a_tool_that_is_not_there_has_a_likely_other(shell: Shell, server: str) -> None:
    done = shell("call", server, "ecoh")

    assert done.returncode == 64
    assert done.stderr == "mcpnatsd: there is no tool 'ecoh'; did you mean 'echo'?\n"


@ERAS
def test_a_call_that_takes_too_long_is_cancelled(shell: Shell, server: str) -> None:
    done = shell("call", server, "sleep", "seconds=60", "--timeout", "1")

    assert done.returncode == 75
    assert f"{server} sleep took longer than 1 s; it was cancelled" in done.stderr
    until(lambda: shell.work_of(server) == (0, 0))


@ERAS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_call_on_the_bus(
    shell: Shell, server: str, number: signal.Signals, code: int
) -> None:
    process = shell.start("call", server, "sleep", "seconds=60")
    until(lambda: shell.work_of(server)[0] == 1)
    process.send_signal(number)

    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == code
    until(lambda: shell.work_of(server) == (0, 0))


@pytest.mark.parametrize("words", [["info", "broken"], ["call", "broken", "echo"]])
def test_a_server_that_does_not_start_is_quoted(shell: Shell, words: list[str]) -> None:
    done = shell(*words)

    assert done.returncode != 0
    assert "no luck" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_nobody_serves_is_told_at_once(shell: Shell) -> None:
    done = shell("info", "nobody")

    assert done.returncode == 69
    assert "nobody serves 'nobody'" in done.stderr


def test_an_empty_bus_says_what_to_do(shell: Shell) -> None:
    done = shell("list", "--prefix", "elsewhere")

    assert (done.returncode, done.stdout) == (0, "")
    assert "`mcpnatsd run`" in done.stderr
    assert shell.json("list", "--prefix", "elsewhere") == []


def test_who_is_refused_by_nats_is_told_how_to_say_who_they_are(
    shell: Shell, natsd: NatsServer
) -> None:
    natsd.reload("authorization { user: ann, password: right }")

    ended = shell("list", "--nats", natsd.url)

    assert ended.returncode == 77
    assert "NATS refuses us at" in ended.stderr
    assert "--creds" in ended.stderr
    assert "MCPNATSD_USER" in ended.stderr


def test_status_names_the_daemon_and_its_processes(shell: Shell) -> None:
    shell("call", "modern", "echo", "text=a")
    answer = shell.json("status", "--name", "verbs")
    [modern] = [one for one in answer["servers"] if one["name"] == "modern"]

    assert answer["nats"]["connected"]
    assert modern["processes"][0]["pid"] > 0
    assert str(modern["processes"][0]["pid"]) in shell("status").stdout
