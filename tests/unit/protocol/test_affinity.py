"""Which instance handed out which state."""

from mcpnatsd.protocol import affinity
from mcpnatsd.protocol.affinity import Affinity


def test_a_state_goes_back_to_who_handed_it_out() -> None:
    memory = Affinity()
    memory.remember(b"s1", "one")
    memory.remember(b"s2", "two")

    assert memory.instance_of(b"s1") == "one"
    assert memory.instance_of(b"s2") == "two"
    assert memory.instance_of(b"s3") is None


def test_the_last_one_to_hand_a_state_out_has_it() -> None:
    memory = Affinity()
    memory.remember(b"s", "one")
    memory.remember(b"s", "two")

    assert memory.instance_of(b"s") == "two"


def test_what_nobody_used_for_longest_is_forgotten_first() -> None:
    memory = Affinity()
    for number in range(affinity.MOST):
        memory.remember(b"%d" % number, "one")
    memory.instance_of(b"0")
    memory.remember(b"1", "one")

    memory.remember(b"new", "two")
    memory.remember(b"newer", "two")

    assert memory.instance_of(b"0") == memory.instance_of(b"1") == "one"
    assert memory.instance_of(b"2") is memory.instance_of(b"3") is None
    assert memory.instance_of(b"4") == "one"
