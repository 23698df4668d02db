"""A principal's name on the bus: made once, and the same for whoever has the key."""

import pytest

from mcpnatsd.bus.client_bus import client_bus
from mcpnatsd.frontends.gateway import principals
from mcpnatsd.frontends.gateway.principals import Principals
from mcpnatsd.protocol.subjects import Prefix
from tests.connections import opened

KEY = b"k" * 32


def name_of(edge: str) -> str:
    return edge.partition(".")[0]


async def test_a_key_makes_the_same_name_again_and_another_key_another(nats_url: str) -> None:
    async with opened(nats_url) as connection:
        bus = await client_bus(connection, Prefix.parse("mcp"))
        one, again, other = (Principals(bus, key) for key in (KEY, KEY, b"o" * 32))

        names = [name_of(each.named("ann").edge) for each in (one, again, other)]
        assert names[0] == names[1] != names[2]
        assert len(names[0]) == 32
        assert name_of(one.named("bob").edge) != names[0]
        assert one.named("ann").edge != again.named("ann").edge
        assert one.named("ann") == again.named("ann") != one.named("bob")
        assert names[0] not in repr(one.named("ann"))


async def test_a_name_that_is_no_utf_8_is_a_name(nats_url: str) -> None:
    async with opened(nats_url) as connection:
        known = Principals(await client_bus(connection, Prefix.parse("mcp.{user}")), KEY)

        assert known.named("\ud800").bus.prefix == "mcp.=ED=A0=80"


async def test_a_name_is_made_once_and_not_all_are_remembered(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(principals, "MOST", 3)
    async with opened(nats_url) as connection:
        known = Principals(await client_bus(connection, Prefix.parse("mcp.{user}")), KEY)
        first = known.named("p0")
        assert known.named("p0") is first
        for number in range(10):
            known.named(f"p{number}")

        assert known.named("p0") is not first
        assert known.named("p0") == first
        assert known.named("p0").edge == first.edge


async def test_without_a_place_for_names_all_speak_as_the_gateway(nats_url: str) -> None:
    async with opened(nats_url) as connection:
        for prefix in ("mcp", "mcp.{account}"):
            bus = await client_bus(connection, Prefix.parse(prefix))
            known = Principals(bus, KEY)
            assert known.named("ann").bus is bus
        named = Principals(await client_bus(connection, Prefix.parse("mcp.{account}.{user}")), KEY)
        assert named.named("ann").bus.prefix == "mcp.=24G.ann"
