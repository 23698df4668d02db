"""What `status` shows, and what it says when nobody answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpnatsd.config import runtime
from mcpnatsd.errors import NoDaemon
from mcpnatsd.verbs.status import asked, rendered, status

ANSWER = {
    "name": "blue",
    "version": "0.1.0",
    "pid": 7,
    "uptime_seconds": 61.2,
    "config": "/etc/mcpnatsd.yaml",
    "nats": {
        "url": "nats://127.0.0.1:4222",
        "connected": False,
        "embedded": False,
        "trouble": "NATS refuses us: no",
    },
    "servers": [
        {
            "name": "time",
            "state": "running",
            "eras": "modern,legacy",
            "error": None,
            "queue": 1,
            "in_flight": 2,
            "calls": 30,
            "errors": 4,
            "restarts": 5,
            "sessions": 1,
            "processes": [{"pid": 8, "rss_bytes": 12_000_000}, {"pid": 9, "rss_bytes": None}],
        },
        {"name": "git", "state": "failing", "error": "exited with status 3"},
    ],
    "endpoints": [{"unix": "/run/git.sock", "server": "git", "clients": 2}],
}


@asynccontextmanager
async def answering(folder: Path, line: bytes) -> AsyncIterator[Path]:
    """Serve a control socket that answers one line with another."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert json.loads(await reader.readline()) == {"verb": "status"}
        writer.write(line)
        writer.close()

    path = folder / "blue.sock"
    async with await asyncio.start_unix_server(answer, path):
        yield path


PAGE = """\
blue: mcpnatsd 0.1.0, pid 7, up 1 min 1 s
configuration: /etc/mcpnatsd.yaml
NATS: nats://127.0.0.1:4222 (NATS refuses us: no; trying again)

SERVER  STATE    ERA            PID  MEMORY  RESTARTS  REQUESTS  ERRORS  IN-FLIGHT  QUEUE
time    running  modern,legacy  8 9  12 MB   5         30        4       2          1
git     failing  -              -    -       0         0         0       0          0

git: exited with status 3

ENDPOINT       SERVER  CLIENTS
/run/git.sock  git     2"""


def test_a_page_tells_what_the_daemon_does() -> None:
    assert rendered(ANSWER) == PAGE


def test_a_daemon_without_servers_has_a_page_too() -> None:
    assert "no servers are configured" in rendered({})


def test_a_page_says_how_often_the_files_were_taken_over() -> None:
    reload = {"files": ["a", "b", "c"], "applied": 2, "loaded_at": "then", "stale": None}
    page = rendered({**ANSWER, "reload": reload})

    assert "/etc/mcpnatsd.yaml and 2 drop-ins, reloaded 2 times, as of then\n" in page
    assert "not what runs" not in page


def test_a_page_says_that_the_files_are_not_what_runs_and_why() -> None:
    page = rendered({**ANSWER, "reload": {"files": ["a"], "stale": "a:1:1: wrong\nb:2:2: too"}})

    assert "what the files say now is not what runs:\na:1:1: wrong\nb:2:2: too\n" in page
    assert "a restart would fail" not in page


def test_a_page_says_that_with_these_files_no_restart_would_work() -> None:
    reload = {"files": ["a"], "stale": "a:1:1: wrong", "restart_would_fail": True}

    page = rendered({**ANSWER, "reload": reload})

    assert "a:1:1: wrong\na restart would fail until this is right\n" in page


def test_a_page_says_of_a_daemon_that_leaves_the_bus_that_it_does() -> None:
    assert "up 1 min 1 s, draining\n" in rendered({**ANSWER, "draining": True})
    assert "draining" not in rendered({**ANSWER, "draining": False})


async def test_a_daemon_is_asked_on_its_socket(tmp_path: Path) -> None:
    async with answering(tmp_path, json.dumps(ANSWER).encode() + b"\n") as path:
        assert await asked(path, "status") == ANSWER


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]\n", "no object"),
        (b"\xff\n", "not JSON"),
        (b'{"error": "unknown verb"}\n', "unknown verb"),
    ],
)
async def test_an_answer_that_is_none_is_an_error(
    tmp_path: Path, line: bytes, complaint: str
) -> None:
    async with answering(tmp_path, line) as path:
        with pytest.raises(NoDaemon, match=complaint):
            await asked(path, "status")


async def test_a_socket_that_nobody_serves_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="cannot be asked"):
        await asked(tmp_path / "blue.sock", "status")


async def test_without_a_daemon_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match="start `mcpnatsd run`"):
        await status({runtime.OVERRIDE: str(tmp_path)}, None, as_json=False)


def test_a_server_that_was_removed_is_shown_while_it_finishes_what_is_open() -> None:
    gone = {"name": "old", "state": "running", "in_flight": 3, "processes": [{"pid": 11}]}
    page = rendered({**ANSWER, "servers": [], "leaving": [gone]})

    assert [line.split() for line in page.splitlines() if line.startswith("old")] == [
        ["old", "leaving", "-", "11", "-", "0", "0", "0", "3", "0"]
    ]
    assert "no servers are configured" not in page
