"""How a daemon starts: what it refuses, what it starts when, what it survives."""

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import Running, Shim, daemon, daemon_of, server, shim, status, text_of, verb

BOUND = 30.0
ERAS = ["modern", "legacy"]


async def ready(host: Shim, era: str) -> None:
    if era == "legacy":
        assert "result" in await host.initialize(BOUND)


async def processes(running: Running, name: str) -> list[dict[str, Any]]:
    servers = (await status(running.folder))["servers"]
    return list(next(one["processes"] for one in servers if one["name"] == name))


# The file.


async def test_status_has_the_whole_path_of_a_file_that_was_named_by_a_part(tmp_path: Path) -> None:
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text("nats: { embedded: {} }", encoding="utf-8")
    async with daemon_of(tmp_path, Path(os.path.relpath(path))) as running:
        named = Path((await status(running.folder))["config"])

    assert named.is_absolute()
    assert named.resolve() == path.resolve()


@pytest.mark.parametrize("name", ["run", "check"])
@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("servers:\n  a:\n    comand: [cat]\n", "3:5", "command"),
        ("servers:\n  a: {command: [cat], era: future}\n", "2:", "era"),
        ("servers:\n  a: {command: [cat]\n", "3:1", "not YAML"),
        ("servers:\n  a:\n    command: [cat, '${env:NO_SUCH_NAME}']\n", "3:", "NO_SUCH_NAME"),
        ("nats: {token: '${file:/no/such/file}'}\n", "1:", "/no/such/file"),
    ],
    ids=["key", "value", "syntax", "variable", "file"],
)
async def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, name: str, text: str, at: str, said: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")

    done = await verb(tmp_path, name, "--config", str(path))

    assert (done.code, done.out) == (78, "")
    assert f"{path}:{at}" in done.err
    assert said in done.err
    assert "Traceback" not in done.err


async def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("run", "check"):
        done = await verb(tmp_path, name, "--config", str(tmp_path / "none.yaml"))

        assert done.code == 78
        assert "none.yaml" in done.err


async def test_what_is_missing_is_said_at_the_start_and_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.creds")
    nats = {"url": "nats://127.0.0.1:1", "credentials": gone}
    servers = {"lazy": {"command": ["no-such-program"]}, "far": {"command": ["cat"], "cwd": gone}}
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(yaml.safe_dump({"nats": nats, "servers": servers}), encoding="utf-8")
    async with daemon_of(tmp_path, path) as running:
        lacks = [line for line in running.log if "this machine lacks" in line]

    assert f"{gone} cannot be read: no such file" in lacks[0]
    assert f"server far: there is no folder {gone}" in lacks[1]
    assert "server lazy: there is no program no-such-program" in lacks[2]
    assert len(lacks) == 3


async def test_a_second_daemon_of_one_name_is_refused(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin")}) as running:
        done = await verb(tmp_path, "run", "--config", str(tmp_path / "mcpnatsd.yaml"))
        async with await shim(tmp_path, "thin") as host:
            called = await host.call("echo", text="still here")

    assert done.code == 78
    assert f"runs already, pid {running.pid}" in done.err
    assert text_of(called) == "still here"


# The NATS of its own.


async def test_only_who_may_read_its_file_gets_into_the_embedded_nats(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin")}):
        path = tmp_path / "run" / "mcpnatsd.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        told = await greeted(found["url"])
        refused = await verb(tmp_path, "list", "--nats", found["url"])

    assert "Authorization Violation" in told
    assert modes["mcpnatsd.json"] == modes["mcpnatsd.sock"] == 0o600
    assert modes["mcpnatsd.nats"] == 0o700
    assert refused.code == 77
    assert len(refused.err.splitlines()) == 1
    assert not path.exists()


async def greeted(url: str) -> str:
    """Return what nats-server tells a client without a token, until it hangs up."""
    host, _, port = url.removeprefix("nats://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b'CONNECT {"verbose": false}\r\nPING\r\n')
        async with asyncio.timeout(BOUND):
            return (await reader.read()).decode()
    finally:
        writer.close()


# When a server is started, and when it is not any more.


async def test_a_lazy_server_sleeps_and_an_eager_one_is_up(tmp_path: Path) -> None:
    servers = {
        "lazy": server("thin"),
        "eager": {"command": server("thin"), "start": "eager"},
        "eager-old": {"command": server("thin", "legacy"), "start": "eager"},
    }
    async with daemon(tmp_path, servers) as running:
        assert await processes(running, "lazy") == []
        assert len(await processes(running, "eager")) == 1
        listed = json.loads((await verb(tmp_path, "list", "--json")).out)

    found = {one["name"]: (one["eras"], one["tools"], one["state"]) for one in listed}
    assert found["lazy"] == ([], None, "asleep")
    assert found["eager"] == (["modern"], 8, "running")
    assert found["eager-old"][0] == ["legacy"]


async def test_an_idle_process_is_stopped_and_started_again(tmp_path: Path) -> None:
    config = {"command": server("thin"), "limits": {"idle_timeout": "1s"}}
    async with daemon(tmp_path, {"thin": config}) as running, await shim(tmp_path, "thin") as host:
        first = text_of(await host.call("pid"))
        await nothing_runs(running)
        second = text_of(await host.call("pid", bound=BOUND))

    assert first != second
    assert not Path(f"/proc/{first}").exists()


async def test_a_sessions_process_ends_with_its_session(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin", "legacy")}) as running:
        pids = []
        for _ in range(2):
            async with await shim(tmp_path, "thin") as host:
                await host.initialize(BOUND)
                pids.append(text_of(await host.call("pid", era="legacy")))
                assert await host.stop() == 0
            await nothing_runs(running)

    assert len(set(pids)) == 2


async def nothing_runs(running: Running) -> None:
    async with asyncio.timeout(BOUND):
        while await processes(running, "thin"):
            await asyncio.sleep(0.1)


async def test_a_server_at_work_is_not_idle(tmp_path: Path) -> None:
    config = {"command": server("thin"), "limits": {"idle_timeout": "1s"}}
    async with daemon(tmp_path, {"thin": config}), await shim(tmp_path, "thin") as host:
        slept = await host.call("sleep", bound=BOUND, seconds=2)

    assert text_of(slept) == "slept"


SECOND_TIME = """\
import os, pathlib, sys
flag = pathlib.Path(sys.argv[1])
if not flag.exists():
    flag.touch()
    print("no licence found", file=sys.stderr)
    print("giving up", file=sys.stderr)
    sys.exit(3)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_cannot_be_started_is_tried_again(tmp_path: Path, era: str) -> None:
    """The first caller reads why; the next call starts it, and the daemon goes on all the while."""
    script = tmp_path / "second_time.py"
    script.write_text(SECOND_TIME, encoding="utf-8")
    python, *thin = server("thin", era)
    command = [python, str(script), str(tmp_path / "flag"), *thin]
    servers = {"fails": {"command": command, "era": era}, "thin": server("thin")}
    async with daemon(tmp_path, servers) as running, await shim(tmp_path, "fails") as host:
        first = await (host.initialize(BOUND) if era == "legacy" else host.call("pid", bound=BOUND))
        await ready(host, era)
        second = await host.call("pid", era=era, bound=BOUND)
        async with await shim(tmp_path, "thin") as other:
            beside = await other.call("echo", text="hi")

    assert first["error"]["code"] == -31004
    assert "giving up" in first["error"]["message"]
    assert "status 3" in first["error"]["message"]
    assert text_of(second).isdigit()
    assert text_of(beside) == "hi"
    assert running.process.returncode == 0


@pytest.mark.parametrize("start", ["lazy", "eager"])
async def test_a_command_that_does_not_exist_is_named(tmp_path: Path, start: str) -> None:
    servers = {"none": {"command": ["/no/such/program"], "start": start}, "thin": server("thin")}
    async with daemon(tmp_path, servers), await shim(tmp_path, "none") as host:
        modern = await host.call("echo", bound=BOUND)
        async with await shim(tmp_path, "none") as old:
            legacy = await old.initialize(BOUND)
        async with await shim(tmp_path, "thin") as other:
            beside = await other.call("echo", text="hi")

    for answer in (modern, legacy):
        assert answer["error"]["code"] == -31004
        assert "/no/such/program" in answer["error"]["message"]
    assert text_of(beside) == "hi"
