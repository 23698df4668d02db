"""The units of systemd: one for a host, one for each of several daemons, the same but for names."""

import re
from pathlib import Path

import pytest

from mcpnatsd.daemon.draining import DRAIN_FOR

FOLDER = Path(__file__).parents[2] / "systemd"
NAMED = ("Description", "ExecStart", "RuntimeDirectory", "StateDirectory", "WorkingDirectory",
         "Environment", "EnvironmentFile")  # fmt: skip


def directives(name: str) -> list[str]:
    """Return the lines that systemd reads."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_template_is_the_unit_but_for_what_has_a_name() -> None:
    plain, template = directives("mcpnatsd.service"), directives("mcpnatsd@.service")

    assert len(plain) == len(template)
    other = {one.partition("=")[0] for one, two in zip(plain, template, strict=True) if one != two}
    assert other == set(NAMED)


@pytest.mark.parametrize("unit", ["mcpnatsd.service", "mcpnatsd@.service"])
def test_the_stop_is_given_longer_than_a_drain(unit: str) -> None:

    (timeout,) = [line for line in directives(unit) if line.startswith("TimeoutStopSec=")]
    assert int(timeout.removeprefix("TimeoutStopSec=").removesuffix("s")) >= DRAIN_FOR + 10


@pytest.mark.parametrize("unit", ["mcpnatsd.service", "mcpnatsd@.service"])
def test_nothing_is_said_twice(unit: str) -> None:
    """A second line wins or adds, and either is easily overlooked."""
    names = [line.partition("=")[0] for line in directives(unit) if "=" in line]

    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"Environment", "SystemCallFilter"}


def test_the_folders_of_the_unit_are_those_that_are_made() -> None:
    unit, made = (
        "\n".join(directives("mcpnatsd.service")),
        "\n".join(directives("mcpnatsd.tmpfiles")),
    )

    for path in re.findall(r"/etc/mcpnatsd\S*", unit):
        assert path in made
