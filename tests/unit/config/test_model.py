"""Configuration values: what they keep, and what they refuse."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from mcpnatsd.config.model import Config, NatsConfig, ServerConfig


def test_a_value_cannot_change() -> None:
    config = Config()

    with pytest.raises(FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


def test_mappings_cannot_change_either() -> None:
    config = Config(servers={"a": ServerConfig(name="a", command=("a",), env={"X": "1"})})

    with pytest.raises(TypeError):
        config.servers["b"] = config.servers["a"]  # type: ignore[index]
    with pytest.raises(TypeError):
        config.servers["a"].env["X"] = "2"  # type: ignore[index]


def test_a_mapping_handed_in_and_changed_later_does_not_reach_the_value() -> None:
    env = {"X": "1"}
    server = ServerConfig(name="a", command=("a",), env=env)
    env["X"] = "2"

    assert server.env == {"X": "1"}


def test_two_configurations_with_the_same_content_are_equal() -> None:
    """A reload leaves a server alone by this comparison."""
    first, second = (
        Config(servers={"a": ServerConfig(name="a", command=("a",), env={"X": "1"})})
        for _ in range(2)
    )

    assert first == second
    assert first != Config()


def test_a_secret_is_not_in_the_repr() -> None:
    nats = NatsConfig(
        urls=("nats://u:hush@h",), credentials="hush", nkey="hush", token="hush", password="hush"
    )
    server = ServerConfig(name="a", command=("a",), env={"TOKEN": "hush"})

    assert "hush" not in repr(Config(nats=nats, servers={"a": server}))


def test_the_model_is_cheap_to_import() -> None:
    """The shim starts with it, and must not pay for YAML, JSON Schema or NATS."""
    code = (
        "import sys, mcpnatsd.config.model; "
        "print({'yaml', 'jsonschema', 'nats', 'asyncio'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )

    assert found.stdout.strip() == "set()"
