"""The example file: it works as it is, and it names every key."""

import re
from collections.abc import Iterator
from pathlib import Path

from mcpnatsd.config.load import load
from mcpnatsd.config.model import Config, HttpEndpoint, HttpLimits, Limits, UnixEndpoint
from mcpnatsd.config.schema import schema

EXAMPLE = Path(__file__).parents[3] / "etc" / "mcpnatsd.yaml"
KEYED = re.compile(r"^( +)# ( *(?:- )?[A-Za-z_]+:(?: .*)?)$", re.MULTILINE)


def with_every_key() -> str:
    """Return the example with each key it shows switched on, and its references made literal."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return KEYED.sub(r"\1\2", text).replace("${", "$${")


def test_it_loads_as_it_is_without_any_environment() -> None:
    assert load(EXAMPLE, {}) == Config()


def test_the_example_of_a_drop_in_is_right() -> None:
    assert set(load(EXAMPLE.parent / "conf.d" / "time.yaml", {}).servers) == {"time"}


def test_an_editor_finds_the_schema() -> None:
    first, *rest = EXAMPLE.read_text(encoding="utf-8").splitlines()

    assert first == "# yaml-language-server: $schema=mcpnatsd.schema.json"
    assert "#     mcpnatsd schema > mcpnatsd.schema.json" in rest


def test_every_key_it_shows_is_right(tmp_path: Path) -> None:
    path = tmp_path / "every.yaml"
    one_nats = with_every_key().replace("  url: nats://127.0.0.1:4222\n", "", 1)
    path.write_text(one_nats, encoding="utf-8")
    config = load(path, {})

    assert set(config.servers) == {"everything", "existing", "files"}
    assert config.servers["existing"].url == "http://127.0.0.1:8000/mcp"
    assert set(config.servers["existing"].headers) == {"Authorization"}
    assert config.servers["files"].limits == Limits()
    assert config.servers["files"].env["PORT"] == "8080"
    assert isinstance(config.endpoints[0], UnixEndpoint)
    assert config.endpoints[0].mode == 0o600
    assert isinstance(config.endpoints[1], HttpEndpoint)
    assert config.endpoints[1].limits == HttpLimits()
    assert config.nats.tls is not None
    assert config.nats.tls.first


def test_it_shows_every_key_of_the_schema() -> None:
    shown = set(re.findall(r"^ *(?:- )?([a-z_]+):", with_every_key(), re.MULTILINE))

    assert set(keys_of(schema())) <= shown


def keys_of(place: object) -> Iterator[str]:
    """Every key that a file can hold, anywhere."""
    match place:
        case {"properties": dict(properties), **rest}:
            yield from properties
            yield from keys_of([*properties.values(), rest])
        case dict():
            yield from keys_of(list(place.values()))
        case list():
            for item in place:
                yield from keys_of(item)
        case _:
            pass
