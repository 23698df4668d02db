"""The arguments of a tool, as they are written on the command line.

Either one JSON object, or `key=value` pairs: those take the type that the tool's schema names, and
are strings where it names none. `key:=json` is JSON whatever the schema says.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from mcpnatsd.errors import UsageError

_TRUTHS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def is_pairs(words: Sequence[str]) -> bool:
    """Say whether these are `key=value` pairs, so that the tool's schema is needed."""
    return any(not word.lstrip().startswith("{") for word in words)


def parse_object(words: Sequence[str]) -> dict[str, Any]:
    """Read the one JSON object, or nothing.

    Raises:
        UsageError: It is not JSON, or there are several.
    """
    if not words:
        return {}
    if len(words) > 1:
        raise UsageError("give one JSON object, or key=value pairs, not several objects")
    try:
        value = json.loads(words[0])
    except ValueError as error:
        raise UsageError(f"the arguments are not JSON: {error}") from None
    return dict(value)


def parse_pairs(words: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read `key=value` pairs by the tool's `inputSchema`.

    Raises:
        UsageError: One is not a pair, stands there twice, or is not of its type.
    """
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    found: dict[str, Any] = {}
    for word in words:
        key, forced, text = _split(word)
        if key in found:
            raise UsageError(f"{key} is given twice")
        found[key] = _json(key, text) if forced else _typed(key, text, known.get(key))
    return found


def _split(word: str) -> tuple[str, bool, str]:
    key, sign, text = word.partition("=")
    if not sign or not key.rstrip(":"):
        raise UsageError(f"{word!r} is not key=value, key:=json or one JSON object")
    return key.removesuffix(":"), key.endswith(":"), text


def _typed(key: str, text: str, schema: object) -> Any:  # noqa: ANN401  # a JSON value
    types = _types(schema)
    if not types or ("string" in types and "null" not in types):
        return text
    if "null" in types and text == "null":
        return None
    for kind in ("boolean", "integer", "number", "object", "array"):
        if kind in types:
            try:
                return _PARSERS[kind](key, text)
            except UsageError:
                if types - {"null", kind}:
                    continue  # another of its types may fit
                raise
    return text if "string" in types else _refuse(key, text, " or ".join(sorted(types)))


def _types(schema: object) -> set[str]:
    """Return the types that a schema allows, as far as it says so plainly."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    found = set(kind) if isinstance(kind, list) else {kind} if isinstance(kind, str) else set()
    for union in ("anyOf", "oneOf"):
        for option in schema.get(union) or ():
            found |= _types(option)
    return found


def _boolean(key: str, text: str) -> bool:
    if text.lower() not in _TRUTHS:
        _refuse(key, text, "true or false")
    return _TRUTHS[text.lower()]


def _integer(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        _refuse(key, text, "an integer")


def _number(key: str, text: str) -> int | float:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(key, text, "a number")
    return value


def _json(key: str, text: str) -> Any:  # noqa: ANN401  # a JSON value
    try:
        return json.loads(text)
    except ValueError:
        _refuse(key, text, "JSON")


def _refuse(key: str, text: str, wanted: str) -> NoReturn:
    raise UsageError(f"{key} wants {wanted}, not {text!r}")


_PARSERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _json,
    "array": _json,
}
