"""What `info` shows of a server."""

from typing import Any

import pytest

from mcpnatsd.verbs.info import rendered, type_of

CARD: dict[str, Any] = {
    "name": "time",
    "serverInfo": {"name": "mcp-time", "version": "2.1"},
    "era": "modern",
    "eras": ["modern"],
    "revisions": ["2026-07-28"],
    "instructions": "Ask for the time.",
    "capabilities": {"tools": {}},
    "instances": [{"id": "AAAA", "state": "asleep", "version": "", "hostname": ""}],
    "tools": [
        {
            "name": "now",
            "description": "Tells the time.\n  In one place.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "where": {"type": "string", "description": "A\n  place."},
                    "exact": {"type": "boolean", "default": False},
                },
                "required": ["where"],
            },
        }
    ],
    "resources": [{"uri": "test://hello", "title": "Hello"}],
    "resourceTemplates": [{"uriTemplate": "test://{name}"}],
    "prompts": [
        {"name": "greet", "arguments": [{"name": "who", "required": True}, {"name": "how"}]}
    ],
}


def test_a_page_tells_all_that_a_person_wants_to_know() -> None:
    assert rendered(CARD).splitlines() == [
        "time: mcp-time 2.1",
        "speaks MCP 2026-07-28 (modern)",
        "",
        "INSTANCE  STATE   VERSION  HOST",
        "AAAA      asleep  -        -",
        "",
        "    Ask for the time.",
        "",
        "tools (1)",
        "",
        "  now",
        "    Tells the time.",
        "      In one place.",
        "      where (string): A place.",
        "      exact (boolean, optional, default false)",
        "",
        "resources (2)",
        "",
        "  test://hello",
        "    Hello",
        "  test://{name}",
        "",
        "prompts (1)",
        "",
        "  greet",
        "      who",
        "      how (optional)",
    ]


def test_a_server_that_says_nothing_has_a_short_page() -> None:
    bare = {**CARD, "serverInfo": {}, "instructions": "", "instances": []}
    bare |= {"tools": [], "resources": [], "resourceTemplates": [], "prompts": []}

    assert rendered(bare).splitlines() == [
        "time: it does not say what it is",
        "speaks MCP 2026-07-28 (modern)",
    ]


@pytest.mark.parametrize("schema", [None, [], {"properties": []}, {"properties": {"a": True}}])
def test_a_schema_that_is_none_does_no_harm(schema: object) -> None:
    assert "odd" in rendered({**CARD, "tools": [{"name": "odd", "inputSchema": schema}]})


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"type": "array", "items": {"type": "integer"}}, "array of integer"),
        ({"type": "array"}, "array"),
        ({"enum": ["a", "b"]}, "one of a, b"),
        ({}, "any"),
    ],
)
def test_a_type_reads_as_people_write_it(schema: dict[str, Any], text: str) -> None:
    assert type_of(schema) == text
