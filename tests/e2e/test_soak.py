"""The soak of `make soak` in small: half a minute, everything killed and reloaded meanwhile.

First come tests of the soak itself: it must see what it looks for.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import gone
from tests.soak import machine, verdict
from tests.soak.__main__ import soaked
from tests.soak.client import Client
from tests.soak.ledger import Ledger
from tests.soak.plan import Era, Served, Size, Who

SMALL = Size(
    seconds=30.0,
    servers=10,
    clients=30,
    calls_a_second=50.0,
    sockets=5,
    shims=2,
    http_clients=4,
    reload_every=3.0,
    small_kill_every=1.5,
    big_kill_every=6.0,
    daemons_die_for=0.8,
)
MUST_BE_DONE = ("reload of behind", "removed", "server process killed")


class Asked:
    """A client of the soak with a session, and what it sent."""

    def __init__(self, era: Era = "legacy") -> None:
        served = Served("srv", "both", "auto", "stable")
        self.ledger = Ledger()
        who = Who("c1", era, "edge", served, asked=False)
        self.client = Client(who, self.ledger, random.Random(1), {"srv": 1})
        self.sent: list[dict[str, Any]] = []
        self.client.connected(lambda line: self.sent.append(json.loads(line)))
        if era == "legacy":
            self.receive(id=1, result={})
        self.call = self.client.call()

    def receive(self, **message: Any) -> None:
        self.client.receive(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def answer(self, **other: object) -> None:
        """Answer the call; `other` replaces what the answer should say."""
        text = {"nonce": self.call.nonce, "server": "srv", "client": "c1", "version": 1, **other}
        content = [{"type": "text", "text": json.dumps(text)}]
        self.receive(id=self.call.id, result={"content": content})


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_right_answer_is_no_violation(era: Era) -> None:
    asked = Asked(era)
    asked.answer()

    assert asked.ledger.violations == []
    assert asked.call.how == "answer"
    assert not asked.ledger.open


@pytest.mark.parametrize(
    "other",
    [{"nonce": "c2.7"}, {"server": "s2"}, {"client": "c2"}],
    ids=["call", "server", "client"],
)
def test_an_answer_of_somebody_else_is_seen(other: dict[str, str]) -> None:
    asked = Asked()
    asked.answer(**other)

    assert "a crossed answer" in asked.ledger.violations[0]


def test_an_answer_of_a_version_that_was_replaced_is_seen() -> None:
    asked = Asked("modern")
    asked.answer(version=0)

    assert "answered by version 0" in asked.ledger.violations[0]


def test_a_second_end_is_seen() -> None:
    asked = Asked()
    asked.receive(id=asked.call.id, error={"code": -31005, "message": "lost"})
    asked.answer()

    assert "a second answer" in asked.ledger.violations[0]


def test_an_answer_to_nothing_is_seen() -> None:
    asked = Asked()
    asked.receive(id=99, result={})

    assert "never asked for" in asked.ledger.violations[0]


def test_progress_of_somebody_else_is_seen() -> None:
    asked = Asked()
    params = {"progressToken": asked.call.id, "progress": 1, "message": "c2.7"}
    asked.receive(method="notifications/progress", params=params)

    assert "progress of somebody else" in asked.ledger.violations[0]


def test_an_error_that_no_loss_explains_is_seen() -> None:
    asked = Asked()
    asked.receive(id=asked.call.id, error={"code": -32603, "message": "oops"})

    assert "an error of another kind" in asked.ledger.violations[0]


def test_a_lost_call_is_laid_to_what_was_done_to_its_server_meanwhile() -> None:
    asked = Asked()
    asked.ledger.over(asked.ledger.window("server process killed", server="other"))
    assert not asked.ledger.why(asked.call)

    asked.ledger.over(asked.ledger.window("server process killed", server="srv"))
    asked.receive(id=asked.call.id, error={"code": -31004, "message": "died"})

    assert asked.ledger.why(asked.call) == "server process killed"
    assert list(asked.ledger.lost()) == [asked.call]


async def test_a_process_that_outlived_its_parent_is_an_orphan() -> None:
    token = f"test-{os.getpid()}"
    start = "import subprocess as s; print(s.Popen(['sleep', '60'], stdout=s.DEVNULL).pid)"
    done = subprocess.run(
        [sys.executable, "-c", start], env={**os.environ, machine.MARK: token},
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    pid = int(done.stdout)
    try:
        assert set(machine.orphans(token, os.getpid())) == {pid}
    finally:
        os.kill(pid, 9)
    await gone(pid)
    assert machine.orphans(token, os.getpid()) == {}


@pytest.mark.timeout(300)
def test_whatever_is_killed_or_reloaded_no_call_is_crossed_hangs_or_is_lost_untold(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "soak"
    folder.mkdir()

    soak = soaked(SMALL, 1, folder)

    assert soak.ledger.violations == [], verdict.page(soak)
    assert all(soak.ledger.done[what] for what in MUST_BE_DONE), soak.ledger.done
    assert verdict.answered(soak) > 300
