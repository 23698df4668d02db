"""Booted Debian trees for whoever asks.

Tests of one suite run one after the other, as they share a box; so do other tests of one file.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.system import built, launchers, trees
from tests.system.box import Box
from tests.system.possible import obstacle
from tests.system.service import SERVERS, THERE, Service

TOOLS = ("lintian", "rpmlint", "rpm", "dnf", "createrepo-c", "man-db", "zsh", "fish")


@pytest.fixture(scope="session", autouse=True)
def _possible() -> None:
    """Fail, rather than skip, on a machine that cannot boot a tree."""
    why = obstacle()
    assert not why, f"this machine cannot run the system tests: {why}"
    trees.install_tools()


class BySuite(LoadScopeScheduling):
    """What one worker does: a suite, or a file that has none.

    `xdist_group` would say it, but xdist 3.8 forgets its groups under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return next((name for name in trees.SUITES if re.search(rf"[\[-]{name}\b", test)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySuite:
    return BySuite(config, log)


@pytest.fixture(scope="session", params=trees.SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """The name of a Debian: bookworm, then trixie."""
    return str(request.param)


@pytest.fixture
def box(suite: str) -> Iterator[Box]:
    """A fresh system of that suite, with nothing of ours in it."""
    with Box(trees.tree(suite)) as box:
        yield box


@pytest.fixture(scope="session")
def service(suite: str) -> Iterator[Service]:
    """The package installed in a box that tests of one suite share: start it as you need it."""
    with Box(trees.tree(suite), binds=launchers.prepare()) as box:
        box.put(SERVERS, THERE)
        box.put(built.deb(), "/root/mcpnatsd.deb")
        box.run("dpkg", "--install", "/root/mcpnatsd.deb")
        yield Service(box)


@pytest.fixture(scope="session")
def tools() -> Iterator[Box]:
    """A system with what looks at packages, and with the shells: the package is not installed."""
    with Box(trees.tree("trixie", *TOOLS)) as box:
        yield box
