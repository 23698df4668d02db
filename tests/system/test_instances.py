"""Several daemons on one host: units of the template, beside the plain one."""

from collections.abc import Iterator

import pytest

from tests.system.service import Service, server

THIN = {"thin": server("thin", "modern")}


@pytest.fixture
def lab(service: Service) -> Iterator[Service]:
    lab = Service(service.box, "mcpnatsd@lab", "/etc/mcpnatsd/lab.yaml")
    yield lab
    lab.stop()


def test_an_instance_runs_beside_the_plain_unit(service: Service, lab: Service) -> None:
    service.start(THIN)
    lab.start({"only_there": server("thin", "modern")})

    assert service.call("thin", "echo", text="plain") == "plain"
    assert lab.call("only_there", "echo", text="lab") == "lab"
    assert service.pid != lab.pid
    assert service.call("thin", "env", name="HOME") == "/var/lib/mcpnatsd"
    assert lab.call("only_there", "env", name="HOME") == "/var/lib/mcpnatsd-lab"


def test_an_instance_reloads_itself_alone(service: Service, lab: Service) -> None:
    service.start(THIN)
    lab.start(THIN)
    reloads = len(service.logged("reloaded"))

    lab.configure({**THIN, "more": server("thin", "modern")})
    service.box.run("systemctl", "reload", lab.unit)

    assert lab.call("more", "echo", text="hello") == "hello"
    assert len(service.logged("reloaded")) == reloads


def test_a_stop_of_one_leaves_the_other_alone(service: Service, lab: Service) -> None:
    service.start(THIN)
    lab.start(THIN)

    service.stop()
    assert lab.call("thin", "echo", text="still here") == "still here"

    service.start(THIN)
    lab.stop()
    assert service.call("thin", "echo", text="still here") == "still here"
    assert service.box.run("ls", "/run").stdout.split().count("mcpnatsd-lab") == 0


def test_an_instance_without_a_file_fails_once_and_says_so(service: Service) -> None:
    done = service.box.run("systemctl", "start", "mcpnatsd@nothing", check=False)

    assert done.returncode != 0
    shown = service.box.show("mcpnatsd@nothing")
    assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("78", "0")
    said = [one["MESSAGE"] for one in service.box.journal("mcpnatsd@nothing")]
    assert [one for one in said if "/etc/mcpnatsd/nothing.yaml" in one]
