"""The schema of the configuration file, and where in it a key belongs.

`schema.json` is the one list of keys, types, bounds and defaults; editors use it too. Its
`format: bytes` and `format: seconds` mark what `sizes.py` reads, `writeOnly` marks what no message
may quote, and `patternErrorMessage` (an editor's keyword) says in words what a pattern wants.
"""

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where something is in the file: keys of mappings, and positions in lists."""

Schema: TypeAlias = dict[str, Any]


@lru_cache(maxsize=1)
def schema_text() -> str:
    """Return the JSON Schema (2020-12) of the file, as `mcpnatsd schema` prints it."""
    return files("mcpnatsd.config").joinpath("schema.json").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def schema() -> Schema:
    """Return the schema, parsed. It is shared: do not change it."""
    parsed: Schema = json.loads(schema_text())
    return parsed


def schema_at(path: KeyPath) -> Schema:
    """Return what the schema says of one place, or nothing where no key belongs."""
    place = schema()
    for step in path:
        place = _resolved(_below(place, step))
    return place


def key_schema_at(path: KeyPath) -> Schema:
    """Return what the schema says of the keys of one mapping."""
    return _resolved(schema_at(path).get("propertyNames", {}))


def _below(place: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        below: Schema = place.get("items", {})
        return below
    found: Schema | bool = place.get("properties", {}).get(
        step, place.get("additionalProperties", False)
    )
    return {} if isinstance(found, bool) else found


def _resolved(place: Schema) -> Schema:
    """Follow `$ref`; what stands beside it comes first."""
    if not (target := place.get("$ref")):
        return place
    definition: Schema = schema()["$defs"][target.rsplit("/", 1)[1]]
    return {**definition, **place}
