"""Which instance handed out which state."""

from mcpnatsd.protocol import affinity
from mcpnatsd.protocol.affinity import Affinity


def test_a_state_goes_back_to_who_handed_it_out() -> None:
    memory = Affinity()
    memory.remember("git", b"s1", "one")
    memory.remember("git", b"s2", "two")

    assert memory.instance_of("git", b"s1") == "one"
    assert memory.instance_of("git", b"s2") == "two"
    assert memory.instance_of("git", b"s3") is None


def test_the_last_one_to_hand_a_state_out_has_it() -> None:
    memory = Affinity()
    memory.remember("git", b"s", "one")
    memory.remember("git", b"s", "two")

    assert memory.instance_of("git", b"s") == "two"


def test_what_nobody_used_for_longest_is_forgotten_first() -> None:
    memory = Affinity()
    for number in range(affinity.MOST):
        memory.remember("git", b"%d" % number, "one")
    memory.instance_of("git", b"0")
    memory.remember("git", b"1", "one")

    memory.remember("git", b"new", "two")
    memory.remember("git", b"newer", "two")

    assert memory.instance_of("git", b"0") == memory.instance_of("git", b"1") == "one"
    assert memory.instance_of("git", b"2") is memory.instance_of("git", b"3") is None
    assert memory.instance_of("git", b"4") == "one"


def test_two_servers_may_hand_out_the_same() -> None:
    memory = Affinity()
    memory.remember("git", b"s", "one")
    memory.remember("time", b"s", "two")

    assert memory.instance_of("git", b"s") == "one"
    assert memory.instance_of("time", b"s") == "two"
    assert memory.instance_of("other", b"s") is None
