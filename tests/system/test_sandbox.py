"""What the unit lets a server do, and what a server learns of the unit."""

import json

import pytest

from tests.system.service import Service, server

THIN = {"thin": server("thin", "modern")}
UNITS = ("mcpnatsd.service", "mcpnatsd@lab.service")
MOST_EXPOSED = 12
"""In tenths, as systemd-analyze counts."""

OF_SYSTEMD = {
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOG_NAMESPACE",
    "MAINPID",
    "MANAGERPID",
    "MCPNATSD_RUNTIME_DIRECTORY",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "REMOTE_ADDR",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TRIGGER_UNIT",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
}


@pytest.mark.parametrize("unit", UNITS)
def test_its_exposure_is_small(service: Service, unit: str) -> None:
    """Exposure 1.2 at most, of 10."""
    threshold = f"--threshold={MOST_EXPOSED}"

    service.box.run("systemd-analyze", "security", "--no-pager", threshold, unit)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong_with_it(service: Service, unit: str) -> None:
    path = f"/usr/lib/systemd/system/{unit}".replace("@lab", "@")
    said = service.box.run("systemd-analyze", "verify", "--man=no", path).stderr

    # Debian 12 says of three keys that it does not know them yet.
    complaints = [line for line in said.splitlines() if "Unknown key" not in line]
    assert complaints == []


def test_a_server_has_no_privileges(service: Service) -> None:
    service.start(THIN)
    pid = int(service.call("thin", "pid"))

    lines = service.box.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid = service.box.run("id", "-u", "mcpnatsd").stdout.strip()
    assert set(status["Uid"].split()) == {uid}


def test_a_server_writes_where_it_may_and_nowhere_else(service: Service) -> None:
    service.box.run("mkdir", "-p", "/home/somebody/private")
    service.start({"shell": server("shell")})

    allowed = [
        "echo x > $HOME/x",
        "echo x > $NPM_CONFIG_CACHE.x",
        "echo x > $UV_CACHE_DIR.x",
        "echo x > /tmp/x",
    ]
    forbidden = [
        "echo x > /etc/x",
        "echo x > /usr/local/x",
        "echo x > /srv/servers/x",
        "ls /home/somebody",
        "cat /etc/shadow",
        "cat /etc/mcpnatsd/credentials/*",
        "unshare --user true",
        "mount -t tmpfs x /tmp",
        "kill -0 1",
    ]

    told = json.loads(service.call("shell", "run", scripts=[*allowed, *forbidden]))

    statuses = dict(zip([*allowed, *forbidden], told, strict=True))
    assert {script for script, status in statuses.items() if status == 0} == set(allowed)
    assert not service.box.path("/tmp/x").exists(), "its /tmp is its own"


def test_an_endpoint_is_open_to_whom_its_mode_says(service: Service) -> None:
    public, own = "/run/mcpnatsd/public.sock", "/run/mcpnatsd/own.sock"
    endpoints = [
        {"unix": public, "server": "thin", "mode": "0666"},
        {"unix": own, "server": "thin"},
    ]
    service.start(THIN, endpoints=endpoints)
    service.box.until(lambda: service.box.path(own).exists(), "both endpoints")

    def connects(path: str) -> bool:
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
        argv = ["setpriv", "--reuid=nobody", "--clear-groups", "python3", "-c", script]
        return service.box.run(*argv, check=False).returncode == 0

    assert connects(public)
    assert not connects(own)
    assert not connects("/run/mcpnatsd/mcpnatsd.sock")


def test_nothing_that_the_daemon_started_inherits_what_is_systemds(service: Service) -> None:
    service.start(THIN, drop_in="[Service]\nWatchdogSec=60s\n")
    started = {int(service.call("thin", "pid"))} | set(service.members()) - {service.pid}

    assert len(started) == 3, "a reaper, a nats-server and a server"
    for pid in started:
        variables = service.box.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
        assert not {one.partition("=")[0] for one in variables} & OF_SYSTEMD


def test_a_credential_is_a_file_in_a_folder(service: Service) -> None:
    service.box.write("/etc/mcpnatsd/credentials/api-token", "s3cret\n", mode=0o600)
    token = {"TOKEN": "${credential:api-token}"}
    service.start({"thin": {"command": server("thin", "modern"), "env": token}})

    assert service.call("thin", "env", name="TOKEN") == "s3cret"
    assert "s3cret" not in str(service.box.journal(service.unit))


def test_a_credential_that_is_not_there_is_named(service: Service) -> None:
    token = {"TOKEN": "${credential:nope}"}
    service.configure({"thin": {"command": server("thin", "modern"), "env": token}})

    done = service.box.run("systemctl", "restart", service.unit, check=False)

    assert done.returncode != 0
    assert service.show("ExecMainStatus") == "78"
    (said,) = service.logged("mcpnatsd: /etc/mcpnatsd.yaml:")[-1:]
    assert "put it into /etc/mcpnatsd/credentials/" in said["MESSAGE"]
