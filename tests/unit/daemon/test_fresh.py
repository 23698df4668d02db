"""Whose turn it is when NATS refuses us: the secrets that were good, or those in the file."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mcpnatsd.config.model import NatsConfig
from mcpnatsd.daemon import fresh
from mcpnatsd.daemon.fresh import FreshNats
from mcpnatsd.errors import ConfigError

GOOD = NatsConfig(urls=("nats://h:1",), user="one", password="good")


class Said:
    """What the file says, and how often NATS refused us."""

    def __init__(self, found: NatsConfig | ConfigError) -> None:
        self.found = found
        self.refusals = 0

    def read(self) -> NatsConfig:
        if isinstance(self.found, ConfigError):
            raise self.found
        return self.found

    def passwords(self, *, first: NatsConfig = GOOD, many: int = 4) -> list[str]:
        """Return what is tried, refused each time."""
        nats = FreshNats(first, self.read, lambda: self.refusals)
        found = []
        for _ in range(many):
            found.append(now(nats.password))
            self.refusals += 1
        return found


def now(secret: Callable[[], str] | None) -> str:
    assert secret is not None
    return secret()


@pytest.fixture(autouse=True)
def _always_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "FRESH_FOR", 0.0)


def test_what_was_good_is_tried_first_and_what_the_file_says_after_a_refusal() -> None:
    said = Said(replace(GOOD, password="other"))

    assert said.passwords() == ["good", "other", "good", "other"]


def test_what_was_refused_before_it_began_does_not_count() -> None:
    said = Said(replace(GOOD, password="other"))
    said.refusals = 3

    assert said.passwords(many=2) == ["good", "other"]


@pytest.mark.parametrize(
    "other",
    [
        replace(GOOD, urls=("nats://elsewhere:1",), password="other"),
        replace(GOOD, prefix="p", password="other"),
        replace(GOOD, password="other", token="t"),
    ],
)
def test_secrets_for_another_nats_are_never_tried_here(other: NatsConfig) -> None:
    assert set(Said(other).passwords()) == {"good"}


def test_a_wrong_file_changes_nothing() -> None:
    assert set(Said(ConfigError("not YAML")).passwords()) == {"good"}


def test_another_user_is_tried_unless_the_prefix_holds_it() -> None:
    other = {"user": "two", "password": "other"}
    within = replace(GOOD, prefix="mcp.{user}")

    assert Said(replace(GOOD, **other)).passwords(many=2) == ["good", "other"]
    assert Said(replace(within, **other)).passwords(first=within, many=2) == ["good", "good"]
