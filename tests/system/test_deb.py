"""The deb in a Debian: installed, upgraded, disabled, removed and purged, without a network."""

from pathlib import Path

import pytest

from tests.system import built
from tests.system.box import Box
from tests.system.service import SERVERS, THERE, Service, server

HERE = "/root/mcpnatsd.deb"
LATER = "/root/later.deb"
THIN = {"thin": server("thin", "modern")}
CONFIG = "/etc/mcpnatsd.yaml"

# Another version of the same package; with a second argument, it has another configuration.
REPACK = """
set -e
rm -rf /root/unpacked
dpkg-deb --raw-extract /root/mcpnatsd.deb /root/unpacked
cd /root/unpacked
sed -i "s/^Version: .*/Version: $1/" DEBIAN/control
[ -z "$2" ] || printf '%s\\n' "$2" >>etc/mcpnatsd.yaml
dpkg-deb --root-owner-group -Znone --build . /root/later.deb
"""
OWN = 'find / -xdev -name "*mcpnatsd*" -not -path "/proc/*" -not -path "/root/*"'


@pytest.fixture
def fresh(box: Box) -> Service:
    """A system with the package beside it, and nothing of it installed."""
    box.put(SERVERS, THERE)
    box.put(built.deb(), HERE)
    return Service(box)


@pytest.fixture
def installed(fresh: Service) -> Service:
    fresh.box.run("dpkg", "--install", HERE)
    return fresh


def repack(box: Box, version: str, appended: str = "") -> None:
    box.run("sh", "-c", REPACK, "sh", version, appended)


def stats(box: Box, *paths: str) -> list[str]:
    return box.run("stat", "--format", "%a %U:%G", *paths).stdout.splitlines()


def files(box: Box) -> list[str]:
    return box.run("sh", "-c", OWN).stdout.splitlines()


def test_it_is_installed_enabled_started_and_works_without_a_network(fresh: Service) -> None:
    box = fresh.box
    assert box.run("sh", "-c", "cd / && tail -n +2 /proc/net/route").stdout == ""

    said = box.run("dpkg", "--install", HERE)

    assert "warning" not in (said.stdout + said.stderr).lower()
    assert box.run("systemctl", "is-enabled", "mcpnatsd").stdout == "enabled\n"
    assert fresh.show("ActiveState") == "active"
    assert "(connected, embedded)" in box.run("mcpnatsd", "status").stdout
    assert "nats-server" in " ".join(fresh.members().values())

    folders = ("/etc/mcpnatsd", "/etc/mcpnatsd/conf.d", "/etc/mcpnatsd/credentials")
    assert stats(box, CONFIG, *folders) == [
        "640 root:mcpnatsd",
        "755 root:root",
        "750 root:mcpnatsd",
        "700 root:root",
    ]

    box.write("/etc/mcpnatsd/conf.d/thin.yaml", f"servers: {{thin: {{command: {THIN['thin']}}}}}\n")
    box.run("systemctl", "reload", "mcpnatsd")

    assert fresh.call("thin", "echo", text="hello") == "hello"


def test_everything_is_compiled_for_this_python_and_for_the_next(service: Service) -> None:
    box = service.box
    sources = box.run("find", "/usr/lib/mcpnatsd", "-name", "*.py").stdout.split()
    compiled = ("find", "/usr/lib/mcpnatsd", "-name", "*.pyc")
    assert len(box.run(*compiled).stdout.split()) == len(sources) > 500

    box.run(*compiled, "-delete")
    box.run("/usr/share/python3/runtime.d/mcpnatsd.rtupdate", "rtupdate", "python3.1", "python3.2")

    assert len(box.run(*compiled).stdout.split()) == len(sources)
    changed = box.run("dpkg", "--verify", "mcpnatsd", check=False).stdout.split()
    assert set(changed) <= {"??5??????", "c", CONFIG}


def test_an_upgrade_keeps_a_configuration_that_was_edited_and_restarts(installed: Service) -> None:
    box = installed.box
    installed.start(THIN)
    edited, before = box.read(CONFIG), installed.pid

    repack(box, "9.0-1")
    box.run("dpkg", "--install", LATER)

    assert (box.read(CONFIG), stats(box, CONFIG)) == (edited, ["640 root:mcpnatsd"])
    assert installed.pid not in (0, before)
    assert installed.call("thin", "echo", text="hello") == "hello"
    assert not [path for path in files(box) if "dpkg-" in Path(path).name]

    repack(box, "9.1-1", appended="name: other")
    box.run("dpkg", "--force-confold", "--install", LATER)

    assert (box.read(CONFIG), stats(box, CONFIG)) == (edited, ["640 root:mcpnatsd"])
    assert "name: other" in box.read(f"{CONFIG}.dpkg-dist")


def test_what_was_disabled_and_stopped_stays_so_over_an_upgrade(installed: Service) -> None:
    box = installed.box
    box.run("systemctl", "disable", "--now", "mcpnatsd")

    repack(box, "9.0-1")
    box.run("dpkg", "--install", LATER)

    assert box.run("systemctl", "is-enabled", "mcpnatsd", check=False).stdout == "disabled\n"
    assert installed.show("ActiveState") == "inactive"


def test_a_second_daemon_is_an_instance_of_the_template(installed: Service) -> None:
    box = installed.box
    second = Service(box, "mcpnatsd@second", "/etc/mcpnatsd/second.yaml")
    second.start(THIN)
    before = second.pid

    assert second.call("thin", "echo", text="hello") == "hello"
    repack(box, "9.0-1")
    box.run("dpkg", "--install", LATER)
    assert second.pid not in (0, before)

    box.run("dpkg", "--remove", "mcpnatsd")
    assert [one for one in box.processes().values() if "mcpnatsd" in one] == []


def test_removing_it_keeps_configuration_and_state_and_purging_leaves_the_user(
    fresh: Service,
) -> None:
    box = fresh.box
    clean = files(box)
    box.run("dpkg", "--install", HERE)
    fresh.configure(THIN)
    box.run("systemctl", "reload", "mcpnatsd")
    fresh.call("thin", "echo", text="hello")
    edited, state = box.read(CONFIG), box.run("find", "/var/lib/mcpnatsd", "-type", "f").stdout

    box.run("dpkg", "--remove", "mcpnatsd")

    assert [one for one in box.processes().values() if "mcpnatsd" in one] == []
    assert not box.path("/usr/lib/mcpnatsd").exists()
    assert not box.path("/usr/bin/mcpnatsd").exists()
    assert box.read(CONFIG) == edited
    assert state == box.run("find", "/var/lib/mcpnatsd", "-type", "f").stdout != ""

    box.run("dpkg", "--install", HERE)

    assert fresh.show("ActiveState") == "active"
    assert fresh.call("thin", "echo", text="hello") == "hello"

    box.run("dpkg", "--purge", "mcpnatsd")

    assert files(box) == clean
    assert "mcpnatsd:" in box.run("getent", "passwd", "mcpnatsd").stdout
    assert "mcpnatsd" not in box.run("systemctl", "list-unit-files", "--no-legend").stdout
