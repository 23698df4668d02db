"""The schema: what editors see, and the same fields and defaults as the model."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    EraChoice,
    HttpEndpoint,
    HttpLimits,
    HttpTls,
    Isolation,
    JwtConfig,
    Limits,
    LogConfig,
    MetricsConfig,
    NatsConfig,
    ServerConfig,
    Start,
    TlsConfig,
    ToolFilter,
    Transport,
    UnixEndpoint,
)
from mcpnatsd.config.schema import KeyPath, key_schema_at, schema, schema_at, schema_text
from mcpnatsd.config.sizes import parse_bytes, parse_seconds

SERVER: KeyPath = ("servers", "any")
ENDPOINT: KeyPath = ("endpoints", 0)

SECTIONS: dict[KeyPath, type] = {
    (): Config,
    ("log",): LogConfig,
    ("nats",): NatsConfig,
    ("nats", "embedded"): EmbeddedConfig,
    ("nats", "tls"): TlsConfig,
    SERVER: ServerConfig,
    (*SERVER, "limits"): Limits,
    (*SERVER, "tools"): ToolFilter,
    (*ENDPOINT, "tls"): HttpTls,
    (*ENDPOINT, "jwt"): JwtConfig,
    (*ENDPOINT, "limits"): HttpLimits,
    ("metrics",): MetricsConfig,
}

RENAMED = {
    (NatsConfig, "url"): "urls",
    (UnixEndpoint, "unix"): "path",
    (HttpEndpoint, "http"): "address",
}


PROPERTIES: list[KeyPath] = [
    (*section, key) for section in SECTIONS for key in schema_at(section)["properties"]
]


def places() -> Iterator[dict[str, Any]]:
    """Every schema in the schema that stands for a value of the file."""
    waiting: list[Any] = [schema()]
    while waiting:
        match waiting.pop():
            case dict() as found:
                if "type" in found:
                    yield found
                waiting += [value for key, value in found.items() if key != "examples"]
            case list() as found:
                waiting += found
            case _:
                pass


def in_model(path: KeyPath, default: Any) -> Any:
    """Return a default of the schema as the model has it."""
    match default:
        case _ if path == ("nats", "url"):
            return (default,)
        case _ if path[-1] == "mode":
            return int(default, 8)
        case str() if schema_at(path).get("format") == "bytes":
            return parse_bytes(default)
        case str() if schema_at(path).get("format") == "seconds":
            return parse_seconds(default)
        case list():
            return tuple(default)
        case _:
            return default


def field_default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def test_the_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(schema())

    assert json.loads(schema_text()) == schema()


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_a_section_of_the_file_has_the_fields_of_its_class(section: KeyPath) -> None:
    model = SECTIONS[section]
    keys = {RENAMED.get((model, key), key) for key in schema_at(section)["properties"]}
    if model is ServerConfig:
        keys.add("name")  # the key above

    assert keys == {field.name for field in dataclasses.fields(model)}


def test_an_endpoint_has_the_fields_of_either_class() -> None:
    found = schema_at(ENDPOINT)["properties"]
    fields = {
        field.name: field
        for model in (UnixEndpoint, HttpEndpoint)
        for field in dataclasses.fields(model)
    }
    names = {"unix": "path", "http": "address"}

    assert {names.get(key, key) for key in found} == fields.keys()
    for key in found.keys() - {"unix", "http", "server", "limits"}:
        default = schema_at((*ENDPOINT, key))["default"]
        assert in_model((*ENDPOINT, key), default) == field_default(fields[key])


@pytest.mark.parametrize("path", PROPERTIES, ids=str)
def test_a_key_has_the_same_default_in_the_file_and_in_the_model(path: KeyPath) -> None:
    model = SECTIONS[path[:-1]]
    fields = {field.name: field for field in dataclasses.fields(model)}
    field = fields[RENAMED.get((model, str(path[-1])), str(path[-1]))]
    expected, found = field_default(field), schema_at(path)

    if expected is dataclasses.MISSING:
        assert "default" not in found
        assert path[-1] in schema_at(path[:-1])["required"]
    elif isinstance(expected, NatsConfig | LogConfig | Limits | ToolFilter | HttpLimits):
        assert found["default"] == {}
        assert expected == type(expected)()
    else:
        assert in_model(path, found["default"]) == expected


@pytest.mark.parametrize(
    "path", [*PROPERTIES, *((*ENDPOINT, key) for key in schema_at(ENDPOINT)["properties"])], ids=str
)
def test_a_key_is_described_and_has_an_example_that_is_valid(path: KeyPath) -> None:
    found = schema_at(path)
    validator = Draft202012Validator({**found, "$defs": schema()["$defs"]})

    assert found["description"].endswith(".")
    assert found["examples"]
    assert all(validator.is_valid(example) for example in found["examples"])


@pytest.mark.parametrize("choice", [Isolation, EraChoice, Start, Transport])
def test_a_choice_has_the_same_words_in_the_file_and_in_the_model(
    choice: type[Isolation | EraChoice | Start | Transport],
) -> None:
    key = "era" if choice is EraChoice else choice.__name__.lower()

    assert schema_at((*SERVER, key))["enum"] == list(choice)


def test_no_mapping_is_open() -> None:
    mappings = [place for place in places() if "object" in place["type"]]

    assert mappings
    for mapping in mappings:
        described = mapping["additionalProperties"]
        assert described is False or "propertyNames" in mapping


def test_a_pattern_is_explained_in_words() -> None:
    patterns = [place for place in places() if "pattern" in place]

    assert patterns
    assert all(place["patternErrorMessage"] for place in patterns)


@pytest.mark.parametrize("path", [("nope",), ("nats", "nope"), ("name", 0), ("x", "y", 1)], ids=str)
def test_where_no_key_belongs_the_schema_says_nothing(path: KeyPath) -> None:
    assert schema_at(path) == {}


def test_keys_have_a_schema_too() -> None:
    assert "pattern" in key_schema_at(("servers",))
    assert "pattern" in key_schema_at((*SERVER, "env"))
    assert key_schema_at(("nats",)) == {}
