"""Discovery, held against the JSON schemas of ADR-32.

The schemas are written from ADR-32, revision 6, and from what the `nats` CLI drops.
"""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mcpnatsd.protocol import discovery
from mcpnatsd.protocol.discovery import Description, strict_version
from mcpnatsd.protocol.statistics import Statistics

NAME = {"type": "string", "pattern": r"^[A-Za-z0-9\-_]+$"}
SUBJECT = {"type": "string", "pattern": r"^[^ >]*[>]?$"}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
SEMVER = (
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
)
RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
COMMON: dict[str, Any] = {
    "name": NAME,
    "id": {"type": "string", "minLength": 1},
    "version": {"type": "string", "pattern": SEMVER},
    "metadata": STRINGS,
}
COUNT = {"type": "integer", "minimum": 0}
ENDPOINT: dict[str, Any] = {"name": NAME, "subject": SUBJECT, "queue_group": SUBJECT}


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def typed(kind: str, **more: dict[str, Any]) -> Draft202012Validator:
    kind = f"io.nats.micro.v1.{kind}_response"
    return Draft202012Validator(closed({"type": {"const": kind}, **COMMON, **more}))


PING = typed("ping")
INFO = typed(
    "info",
    description={"type": "string"},
    endpoints={"type": "array", "items": closed({**ENDPOINT, "metadata": STRINGS})},
)
STATS = typed(
    "stats",
    started={"type": "string", "pattern": RFC3339},
    endpoints={
        "type": "array",
        "items": closed(
            {
                **ENDPOINT,
                "num_requests": COUNT,
                "num_errors": COUNT,
                "last_error": {"type": "string"},
                "processing_time": COUNT,
                "average_processing_time": COUNT,
            }
        ),
    },
)
MOST = 1024 * 1024


def a_server(*tools: str, **changes: Any) -> Description:
    description = Description(
        server="time",
        instance="K3J9",
        description="Tells the time.",
        version="1.2.3",
        metadata={discovery.ERAS: "modern", discovery.TOOLS: str(len(tools))},
        tools=tools,
        started="2026-11-21T04:54:21Z",
        prefix_listening="mcp",
        statistics=Statistics(),
    )
    return replace(description, **changes)


def answers(description: Description, most: int = MOST) -> dict[str, Any]:
    """Return the three answers, each of them valid."""
    found = {}
    for kind, schema, body in (
        ("ping", PING, discovery.ping(description)),
        ("info", INFO, discovery.info(description, most)),
        ("stats", STATS, discovery.stats(description, most)),
    ):
        found[kind] = json.loads(body)
        schema.validate(found[kind])
        assert len(body) <= most
    return found


def test_the_service_has_the_name_of_its_server() -> None:
    for answer in answers(a_server()).values():
        assert (answer["name"], answer["id"], answer["version"]) == ("mcp-time", "K3J9", "1.2.3")
        assert answer["metadata"] == {
            "mcp.eras": "modern",
            "mcp.tools": "0",
            "mcp.wire": "1",
            "mcp.prefix": "mcp",
            "mcp.server": "time",
            "mcp.instance": "K3J9",
            "mcp.version": "1.2.3",
        }


def test_a_server_that_says_nothing_of_itself_can_still_be_found() -> None:
    info = answers(a_server(description="", version="", metadata={}))["info"]

    assert info["description"] == ""
    assert info["version"] == "0.0.0"
    assert info["metadata"]["mcp.version"] == ""


def test_each_tool_is_an_endpoint_of_its_own() -> None:
    [tool] = [
        one
        for one in answers(a_server("admin.tools/list"))["info"]["endpoints"]
        if not one["name"].startswith("_")
    ]

    assert tool == {
        "name": "admin_2Etools_2Flist",
        "subject": "mcp.req.time.tools.call.admin.tools=2Flist",
        "queue_group": "mcpnatsd",
        "metadata": {},
    }


def test_an_underscore_in_a_tools_name_stays_readable() -> None:
    names = [one["name"] for one in answers(a_server("get_current_time"))["info"]["endpoints"]]

    assert "get_current_time" in names


def test_every_other_group_of_methods_is_one_endpoint() -> None:
    subjects = {one["name"]: one["subject"] for one in answers(a_server())["info"]["endpoints"]}

    assert subjects == {
        "_tools": "mcp.req.time.tools.>",
        "_resources": "mcp.req.time.resources.>",
        "_prompts": "mcp.req.time.prompts.>",
        "_completion": "mcp.req.time.completion.>",
        "_server": "mcp.req.time.server.>",
        "_subscriptions": "mcp.req.time.subscriptions.>",
        "_other": "mcp.req.time.>",
    }


def test_a_prefix_that_names_its_caller_is_a_wildcard() -> None:
    info = answers(a_server("echo", prefix_listening="mcp.*"))["info"]

    assert info["metadata"]["mcp.prefix"] == "mcp.*"
    assert info["endpoints"][-1]["subject"] == "mcp.*.req.time.tools.call.echo"


def test_a_tool_cannot_take_a_groups_name() -> None:
    names = [one["name"] for one in answers(a_server("_tools", "tools"))["info"]["endpoints"]]

    assert len(set(names)) == len(names)


def test_stats_say_what_each_endpoint_has_done() -> None:
    statistics = Statistics()
    statistics.know(["echo"])
    statistics.record("tools/call", "echo", 0.25, None)
    statistics.record("tools/call", "echo", 0.75, "no such thing")
    statistics.record("tools/list", None, 0.1, None)

    endpoints = {
        one["name"]: one
        for one in answers(a_server("echo", statistics=statistics))["stats"]["endpoints"]
    }

    echo = endpoints["echo"]
    assert (echo["num_requests"], echo["num_errors"]) == (2, 1)
    assert echo["last_error"] == "no such thing"
    assert echo["processing_time"] == 1_000_000_000
    assert echo["average_processing_time"] == 500_000_000
    assert endpoints["_tools"]["num_requests"] == 1


def test_what_does_not_fit_into_a_message_is_counted() -> None:
    tools = [f"tool-{number:04}" for number in range(1000)]
    found = answers(a_server(*tools), most=8192)

    for answer in (found["info"], found["stats"]):
        names = [one["name"] for one in answer["endpoints"]]
        assert names[:7] == [f"_{group}" for group in Statistics().groups]
        assert names[7:] == tools[: len(names) - 7]
        assert answer["metadata"]["mcp.endpoints_omitted"] == str(1007 - len(names))


def test_what_fits_is_not_cut() -> None:
    assert "mcp.endpoints_omitted" not in answers(a_server("echo"))["info"]["metadata"]


@pytest.mark.parametrize("version", ["1.0.0", "0.1.0-rc.1", "2.0.0+build.5", "10.20.30-a-b"])
def test_semver_is_kept(version: str) -> None:
    assert strict_version(version) == version


@pytest.mark.parametrize(
    ("version", "strict"),
    [
        ("", "0.0.0"),
        ("1.0", "0.0.0+1.0"),
        ("v1.0.0", "0.0.0+v1.0.0"),
        ("2024-11-05", "0.0.0+2024-11-05"),
        ("1.2.3.4", "0.0.0+1.2.3.4"),
        ("01.2.3", "0.0.0+01.2.3"),
        ("1.0.0\n", "0.0.0+1.0.0"),
        ("é!", "0.0.0"),
    ],
)
def test_anything_else_is_carried_behind_a_plus(version: str, strict: str) -> None:
    assert strict_version(version) == strict
    assert answers(a_server(version=version))["info"]["metadata"]["mcp.version"] == version


@given(st.text(), st.lists(st.text(min_size=1), max_size=5, unique=True), st.text())
def test_whatever_a_server_says_its_answers_are_valid(
    version: str, tools: list[str], description: str
) -> None:
    answers(a_server(*tools, version=version, description=description))


@given(st.lists(st.text("_ABCh0159é./", max_size=8), max_size=8, unique=True))
def test_two_tools_never_share_an_endpoint(tools: list[str]) -> None:
    names = [one["name"] for one in answers(a_server(*tools))["info"]["endpoints"]]

    assert len(set(names)) == len(names)
