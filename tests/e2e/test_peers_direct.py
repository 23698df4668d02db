"""The peers, without us: what fails here is not our fault."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import peers

SMALL = ["py1", "py2", "ts1", "ts2"]
DUAL_ERA = ["py2", "ts2"]


def check(found: dict[str, Any]) -> None:
    assert found["tools"] == peers.TOOLS
    assert found["echo"] == "grüße 🌍"
    assert found["add"] == "5"
    assert (found["progressed"], found["progress"]) == ("done", [1, 2, 3, 4, 5])
    assert "fail" in found["failed"]
    assert found["refused"] in (0, -32602)
    assert found["resource"] == "hello"
    assert found["prompt"] == "Greet Ann."
    assert found["big"] == 2_000_000
    assert found["cancelled"]
    assert found["noticed"]
    assert found["asked"] == ["Who?", "Why?"]
    assert (found["elicited"], found["sampled"]) == ("Who? Änn", "Why? forty-two")
    assert found["updated"]
    assert found["changed"]
    assert found["grown"]


@pytest.mark.parametrize("server", SMALL)
@pytest.mark.parametrize("client", SMALL)
def test_a_legacy_pair_works(client: str, server: str) -> None:
    found = peers.direct(client, server, "legacy")

    check(found)
    assert found["protocol"] == "2025-11-25"


@pytest.mark.parametrize("server", DUAL_ERA)
@pytest.mark.parametrize("client", DUAL_ERA)
def test_a_modern_pair_works(client: str, server: str) -> None:
    found = peers.direct(client, server, "modern")

    check(found)
    assert found["protocol"] == peers.MODERN


@pytest.mark.parametrize("client", DUAL_ERA)
@pytest.mark.parametrize(("server", "protocol"), [("ts1", "2025-11-25"), ("ts2", peers.MODERN)])
def test_auto_finds_the_servers_era(client: str, server: str, protocol: str) -> None:
    found = peers.direct(client, server, "auto")

    check(found)
    assert found["protocol"] == protocol


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("server", "tool", "arguments", "expected"),
    [
        ("everything", "echo", {"message": "hi"}, "hi"),
        ("memory", "read_graph", {}, "entities"),
        ("filesystem", "list_allowed_directories", {}, "{folder}"),
        ("time", "get_current_time", {"timezone": "UTC"}, "UTC"),
        ("git", "git_status", {"repo_path": "{folder}"}, "No commits yet"),
    ],
)
def test_a_published_server_works(
    repository: Path, server: str, tool: str, arguments: dict[str, str], expected: str
) -> None:
    folder = str(repository)
    given = json.dumps({name: text.format(folder=folder) for name, text in arguments.items()})
    command = peers.command_of(server, *([folder] if server == "filesystem" else []))

    found = peers.play("py2", command, "--call", tool, "--arguments", given)

    assert tool in found["tools"]
    assert expected.format(folder=folder) in found["text"]
    assert not found["is_error"]
