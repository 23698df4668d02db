"""How a result is shown."""

import base64
import json
from typing import Any

import pytest

from mcpnatsd.verbs.call import no_such_tool, progress_line, rendered, shown

PICTURE = base64.b64encode(bytes(12_000)).decode()


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(text("a\x1b[1mb\nc"), as_json=False) == 0
    assert capsys.readouterr() == ("a\x1b[1mb\nc\n", "")


def test_a_tool_that_failed_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown({**text("no"), "isError": True}, as_json=False) == 1
    assert capsys.readouterr() == ("", "no\n")


def test_programs_get_the_whole_result(capsys: pytest.CaptureFixture[str]) -> None:
    result = {**text("no"), "isError": True, "resultType": "complete"}

    assert shown(result, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == result


def test_a_tool_that_asks_back_cannot_be_answered(capsys: pytest.CaptureFixture[str]) -> None:
    requests = {"a": {"method": "elicitation/create"}}
    result = {"resultType": "input_required", "inputRequests": requests}

    assert shown(result, as_json=False) == 1
    assert "asks back (elicitation/create)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ({"type": "image", "mimeType": "image/png", "data": PICTURE}, "[image: image/png, 12 kB]"),
        ({"type": "audio", "mimeType": "audio/wav", "data": ""}, "[audio: audio/wav, 0 B]"),
        ({"type": "resource_link", "uri": "test://a"}, "[resource_link test://a]"),
        ({"type": "resource", "resource": {"uri": "test://a", "text": "hello"}}, "hello"),
        (
            {"type": "resource", "resource": {"uri": "test://a", "blob": PICTURE}},
            "[resource test://a: 12 kB]",
        ),
        ({"type": "resource"}, "[resource]"),
        ({"type": "hologram"}, "[hologram]"),
        ({}, "[something]"),
    ],
)
def test_what_is_no_text_is_named(block: dict[str, Any], line: str) -> None:
    assert rendered({"content": [block]}) == line


def test_structured_content_stands_in_for_text() -> None:
    structured = {"structuredContent": {"a": [1]}}

    assert json.loads(rendered(structured)) == {"a": [1]}
    assert rendered({**text("one"), **structured}) == "one"
    assert rendered({}) == ""


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"progress": 1, "total": 3, "message": "g\ro"}, "1/3 g\\ro"),
        ({"progress": 0.5}, "0.5"),
        ({}, ""),
    ],
)
def test_progress_is_one_line(params: dict[str, Any], line: str) -> None:
    assert progress_line(params) == line


def test_a_tool_that_is_not_there_has_a_likely_other() -> None:
    assert no_such_tool("echo", ["echo"]) == ""
    assert "did you mean 'echo'?" in no_such_tool("ecoh", ["add", "echo"])
    assert "there are: add, sub" in no_such_tool("x", ["sub", "add"])
    assert "none at all" in no_such_tool("x", [])
