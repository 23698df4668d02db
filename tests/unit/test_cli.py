"""The command line, as a shell meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcpnatsd import cli
from mcpnatsd.config import runtime

NOBODY = "nats://127.0.0.1:1"
TOO_HEAVY = {"yaml", "jsonschema", "watchfiles", "mcp", "pydantic", "aiohttp", "difflib"}


def ran(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcpnatsd", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
    )


def complaint(*words: str, code: int, **environ: str) -> str:
    """Return the one sentence on stderr."""
    done = ran(*words, **environ)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("mcpnatsd: ")
    assert done.returncode == code
    return line


def test_it_knows_its_version() -> None:
    done = ran("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("mcpnatsd ")


def test_help_has_every_verb_and_examples() -> None:
    done = ran("--help")

    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert all(f"    {verb} " in done.stdout for verb in cli._VERBS)


@pytest.mark.parametrize("verb", cli._VERBS)
def test_each_verb_says_more_than_its_one_line(verb: str) -> None:
    help_text = ran(verb, "--help").stdout
    assert cli._ABOUT[verb].splitlines()[0] in help_text


def test_without_a_verb_it_shows_them() -> None:
    done = ran()

    assert (done.returncode, done.stdout) == (64, "")
    assert "verbs:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean `mcpnatsd list`?"),
        (["frobnicate"], "there are run, connect"),
        (["info"], "required: SERVER"),
        (["list", "--jsn"], "unrecognized arguments: --jsn; see `mcpnatsd"),
        (["call", "a", "b", "--timeout", "0"], "0 is no time to wait"),
        (["call", "a", "b", "--timeout", "soon"], "is no number of seconds"),
        (["call", "a", "b", "c", "--nats", NOBODY, "d=1", "--odd"], "unrecognized arguments"),
        (["info", "a.b", "--nats", NOBODY], "'a.b' names no server"),
        (["call", "a", "b", "{", "--nats", NOBODY], "not JSON"),
        (["list", "--nats", NOBODY, "--tls-key", "/a"], "go together"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_sentence(words: list[str], said: str) -> None:
    assert said in complaint(*words, code=64)


@pytest.mark.parametrize("words", [["list"], ["info", "time"], ["call", "time", "now", "a=1"]])
def test_without_nats_it_says_where_it_looked(words: list[str]) -> None:
    said = complaint(*words, "--nats", NOBODY, code=69)

    assert f"NATS is away at {NOBODY}: connection refused (from --nats)" in said


def test_a_url_that_is_none_is_told_in_a_sentence() -> None:
    complaint("list", code=64, MCPNATSD_NATS_URL="nats://:::")


def test_without_a_daemon_there_is_no_status(tmp_path: Path) -> None:
    said = complaint("status", code=69, **{runtime.OVERRIDE: str(tmp_path)})

    assert "no daemon runs here" in said


def test_a_file_that_is_not_there_is_a_fault() -> None:
    done = ran("check", "--config", "/nowhere.yaml")

    assert done.returncode == 78
    assert done.stderr.startswith("/nowhere.yaml: ")


def test_the_schema_is_json() -> None:
    assert "servers" in json.loads(ran("schema").stdout)["properties"]


def test_a_reader_that_leaves_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "mcpnatsd", "schema"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )

    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_told_in_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mcpnatsd", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 74
    assert done.stderr == "mcpnatsd: [Errno 28] No space left on device\n"


def test_the_shim_imports_nothing_it_does_not_need() -> None:
    """Each of these would cost a host's start 10 to 400 ms."""
    code = (
        "import json, sys; from mcpnatsd import cli; "
        "import mcpnatsd.log, mcpnatsd.config.settings, mcpnatsd.frontends.stdio; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    modules = set(json.loads(done.stdout))

    assert not modules & TOO_HEAVY
    verbs = {name for name in modules if name.startswith("mcpnatsd.verbs.")}
    assert verbs == set()
    assert "mcpnatsd.config.load" not in modules
