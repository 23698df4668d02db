"""The verbs, as a person and as a script use them, against a real daemon."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.running import (
    PROGRAM,
    Running,
    daemon,
    environment,
    server,
    status,
    verb,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOUND = 30.0
BOTH_ERAS = ["thin", "old"]
NOBODY = "nats://127.0.0.1:1"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bridge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One daemon with servers of both eras."""
    servers: dict[str, Any] = {name: peers.command_of(name) for name in ("py1", "py2")}
    servers |= {"thin": server("thin"), "old": server("thin", "legacy")}
    async with daemon(tmp_path_factory.mktemp("verbs"), servers) as running:
        yield running


@pytest.fixture
def folder(bridge: Running) -> Path:
    return bridge.folder


async def found_json(folder: Path, *arguments: str) -> Any:
    """Run a verb with --json, and read what it prints."""
    done = await verb(folder, *arguments, "--json")
    assert (done.code, without_waiting(done.err)) == (0, "")
    return json.loads(done.out)


def without_waiting(err: str) -> str:
    """Return what was said beside that a long wait goes on, which depends on the machine."""
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("mcpnatsd: waiting for "))


# list, info, status.


async def test_list_shows_every_server_in_a_table(folder: Path) -> None:
    done = await verb(folder, "list")

    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0].split() == ["SERVER", "INSTANCES", "ERA", "TOOLS", "VERSION", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == ["old", "py1", "py2", "thin"]


async def test_list_as_json_is_an_array_of_objects_with_a_name(folder: Path) -> None:
    found = await found_json(folder, "list")

    assert [one["name"] for one in found] == ["old", "py1", "py2", "thin"]
    assert all(len(one["instances"]) == 1 for one in found)


@pytest.mark.parametrize(("name", "era"), [("thin", "modern"), ("old", "legacy")])
async def test_info_shows_what_a_server_offers(folder: Path, name: str, era: str) -> None:
    page, card = await verb(folder, "info", name), await found_json(folder, "info", name)

    assert page.code == 0
    assert "thin 1.0.0" in page.out
    assert "seconds (number, optional)" in page.out
    assert (card["name"], card["era"]) == (name, era)
    assert "echo" in [tool["name"] for tool in card["tools"]]


async def test_info_shows_resources_and_prompts(folder: Path) -> None:
    card = await found_json(folder, "info", "py2")

    assert [one["uri"] for one in card["resources"]] == ["test://hello"]
    assert [one["name"] for one in card["prompts"]] == ["greet"]


async def test_status_shows_processes_and_counts(folder: Path) -> None:
    await verb(folder, "call", "thin", "pid")
    page, found = await verb(folder, "status"), await found_json(folder, "status")

    [thin] = [one for one in found["servers"] if one["name"] == "thin"]
    [process] = thin["processes"]
    assert page.code == 0
    assert str(process["pid"]) in page.out
    assert thin["calls"] >= 1
    assert found["nats"]["connected"]


# call.


@pytest.mark.parametrize("name", BOTH_ERAS)
async def test_call_prints_the_text_of_the_result(folder: Path, name: str) -> None:
    done = await verb(folder, "call", name, "echo", "text=grüße 🌍")

    assert (done.code, done.out, done.err) == (0, "grüße 🌍\n", "")


@pytest.mark.parametrize("name", BOTH_ERAS)
async def test_call_as_json_prints_the_whole_result(folder: Path, name: str) -> None:
    result = await found_json(folder, "call", name, "echo", '{"text": "hi"}')

    assert result["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["echo", "text=5"], "5"),  # the schema says string
        (["echo", "text:=5"], "5"),
        (["echo", "text=a=b"], "a=b"),
        (["echo", "text="], ""),
        (["big", "bytes=3"], "xxx"),
        (["big", "bytes:=3"], "xxx"),
        (["sleep", "seconds=0.01"], "slept"),
        (["sleep", '{"seconds": 0}'], "slept"),
    ],
)
async def test_values_take_the_type_of_the_tools_schema(
    folder: Path, words: list[str], said: str
) -> None:
    done = await verb(folder, "call", "thin", *words)

    assert (done.code, done.out.rstrip("\n"), done.err) == (0, said, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["call", "thin", "ecko", "text=hi"], 64, "did you mean 'echo'?"),
        (["call", "old", "ecko", "text=hi"], 64, "did you mean 'echo'?"),
        (["call", "thin", "zzz"], 64, "there is no tool 'zzz'"),
        (["call", "thin", "big", "bytes=many"], 64, "bytes wants an integer"),
        (["call", "thin", "echo", "text"], 64, "key=value"),
        (["call", "thin", "echo", "{nonsense"], 64, "not JSON"),
        (["call", "a.b", "echo"], 64, "names no server"),
        (["call", "nowhere", "echo"], 69, "nobody serves 'nowhere'"),
        (["info", "nowhere"], 69, "nobody serves 'nowhere'"),
        (["call", "thin", "sleep", "seconds=60", "--timeout", "0.5"], 75, "it was cancelled"),
        (["call", "old", "sleep", "seconds=60", "--timeout", "1.5"], 75, "it was cancelled"),
        (["call", "py2", "fail"], 1, "fail"),
        (["call", "py1", "fail"], 1, "failed on purpose"),
        (["call", "thin", "exit", "status=3"], 69, "exited with status 3"),
        (["call", "old", "exit", "status=3"], 69, "exited with status 3"),
        (["conect", "thin"], 64, "did you mean `mcpnatsd connect`?"),
        (["list", "--jsn"], 64, "--jsn"),
        (["call", "thin"], 64, "TOOL"),
        (["list", "--nats", NOBODY], 69, f"{NOBODY}"),
        (["status", "--name", "other"], 64, "no daemon named 'other'"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(
    folder: Path, arguments: list[str], code: int, said: str
) -> None:
    done = await verb(folder, *arguments)

    assert (done.code, done.out) == (code, ""), done
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", BOTH_ERAS)
async def test_progress_is_shown_beside_the_result(folder: Path, name: str) -> None:
    done = await verb(folder, "call", name, "progress", "steps=3")

    assert (done.code, done.out) == (0, "3 steps\n")
    assert done.err.splitlines() == ["1/3", "2/3", "3/3"]


@pytest.mark.parametrize("name", BOTH_ERAS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_the_call(
    folder: Path, name: str, number: signal.Signals, code: int
) -> None:
    out = await interrupted(folder, name, number, "sleep", '{"seconds": 600}')

    assert out == (code, b"")


async def test_a_signal_cancels_the_call_at_the_server(folder: Path) -> None:
    """Ctrl-C: the server is told, not only left."""
    before = (await verb(folder, "call", "py2", "cancelled")).out

    await interrupted(folder, "py2", signal.SIGINT, "slow", '{"seconds": 600}')

    async with asyncio.timeout(BOUND):
        while (await verb(folder, "call", "py2", "cancelled")).out == before:
            await asyncio.sleep(0.1)


async def interrupted(
    folder: Path, name: str, number: signal.Signals, *words: str
) -> tuple[int | None, bytes]:
    """Start a call, send it a signal once the server has it, and wait until the server has none."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "call", name, *words, env=environment(folder),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await in_flight(folder, name, 1)
    process.send_signal(number)
    async with asyncio.timeout(BOUND):
        out, _ = await process.communicate()
    await in_flight(folder, name, 0)
    return process.returncode, out


async def in_flight(folder: Path, name: str, many: int) -> None:
    """Wait until a server has that many calls in flight."""
    async with asyncio.timeout(BOUND):
        while many != await _in_flight(folder, name):
            await asyncio.sleep(0.05)


async def _in_flight(folder: Path, name: str) -> int:
    servers = (await status(folder))["servers"]
    return int(next(one["in_flight"] for one in servers if one["name"] == name))


# Which NATS.


async def test_a_variable_wins_over_the_daemon_of_this_machine(folder: Path) -> None:
    done = await verb(folder, "list", MCPNATSD_NATS_URL=NOBODY)

    assert done.code == 69
    assert "MCPNATSD_NATS_URL" in done.err
    assert len(done.err.splitlines()) == 1


async def test_a_flag_wins_over_a_variable(folder: Path) -> None:
    own = json.loads((folder / "run" / "mcpnatsd.json").read_text(encoding="utf-8"))
    flags = ["--nats", own["url"], "--token", own["token"]]

    done = await verb(folder, "list", *flags, MCPNATSD_NATS_URL=NOBODY, MCPNATSD_TOKEN="wrong")

    assert (done.code, done.err) == (0, "")
    assert "thin" in done.out


async def test_a_prefix_finds_only_its_own(folder: Path) -> None:
    done = await verb(folder, "list", "--prefix", "other")

    assert (done.code, done.out) == (0, "")
    assert 'under the prefix "other"' in done.err
    assert await found_json(folder, "list", "--prefix", "other") == []


async def test_without_a_daemon_there_is_one_sentence(tmp_path: Path) -> None:
    for arguments in (["status"], ["list", "--nats", NOBODY], ["call", "a", "b", "--nats", NOBODY]):
        done = await verb(tmp_path, *arguments)

        assert (done.code, done.out) == (69, "")
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith("mcpnatsd: ")


async def test_of_several_daemons_one_is_chosen_by_name(tmp_path: Path) -> None:
    commands = {"one": {"thin-one": server("thin")}, "two": {"thin-two": server("thin")}}
    async with (
        daemon(tmp_path, commands["one"], name="one"),
        daemon(tmp_path, commands["two"], name="two"),
    ):
        for arguments in (["list"], ["status"], ["call", "thin-one", "pid"]):
            done = await verb(tmp_path, *arguments)

            assert done.code == 64
            assert "(one, two): choose one with --name" in done.err
        by_flag = await verb(tmp_path, "list", "--name", "two")
        by_variable = await verb(tmp_path, "list", MCPNATSD_NAME="one")
        one = await found_json(tmp_path, "status", "--name", "one")

    assert "thin-two" in by_flag.out
    assert "thin-one" not in by_flag.out
    assert "thin-one" in by_variable.out
    assert one["name"] == "one"


# What needs no daemon.


async def test_schema_is_json_schema(tmp_path: Path) -> None:
    done = await verb(tmp_path, "schema")

    assert done.code == 0
    assert "servers" in json.loads(done.out)["properties"]


async def test_check_says_that_a_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text("servers: {a: {command: [cat]}}\n", encoding="utf-8")

    done = await verb(tmp_path, "check", "--config", str(path))

    assert (done.code, done.err) == (0, "")
    assert done.out == f"{path} is valid: 1 server, 0 endpoints\n"


async def test_help_and_version_are_for_stdout(tmp_path: Path) -> None:
    version, help_page = await verb(tmp_path, "--version"), await verb(tmp_path, "--help")

    assert version.out.startswith("mcpnatsd 0.")
    assert "connect" in help_page.out
    assert (version.code, help_page.code) == (0, 0)
