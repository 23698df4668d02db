"""What the journal has of the unit: lines for people, and fields to look for."""

import pytest

from tests.system.service import Service, server

THIN = {"thin": server("thin", "modern")}


def test_an_entry_has_a_field_for_its_server(service: Service) -> None:
    service.start({**THIN, "other": server("thin", "modern")})
    pid = service.call("thin", "pid")
    service.call("other", "pid")

    entries = service.box.journal(service.unit, "MCP_SERVER=thin", f"MCPNATSD_PID={pid}")

    assert [one["MESSAGE"] for one in entries] == [
        f"server started server=thin pid={pid} era=modern"
    ]
    assert entries[0]["PRIORITY"] == "6"
    assert entries[0]["SYSLOG_IDENTIFIER"] == "mcpnatsd"
    assert entries[0]["_SYSTEMD_UNIT"] == "mcpnatsd.service"
    assert entries[0]["_PID"] == str(service.pid)


def test_a_call_can_be_found_by_its_tool_its_caller_and_its_subject(service: Service) -> None:
    nats = {"embedded": {}, "prefix": "mcp.{user}"}
    service.start(THIN, nats=nats, log={"level": "debug"})
    service.box.run(
        "mcpnatsd", "call", "thin", "echo", "text=hi", "--prefix", "mcp.alice", "--name", "mcpnatsd"
    )

    subject = "mcp.alice.req.thin.tools.call.echo"
    wanted = ["MCP_TOOL=echo", "MCP_CALLER=alice", f"NATS_SUBJECT={subject}"]
    (entry,) = service.box.journal(service.unit, *wanted)

    assert entry["MESSAGE"].startswith("request answered server=thin method=tools/call tool=echo")
    assert (entry["MCP_SERVER"], entry["MCP_METHOD"]) == ("thin", "tools/call")
    assert "hi" not in entry["MESSAGE"].split()


def test_what_a_server_says_is_an_entry_of_that_server(service: Service) -> None:
    service.start(THIN)
    service.call("thin", "stderr", lines=2)

    entries = service.box.journal(service.unit, "MCP_SERVER=thin", "--grep=server says")

    assert [one["MCPNATSD_TEXT"] for one in entries[-2:]] == ["stderr line 0", "stderr line 1"]


def test_a_warning_is_a_warning(service: Service) -> None:
    failing = {"command": server("exits_before_initialize"), "start": "eager"}
    service.start({**THIN, "failing": failing})
    since = f"_PID={service.pid}"

    def warned() -> list[dict[str, str]]:
        return service.box.journal(service.unit, since, "--priority=warning")

    service.box.until(warned, "a warning")
    assert {one["MCP_SERVER"] for one in warned()} == {"failing"}


@pytest.mark.parametrize("size", [100, 400_000])
def test_an_entry_arrives_whatever_its_size(service: Service, size: int) -> None:
    """More than a datagram holds goes another way."""
    service.start(THIN)
    entry = f"{{'MESSAGE': 'x' * {size}, 'A_TEST': {size}}}"
    script = (
        "import sys; sys.path.insert(0, '/usr/lib/mcpnatsd/site')\n"
        "from mcpnatsd.journal import Journal\n"
        f"Journal('/run/systemd/journal/socket').send({entry})"
    )
    service.box.run("python3", "-c", script)
    service.box.run("journalctl", "--sync")

    found = service.box.run("journalctl", "--all", "-o", "cat", f"A_TEST={size}").stdout.strip()
    assert found == "x" * size


def test_a_journal_that_is_restarted_goes_on_getting_entries(service: Service) -> None:
    service.start(THIN)
    service.box.run("systemctl", "restart", "systemd-journald")
    service.call("thin", "stderr", lines=1)

    here = f"_PID={service.pid}"
    assert service.box.journal(service.unit, here, "MCPNATSD_TEXT=stderr line 0")
    assert not service.box.journal(service.unit, here, "--grep=entries not taken")
