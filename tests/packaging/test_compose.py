"""The compose file: it keeps the specification, and what it configures is right."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from mcpnatsd.config.load import load
from mcpnatsd.daemon.draining import DRAIN_FOR

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "packaging" / "compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")


def services() -> dict[str, Any]:
    found = yaml.safe_load(TEXT)["services"]
    assert isinstance(found, dict)
    return found


def test_it_keeps_the_specification() -> None:
    assert len(PyCompose.from_yaml(TEXT)) == 3


def test_a_misspelt_key_would_be_found() -> None:
    with pytest.raises(ValueError, match="read_onyl"):
        PyCompose.from_yaml(TEXT.replace("read_only", "read_onyl"))


def test_nothing_is_put_into_a_root_that_is_read_only() -> None:
    """Docker Compose copies the text of a config or a secret into the container itself."""
    assert {"configs", "secrets"}.isdisjoint(yaml.safe_load(TEXT))
    assert {"configs", "secrets"}.isdisjoint(services()["mcpnatsd"])


def test_its_configuration_is_valid_and_names_its_services() -> None:
    mounts = dict(volume.split(":", 1) for volume in services()["mcpnatsd"]["volumes"])
    [folder] = [source for source, target in mounts.items() if target == "/etc/mcpnatsd:ro,z"]
    config = load(FILE.parent / folder / "mcpnatsd.yaml", {})

    [server] = config.servers.values()
    assert server.url == "http://everything:3001/mcp"
    assert config.nats.urls == ("nats://nats:4222",)
    assert {"everything", "nats"} < services().keys()
    assert services()["everything"]["environment"]["PORT"] == "3001"


def test_the_daemon_has_no_rights_and_time_to_drain() -> None:
    daemon = services()["mcpnatsd"]

    assert daemon["read_only"]
    assert daemon["cap_drop"] == ["ALL"]
    assert daemon["user"] == "65532:65532"
    assert int(daemon["stop_grace_period"].removesuffix("s")) > DRAIN_FOR + 5


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for one in services().values() for port in one.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
