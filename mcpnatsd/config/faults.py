"""What is wrong with a configuration file, one sentence per fault.

A sentence says what is wrong, what is expected and often an example. It quotes what stands in the
file, never what a reference stands for, and nothing that the schema marks as a secret.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from mcpnatsd.config.schema import KeyPath, key_schema_at, schema_at
from mcpnatsd.config.sizes import format_bytes, format_seconds

_PLAIN = re.compile(r"-{0,2}[A-Za-z/][\w/.=-]*|[0-9]+[A-Za-z]+", re.ASCII)
_NOT_TEXT: Final = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
"""Words that YAML takes for something else."""

MOST_QUOTED: Final = 60
"""Characters of a value that a sentence repeats."""


class Place(NamedTuple):
    """A position in the file, as editors count: from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """One thing that is wrong, and where; without a place, it is the file itself."""

    text: str
    path: KeyPath = ()
    place: Place | None = None

    def sentence(self, file: str) -> str:
        """Return the line that an operator reads."""
        where = f"{file}:{self.place.line}:{self.place.column}" if self.place else file
        return ": ".join(filter(None, (where, dotted(self.path), self.text)))


@dataclass(slots=True)
class Written:
    """The file as it was written: values before their references are replaced, and places."""

    values: dict[KeyPath, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    """The text of each scalar."""

    places: dict[KeyPath, Place] = field(default_factory=dict)
    keys: dict[KeyPath, Place] = field(default_factory=dict)

    def at_key(self, path: KeyPath, text: str) -> Fault:
        """Make a fault of a key."""
        return Fault(text, path, self.keys.get(path) or self.places.get(path))

    def at_value(self, path: KeyPath, text: str) -> Fault:
        """Make a fault of a value."""
        return Fault(text, path, self.places[path])


class Violation(NamedTuple):
    """A keyword of the schema that the value at `path` does not keep; `limit` is what it wants."""

    keyword: str
    path: KeyPath
    limit: Any
    key: str | None = None
    """The key itself is wrong, not its value."""


def dotted(path: KeyPath) -> str:
    """Write a path as people do: `servers.files.command[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (
                step if re.fullmatch(r"[\w-]+", step) else quoted(step)
            )
    return text


def quoted(value: object) -> str:
    """Quote a value on one line, and not more of it than helps."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 4]}..."


def closest(word: str, words: list[str]) -> str:
    """Return a question when one of the words is close, else nothing."""
    close = get_close_matches(word.lower(), words, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def faults_of(violation: Violation, written: Written) -> Iterator[Fault]:
    """Put a violation into sentences: one for most, one per key for unknown and missing keys."""
    path, key = violation.path, violation.key
    if key is not None:
        text = key_schema_at(path)["patternErrorMessage"]
        yield written.at_key((*path, key), f"this key is no name: {text}")
        return
    match violation.keyword:
        case "additionalProperties":
            yield from _unknown_keys(path, written)
        case "required":
            yield from _missing_keys(violation, written)
        case "dependentRequired":
            yield from _lonely_keys(violation, written)
        case keyword:
            say = _SENTENCES.get(keyword, _by_description)
            yield written.at_value(path, say(violation, written))


def _unknown_keys(path: KeyPath, written: Written) -> Iterator[Fault]:
    allowed = list(schema_at(path)["properties"])
    for key in written.values[path]:
        if key not in allowed:
            hint = closest(key, allowed) or f"allowed here: {', '.join(allowed)}"
            yield written.at_key((*path, key), f"unknown key; {hint}")


def _missing_keys(violation: Violation, written: Written) -> Iterator[Fault]:
    for key in violation.limit:
        if key not in written.values[violation.path]:
            example = _example((*violation.path, key))
            yield written.at_key(
                violation.path, f'"{key}" is missing; for example {key}: {example}'
            )


def _lonely_keys(violation: Violation, written: Written) -> Iterator[Fault]:
    present = written.values[violation.path]
    for key, needed in violation.limit.items():
        for other in needed:
            if key in present and other not in present:
                text = f'needs "{other}" beside it; for example {other}: '
                example = _example((*violation.path, other))
                yield written.at_key((*violation.path, key), text + example)


def _type(violation: Violation, written: Written) -> str:
    path = violation.path
    value, wanted = written.values[path], _wanted(violation.limit)
    if "array" in wanted and "string" not in wanted and isinstance(value, str):
        return _one_text(path, value)
    if value is None:
        return f"has no value; for example {_labelled(path)}"
    if wanted == ["string"] and not isinstance(value, (list, dict)):
        return _unquoted(path, written)
    names = " or ".join(_TYPES[name] for name in wanted)
    return f"expected {names}, not {_kind(value)}; for example {_labelled(path)}"


def _one_text(path: KeyPath, value: str) -> str:
    if path[-1] != "command":
        return f"expected a list, not text; write {_flow([value])}"
    try:
        arguments = shlex.split(value)
    except ValueError:
        arguments = value.split()
    return f"expected a list, never a shell line; write command: {_flow(arguments)}"


def _unquoted(path: KeyPath, written: Written) -> str:
    text = f"expected text, not {_kind(written.values[path])}; quote it"
    if schema_at(path).get("writeOnly"):
        return text
    if path[-1] == "mode":
        return f"{text}, in octal: {_labelled(path)}"
    return f"{text}: {quoted(written.sources[path])}"


def _pattern(violation: Violation, written: Written) -> str:
    path = violation.path
    text = f"{schema_at(path)['patternErrorMessage']}{_but_is(path, written)}"
    return f"{text}; for example {_example(path)}"


def _enum(violation: Violation, written: Written) -> str:
    words = [str(word) for word in violation.limit]
    text = f"expected one of {', '.join(words)}{_but_is(violation.path, written)}"
    hint = closest(str(written.values[violation.path]), words)
    return f"{text}; {hint}" if hint else text


def _bound(words: str) -> Callable[[Violation, Written], str]:
    def say(violation: Violation, written: Written) -> str:
        path, limit = violation.path, violation.limit
        format_limit = _FORMATS.get(schema_at(path).get("format", ""), str)
        return f"expected {words} {format_limit(limit)}{_but_is(path, written)}"

    return say


def _empty(violation: Violation, _written: Written) -> str:
    return f"is empty; for example {_labelled(violation.path)}"


def _by_description(violation: Violation, _written: Written) -> str:
    about = schema_at(violation.path).get("description", "see `mcpnatsd schema`.")
    return f"is not what belongs here: {about}".removesuffix(".")


_SENTENCES: Final[Mapping[str, Callable[[Violation, Written], str]]] = {
    "type": _type,
    "pattern": _pattern,
    "enum": _enum,
    "minimum": _bound("at least"),
    "exclusiveMinimum": _bound("more than"),
    "maximum": _bound("at most"),
    "maxLength": _bound("a length of at most"),
    "minItems": _empty,
    "minLength": _empty,
}

_FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "bytes": format_bytes,
    "seconds": format_seconds,
}

_TYPES: Final[Mapping[str, str]] = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


_KINDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
    (type(None), "nothing"),
)


def _wanted(limit: str | list[str]) -> list[str]:
    names = [limit] if isinstance(limit, str) else limit
    return [name for name in names if name != "null"]


def _kind(value: object) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "a date")


def _but_is(path: KeyPath, written: Written) -> str:
    """Repeat what stands in the file, unless that is a secret."""
    if schema_at(path).get("writeOnly"):
        return ""
    value = written.values[path]
    replaced = " (with its references replaced)" if "${" in str(value) else ""
    return f", not {quoted(value)}{replaced}"


def _labelled(path: KeyPath) -> str:
    """Return an example with its key before it, where there is one."""
    label = "" if isinstance(path[-1], int) else f"{path[-1]}: "
    return f"{label}{_example(path)}"


def _example(path: KeyPath) -> str:
    return _flow(schema_at(path)["examples"][0])


def _flow(value: object) -> str:
    """Write a value as YAML on one line."""
    match value:
        case str():
            plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
            return value if plain else json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case dict():
            pairs = ", ".join(f"{key}: {_flow(item)}" for key, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case _:
            return json.dumps(value)
