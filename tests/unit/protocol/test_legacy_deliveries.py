"""What a session in use may want done."""

from typing import get_args

import msgspec

from mcpnatsd.protocol import legacy_deliveries
from mcpnatsd.protocol.legacy_deliveries import Delivery


def test_everything_that_can_be_wanted_is_a_delivery() -> None:
    """Who carries deliveries out matches on the union: a class outside it would be dropped."""
    classes = {
        value
        for value in vars(legacy_deliveries).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == legacy_deliveries.__name__
    }
    known = {getattr(one, "__origin__", one) for one in get_args(Delivery)}

    assert classes == known
