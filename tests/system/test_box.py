"""The boxes themselves: they are apart from each other and from this machine, and leave nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system import cgroups, trees
from tests.system.box import Box, runs

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys, time
from pathlib import Path
from tests.system.box import Box
with Box(Path(sys.argv[1])) as box:
    print(box.leader, flush=True)
    time.sleep(600)
"""


def left() -> list[Path]:
    """Return the cgroups of boxes that are there, of this process or of one that is gone."""
    found = [path for top in cgroups.own() for path in top.glob("mcpnatsd-box-*")]
    return [path for path in found if not cgroups.is_anothers(path)]


def test_a_box_leaves_nothing(suite: str) -> None:
    before, mounts = left(), Path("/proc/mounts").read_text("utf-8")
    with Box(trees.tree(suite)) as box:
        leader = box.leader
        box.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
        assert runs(leader)

    assert not runs(leader)
    assert Path("/proc/mounts").read_text("utf-8") == mounts
    assert left() == before


def test_a_box_leaves_nothing_when_a_test_fails(suite: str) -> None:
    before = left()
    leaders = []

    def failing() -> None:
        with Box(trees.tree(suite)) as box:
            leaders.append(box.leader)
            box.run("sh", "-c", "exit 3")

    with pytest.raises(AssertionError, match="ended with 3"):
        failing()
    assert not runs(leaders[0])
    assert left() == before


def test_a_box_dies_with_the_tests_that_made_it(suite: str) -> None:
    before = left()
    argv = [sys.executable, "-c", KILLED, str(trees.tree(suite))]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        leader = int(tests.stdout.readline())
        tests.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while runs(leader):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)

    cgroups.sweep()
    assert left() == before


def test_what_a_box_writes_is_in_no_other(suite: str) -> None:
    with Box(trees.tree(suite)) as one, Box(trees.tree(suite)) as two:
        one.write("/etc/written", "by one\n")

        assert one.run("cat", "/etc/written").stdout == "by one\n"
        assert not two.path("/etc/written").exists()
        assert not (trees.tree(suite) / "etc/written").exists()
        assert one.leader not in two.processes()


def test_a_box_has_no_network(suite: str) -> None:
    with Box(trees.tree(suite)) as box:
        assert box.run("ls", "/sys/class/net").stdout.split() == ["lo"]
