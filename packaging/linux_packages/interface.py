"""What the program's own parser and schema say, for the man pages and the completions.

Nothing is written down twice: a verb, a flag or a key that is new is in the packages.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from mcpnatsd import cli
from mcpnatsd.config.schema import schema_text

FILES: Final = ("FILE",)
"""How flags that take a path call it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration file."""

    path: str
    description: str
    values: tuple[str, ...]
    default: str | None
    example: str | None


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    return cli._parser()  # noqa: SLF001 - a parser is the program's only account of its flags


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each verb."""
    actions = parser()._actions  # noqa: SLF001
    choices = next(one for one in actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    return dict(choices.choices)


def actions(verb: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what a verb takes but for --help, flags and arguments, in the order of its help."""
    every = verb._actions  # noqa: SLF001
    return [one for one in every if not isinstance(one, argparse._HelpAction)]  # noqa: SLF001


def bus_flags() -> set[str]:
    """Return the flags that say how to reach NATS: many verbs share them."""
    return {flag for flag, _, _ in cli._NATS_FLAGS}  # noqa: SLF001


def keys() -> Iterator[Key]:
    """Yield each key of the configuration file, those of a mapping after it."""
    yield from _properties(_schema(), "")


@cache
def _schema() -> dict[str, Any]:
    return dict(json.loads(schema_text()))


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    name = str(node["$ref"]).rpartition("/")[2]
    return {**_resolved(_schema()["$defs"][name]), **node}


def _properties(node: dict[str, Any], path: str) -> Iterator[Key]:
    for name, given in node.get("properties", {}).items():
        one = _resolved(given)
        yield _key(path + name, one)
        yield from _within(one, path + name)


def _within(node: dict[str, Any], path: str) -> Iterator[Key]:
    """Yield what is below a key: members of a mapping, entries under names, items of a list."""
    yield from _properties(node, f"{path}.")
    if isinstance(named := node.get("additionalProperties"), dict):
        yield from _properties(_resolved(named), f"{path}.NAME.")
    if isinstance(items := node.get("items"), dict):
        yield from _properties(_resolved(items), f"{path}[].")
    for branch in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _within(_resolved(branch), path)


def _key(path: str, node: dict[str, Any]) -> Key:
    examples = node.get("examples", [])
    default = node.get("default")
    return Key(
        path=path,
        description=str(node.get("description", "")),
        values=tuple(map(str, node.get("enum", ()))),
        default=None if default in (None, {}, []) else _written(default),
        example=_written(examples[0]) if examples else None,
    )


def _written(value: object) -> str:
    """Write a value as YAML takes it on one line; JSON is YAML, but a bare word is easier read."""
    if isinstance(value, str) and value.isidentifier():
        return value
    return json.dumps(value, ensure_ascii=False)
