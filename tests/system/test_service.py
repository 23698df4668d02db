"""The unit under a real systemd: it starts, says how it is, reloads, drains, leaves nothing."""

import re
import threading

from tests.system.service import Service, server

THIN = {"thin": server("thin", "modern")}


def test_it_is_ready_once_its_servers_can_be_called(service: Service) -> None:
    service.start(THIN)

    assert service.call("thin", "echo", text="hello") == "hello"
    assert service.show("ActiveState") == "active"


def test_it_is_ready_before_a_server_that_never_starts(service: Service) -> None:
    never = {"command": server("never_reads"), "start": "eager"}
    service.start({**THIN, "never": never}, drop_in="[Service]\nTimeoutStartSec=15s\n")

    assert service.call("thin", "echo", text="hello") == "hello"


def test_it_is_ready_without_nats_and_says_so(service: Service) -> None:
    service.start(THIN, nats={"url": "nats://127.0.0.1:1"})

    assert service.show("ActiveState") == "active"
    assert "127.0.0.1" in service.status_text or "NATS is away" in service.status_text
    assert service.status_text.endswith("would serve 1 server")


def test_its_status_is_a_sentence(service: Service) -> None:
    failing = {"command": server("exits_before_initialize"), "start": "eager"}
    service.start({**THIN, "github": failing})

    sentence = re.compile(r"serving 2 servers, (under )?\d+ calls?/s, 1 failing: github")

    def told() -> bool:
        service.call("thin", "pid")
        return sentence.fullmatch(service.status_text) is not None

    service.box.until(told, "a sentence of status", timeout=20)
    assert service.status_text in service.box.run("systemctl", "status", service.unit).stdout


def test_a_reload_takes_a_new_server_and_restarts_nothing(service: Service) -> None:
    service.start(THIN)
    before = service.pid, service.call("thin", "pid")

    service.configure({**THIN, "more": server("thin", "modern")})
    service.box.run("systemctl", "reload", service.unit)

    assert service.call("more", "echo", text="hello") == "hello"
    assert (service.pid, service.call("thin", "pid")) == before
    assert service.status_text.startswith("serving 2 servers")


def test_a_hangup_reloads(service: Service) -> None:
    service.start(THIN)
    before = service.pid

    service.configure({**THIN, "more": server("thin", "modern")})
    service.box.run("systemctl", "kill", "--signal=HUP", "--kill-who=main", service.unit)

    def reloaded() -> bool:
        """Tell whether it did upon the signal: it also does when a file changes."""
        whys = [one.get("MCPNATSD_WHY", "") for one in service.logged("reloaded")]
        return any("SIGHUP" in why for why in whys)

    service.box.until(reloaded, "a reload")
    assert service.call("more", "echo", text="hello") == "hello"
    assert service.pid == before


def test_a_reload_that_is_refused_fails_with_its_reason(service: Service) -> None:
    service.start(THIN)
    before = service.pid, service.call("thin", "pid")

    service.box.write(service.config, "servers:\n  thin: {comand: [x]}\n", mode=0o644)
    done = service.box.run("systemctl", "reload", service.unit, check=False)

    assert done.returncode == 1
    assert service.show("ActiveState") == "active"
    assert (service.pid, service.call("thin", "pid")) == before
    told = [one["MESSAGE"] for one in service.box.journal(service.unit)]
    assert [one for one in told if "/etc/mcpnatsd.yaml:2:" in one and "comand" in one]
    assert "not reloaded: /etc/mcpnatsd.yaml:2:" in service.status_text


def test_a_bad_file_at_the_start_is_not_tried_again(service: Service) -> None:
    service.start(THIN)
    service.stop()
    service.box.write(service.config, "servers:\n  thin: {comand: [x]}\n")

    done = service.box.run("systemctl", "start", service.unit, check=False)

    assert done.returncode != 0
    shown = service.box.show(service.unit)
    assert (shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"]) == (
        "failed",
        "78",
        "0",
    )


def test_a_bad_variable_at_the_start_is_not_tried_again(service: Service) -> None:
    service.start(THIN)
    service.stop()
    service.drop_in("[Service]\nEnvironment=LOG_LEVEL=loud\n")

    done = service.box.run("systemctl", "start", service.unit, check=False)

    assert done.returncode != 0
    shown = service.box.show(service.unit)
    assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("64", "0")
    errors = service.box.journal(service.unit, "--priority=err")
    assert "LOG_LEVEL=loud is none of" in errors[-1]["MESSAGE"] + errors[-2]["MESSAGE"]


def test_a_daemon_that_hangs_is_killed_and_started_again(service: Service) -> None:
    service.start(THIN, drop_in="[Service]\nWatchdogSec=1s\n")
    hung = service.pid

    service.box.signal("STOP", hung)
    service.box.until(lambda: service.pid not in (0, hung), "another daemon", timeout=30)
    service.box.until(lambda: service.show("SubState") == "running", "it is up", timeout=30)

    assert service.show("NRestarts") == "1"
    assert service.call("thin", "echo", text="hello") == "hello"
    said = [one["MESSAGE"] for one in service.box.journal(service.unit, f"_PID={hung}")]
    assert "Fatal Python error: Aborted" in said, "where it hung"


def test_a_daemon_that_is_killed_leaves_nothing_and_comes_back(service: Service) -> None:
    service.start({"family": server("grandchildren")})
    family = {int(pid) for pid in service.call("family", "family").split()}
    before = service.members()
    assert len(family) == 3
    assert family < set(before)

    service.box.signal("KILL", service.pid)
    service.box.until(lambda: service.show("NRestarts") == "1", "a restart")
    service.box.until(lambda: service.show("SubState") == "running", "it is up")

    assert not set(before) & set(service.members())
    assert not set(before) & set(service.box.processes())


def test_a_stop_lets_a_call_finish(service: Service) -> None:
    service.start(THIN, drop_in="[Service]\nTimeoutStopSec=1s\n")
    answers: list[str] = []
    calling = threading.Thread(
        target=lambda: answers.append(service.call("thin", "sleep", seconds=3))
    )
    calling.start()
    service.box.until(lambda: "call thin sleep" in str(service.box.processes()), "a caller")
    service.box.until(lambda: 'in_flight": 1' in status(service), "a call in flight")

    service.stop()
    calling.join()

    assert answers == ["slept"]
    assert service.show("Result") == "success"


def test_a_stop_leaves_nothing(service: Service) -> None:
    service.start({"family": server("grandchildren")})
    family = {int(pid) for pid in service.call("family", "family").split()}
    members = service.members()

    service.stop()

    assert not (family | set(members)) & set(service.box.processes())
    assert service.box.run("ls", "/run").stdout.split().count("mcpnatsd") == 0
    assert (service.show("Result"), service.show("ExecMainStatus")) == ("success", "0")


def status(service: Service) -> str:
    return service.box.run("mcpnatsd", "status", "--json", "--name", service.name).stdout
