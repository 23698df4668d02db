"""What `list` makes of the instances it found."""

from dataclasses import replace

from mcpnatsd.bus.directory import Instance
from mcpnatsd.verbs.list_servers import grouped, rendered, summary, warnings

ONE = Instance(
    server="time",
    id="AAAA",
    version="1.0",
    description="",
    eras=("modern",),
    revisions=("2026-07-28",),
    state="running",
    tools=2,
    identity="f00",
    hostname="here",
)
FRESH = Instance(
    server="git",
    id="BBBB",
    version="",
    description="",
    eras=(),
    revisions=(),
    state="asleep",
    tools=None,
    identity="f00",
    hostname="",
)


def test_a_table_has_a_line_a_server() -> None:
    text = rendered(grouped([FRESH, ONE, replace(ONE, id="CCCC", state="failing")]))

    assert text.splitlines() == [
        "SERVER  INSTANCES  ERA     TOOLS  VERSION  STATE",
        "git     1          -       -      -        asleep",
        "time    2          modern  2      1.0      running, failing",
    ]


def test_programs_get_a_server_with_its_instances() -> None:
    [server] = grouped([ONE, replace(ONE, id="CCCC", eras=("legacy",), tools=3, version="1.1")])

    assert summary(server) == {
        "name": "time",
        "instances": [
            {"id": "AAAA", "state": "running", "version": "1.0", "hostname": "here"},
            {"id": "CCCC", "state": "running", "version": "1.1", "hostname": "here"},
        ],
        "eras": ["modern", "legacy"],
        "tools": 3,
        "version": "1.0, 1.1",
        "state": "running",
    }


def test_what_nobody_knows_yet_is_null() -> None:
    [server] = grouped([FRESH])

    assert summary(server)["tools"] is None
    assert summary(server)["eras"] == []


def test_a_call_goes_to_the_best_so_that_is_the_state() -> None:
    states = ("failing", "draining", "asleep")
    [server] = grouped([replace(ONE, id=state, state=state) for state in states])

    assert server.state == "asleep"


def test_instances_that_run_different_things_are_worth_a_warning() -> None:
    other = replace(ONE, id="CCCC", identity="ba7", version="2.0", hostname="there")

    assert warnings(grouped([ONE, replace(ONE, id="DDDD")])) == []
    [warning] = warnings(grouped([ONE, other]))
    assert '"time"' in warning
    assert "AAAA on here 1.0, CCCC on there 2.0" in warning
