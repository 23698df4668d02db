"""Published servers, each called by clients of the era that it does not speak."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.running import Running, connect_command, daemon

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEGACY_CLIENTS = ("py1", "ts1")
MODERN_CLIENTS = ("py2", "ts2")
BOUND = 45.0

ERAS = {
    "everything": ("legacy",),
    "filesystem": ("legacy",),
    "memory": ("legacy",),
    "time": ("legacy", "modern"),
    "git": ("legacy", "modern"),
}
"""The eras that each server knows: it is held to each of them in turn."""

CALLS: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
    "everything": {
        "echo": ({"message": "grüße"}, "grüße"),
        "trigger-sampling-request": ({"prompt": "Why?"}, "forty-two"),
        "trigger-elicitation-request": ({}, "Änn"),
    },
    "filesystem": {"list_allowed_directories": ({}, "{folder}/shared")},
    "memory": {"read_graph": ({}, "entities")},
    "time": {"get_current_time": ({"timezone": "UTC"}, "UTC")},
    "git": {"git_status": ({"repo_path": "{folder}/shared"}, "No commits yet")},
}
"""Tools of each, with arguments, and with a part of the answer."""


@dataclass(frozen=True)
class Call:
    """One tool of a server that is held to an era, by a client of the other."""

    client: str
    server: str
    era: str
    tool: str

    def __str__(self) -> str:
        return f"{self.client} calls {self.tool} of {self.server}, which is {self.era}"

    @property
    def mode(self) -> str:
        return "modern" if self.era == "legacy" else "legacy"


PLAYED = [
    Call(client, server, era, tool)
    for server, eras in ERAS.items()
    for era in eras
    for client in (MODERN_CLIENTS if era == "legacy" else LEGACY_CLIENTS)
    for tool in CALLS[server]
]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def published(
    nats_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """One daemon with each published server in each era that it knows."""
    folder = tmp_path_factory.mktemp("published")
    shared = folder / "shared"
    subprocess.run(["git", "init", "--quiet", str(shared)], check=True)
    more = {"filesystem": (str(shared),)}
    servers = {
        f"{name}-{era}": {"command": peers.command_of(name, *more.get(name, ())), "era": era}
        for name, eras in ERAS.items()
        for era in eras
    }
    async with daemon(folder, servers, nats_url=nats_url) as running:
        yield running


@pytest.mark.parametrize("call", PLAYED, ids=str)
async def test_a_published_server_is_called_from_the_other_era(
    published: Running, record_property: Callable[[str, object], None], call: Call
) -> None:
    record_property("published", (str(call), "FAIL"))
    folder = str(published.folder)
    arguments, wanted = CALLS[call.server][call.tool]
    given = json.dumps(arguments).replace("{folder}", folder)
    options = ["--mode", call.mode, "--call", call.tool, "--arguments", given]
    command = connect_command(published.folder, f"{call.server}-{call.era}")

    found = await asyncio.to_thread(peers.play, call.client, command, *options, bound=BOUND)

    assert (found["protocol"] == peers.MODERN) == (call.mode == "modern")
    assert call.tool in found["tools"]
    assert wanted.replace("{folder}", folder) in found["text"]
    assert not found["is_error"]
    record_property("published", (str(call), "ok"))
