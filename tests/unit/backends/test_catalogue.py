"""What one server is known to be, and what of it is shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.recall import Recall
from mcpnatsd.config.model import EraChoice, ServerConfig, ToolFilter
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.eras import LEGACY_REVISIONS, MODERN_REVISIONS, Verdict
from mcpnatsd.protocol.jsonrpc import Response

CONFIG = ServerConfig(name="one", command=("serve",))
MODERN = Verdict(modern=True, revisions=MODERN_REVISIONS, discovered=b"{}")
LEGACY = Verdict(modern=False, legacy=True, revisions=LEGACY_REVISIONS[:1])


def page(*names: object, cursor: str | None = None) -> tuple[Response, bytes]:
    result = {"tools": [{"name": name} for name in names]}
    more = {} if cursor is None else {"nextCursor": cursor}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {**result, **more}}).encode()
    response = jsonrpc.decode(line)
    assert isinstance(response, Response)
    return response, line


def test_tools_are_known_when_the_last_page_is() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))

    catalogue.learn_page(*page("a", "b", cursor=""))
    assert not catalogue.listed
    catalogue.learn_page(*page("c", "a"))

    assert catalogue.listed
    assert catalogue.tools == ("a", "b", "c")


def test_the_next_listing_replaces_the_last() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))
    catalogue.learn_page(*page("a", "b"))
    catalogue.learn_page(*page("b"))

    assert catalogue.tools == ("b",)


def test_a_first_page_asked_for_again_and_again_does_not_pile_up() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))
    for _ in range(3):
        catalogue.learn_page(*page("a", cursor="x"))

    assert catalogue._pages == ("a",)


def test_what_has_no_name_is_no_tool() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))
    catalogue.learn_page(*page(None, 7, "", "a"))

    assert catalogue.tools == ("a",)


def test_an_error_teaches_nothing() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))
    line = b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}'
    response = jsonrpc.decode(line)
    assert isinstance(response, Response)

    assert catalogue.learn_page(response, line) == line
    assert not catalogue.listed


def test_what_nobody_may_call_is_not_shown_and_yet_remembered(tmp_path: Path) -> None:
    closed = replace(CONFIG, tools=ToolFilter(deny=("b*",)))
    catalogue = Catalogue(closed, Recall(tmp_path))

    shown = catalogue.learn_page(*page("a", "b1"))

    assert [tool["name"] for tool in json.loads(shown)["result"]["tools"]] == ["a"]
    assert catalogue.tools == ("a",)
    assert Catalogue(CONFIG, Recall(tmp_path)).tools == ("a", "b1")


def test_an_answer_that_shows_nothing_forbidden_keeps_its_bytes() -> None:
    catalogue = Catalogue(replace(CONFIG, tools=ToolFilter(deny=("b*",))), Recall(None))
    response, line = page("a")

    assert catalogue.learn_page(response, line) is line


def test_a_verdict_is_known_in_the_next_run(tmp_path: Path) -> None:
    Catalogue(CONFIG, Recall(tmp_path)).learn_verdict(MODERN)

    assert Catalogue(CONFIG, Recall(tmp_path)).verdict == MODERN


@pytest.mark.parametrize(
    ("era", "modern", "legacy"),
    [(EraChoice.MODERN, True, False), (EraChoice.LEGACY, False, True)],
)
@pytest.mark.parametrize("learnt", [MODERN, LEGACY])
def test_the_configured_era_wins(
    learnt: Verdict, era: EraChoice, *, modern: bool, legacy: bool
) -> None:
    catalogue = Catalogue(replace(CONFIG, era=era), Recall(None))
    catalogue.learn_verdict(learnt)

    assert (catalogue.verdict.modern, catalogue.verdict.legacy) == (modern, legacy)


def test_an_era_that_went_takes_along_what_it_left() -> None:
    catalogue = Catalogue(CONFIG, Recall(None))
    catalogue.learn_verdict(MODERN)
    catalogue.learn_verdict(LEGACY)

    assert catalogue.verdict == LEGACY
