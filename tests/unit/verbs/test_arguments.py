"""A tool's arguments on the command line."""

from typing import Any

import pytest

from mcpnatsd.errors import UsageError
from mcpnatsd.verbs.arguments import is_pairs, parse_object, parse_pairs

SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "many": {"type": "integer"},
        "share": {"type": "number"},
        "deep": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "where": {"type": "object"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "note": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "free": {},
    }
}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=1", "1"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text={}", "{}"),
        ("many=-3", -3),
        ("share=0.5", 0.5),
        ("share=2", 2),
        ("deep=true", True),
        ("deep=No", False),
        ('names=["a"]', ["a"]),
        ('where={"a": 1}', {"a": 1}),
        ("maybe=7", 7),
        ("maybe=null", None),
        ("note=null", None),
        ("note=7", "7"),
        ("either=7", "7"),
        ("free=7", "7"),
        ("unheard=7", "7"),
        ("unheard:=7", 7),
        ('text:="7"', "7"),
        ("a:b=7", "7"),
    ],
)
def test_a_pair_takes_the_type_of_the_schema(word: str, value: object) -> None:
    [found] = parse_pairs([word], SCHEMA).values()

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("many=a", "many wants an integer, not 'a'"),
        ("many=1.5", "many wants an integer"),
        ("share=true", "share wants a number"),
        ("deep=7", "deep wants true or false"),
        ("names=a", "names wants JSON"),
        ("text:=a", "text wants JSON"),
        ("maybe=a", "maybe wants an integer"),
        ("alone", "is not key=value"),
        ("=7", "is not key=value"),
        (":=7", "is not key=value"),
    ],
)
def test_a_pair_that_does_not_fit_is_an_error(word: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_pairs([word], SCHEMA)


def test_a_key_is_given_once() -> None:
    with pytest.raises(UsageError, match="text is given twice"):
        parse_pairs(["text=a", "text=b"], SCHEMA)


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {"a": []}}])
def test_a_schema_that_says_nothing_means_text(schema: dict[str, Any]) -> None:
    assert parse_pairs(["a=1"], schema) == {"a": "1"}


def test_one_json_object_needs_no_schema() -> None:
    assert not is_pairs([])
    assert not is_pairs([' {"a": 1}'])
    assert is_pairs(["a=1"])
    assert parse_object([]) == {}
    assert parse_object(['{"a": 1}']) == {"a": 1}


@pytest.mark.parametrize("words", [["{"], ["{}", "{}"]])
def test_what_is_not_one_json_object_is_an_error(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_object(words)
