"""Final frames kept for callers that ask again."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.bus import finals
from mcpnatsd.bus.finals import Finals
from mcpnatsd.protocol import frames

MIB = 1024 * 1024


@dataclass
class Ended:
    """An exchange that is over."""

    call: str
    reply: str = "inbox.1"
    seq: int = 3
    user: bytes = b"ann"


def sized(cost: int) -> bytes:
    """Return a line that costs so many bytes to keep."""
    return bytes(max(0, cost - finals._OVERHEAD))


def keep(store: Finals, call: str, line: bytes = b"{}", now: float = 0.0) -> None:
    store.keep(Ended(call), line, server="git", now=now)


def test_a_final_frame_is_kept_for_a_minute() -> None:
    store = Finals()
    keep(store, "a", b"first", now=10.0)

    store.expire(69.9)
    kept = store.get("a")
    assert kept is not None
    assert (kept.line, kept.seq, kept.user) == (b"first", 3, b"ann")

    store.expire(70.0)
    assert store.get("a") is None


def test_asking_does_not_use_it_up() -> None:
    store = Finals()
    keep(store, "a")

    assert store.get("a") is store.get("a") is not None
    assert store.get("b") is None


def test_what_a_client_was_answered_goes_with_it() -> None:
    store = Finals()
    for call in ("one.1", "one.2", "other.1", "one"):
        keep(store, call)
    store.keep(Ended("one.3", user=b"eve"), b"{}", server="git", now=0.0)

    store.left("one", b"ann")
    store.left("", b"ann")
    store.expire(1.0)

    kept = [call for call in ("one.1", "one.2", "one.3", "other.1", "one") if store.get(call)]
    assert kept == ["one.3", "other.1"]  # eve is somebody else
    keep(store, "one.4", now=1.0)
    store.expire(2.0)
    assert store.get("one.4") is not None


def test_what_was_forgotten_makes_room() -> None:
    store = Finals()
    for number in range(8):
        for call in "abcd":
            keep(store, f"{call}{number}.1", sized(8 * MIB))
            store.left(f"{call}{number}", b"ann")
        store.expire(1.0)
    for call in "abcd":
        keep(store, call, sized(8 * MIB))

    assert all(store.get(call) for call in "abcd")


def test_32_mib_are_kept_and_the_oldest_goes_first() -> None:
    store = Finals()
    for call in "abcd":
        keep(store, call, sized(8 * MIB))
    assert all(store.get(call) for call in "abcd")

    keep(store, "e", b"x")

    assert store.get("a") is None
    assert all(store.get(call) for call in "bcde")


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    store = Finals()
    keep(store, "a", bytes(32 * MIB + 1))
    assert store.get("a") is None

    keep(store, "b")

    assert store.get("b") is not None


def test_a_call_token_used_again_replaces_what_was_kept() -> None:
    """A caller may do so; the room that the old frame took is free again."""
    store = Finals()
    for _ in range(5):
        keep(store, "a", sized(20 * MIB))
    keep(store, "b", sized(12 * MIB))

    assert store.get("a") is not None
    assert store.get("b") is not None
    store.expire(60.0)
    assert store._bytes == 0


def test_one_kept_again_is_young_again() -> None:
    store = Finals()
    keep(store, "a", now=0.0)
    keep(store, "b", now=1.0)
    keep(store, "a", now=50.0)

    store.expire(61.0)

    assert store.get("b") is None
    assert store.get("a") is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.integers(min_value=0, max_value=20),
            st.floats(min_value=0, max_value=40),
        )
    )
)
def test_the_bytes_are_those_of_what_is_kept(steps: list[tuple[str, int, float]]) -> None:
    store, now = Finals(), 0.0
    for call, size, later in steps:
        keep(store, call, sized(size * MIB), now)
        now += later
        store.expire(now)

        assert store._bytes == sum(finals._cost(kept.line) for kept in store._kept.values())
        assert store._bytes <= frames.KEEP_FINALS_BYTES
        assert all(kept.until > now for kept in store._kept.values())


def test_a_call_we_denied_to_run_does_not_start_for_a_minute() -> None:
    store = Finals()
    store.refuse("a", 0.0)

    store.expire(59.9)
    assert store.is_refused("a")
    assert not store.is_refused("b")

    store.expire(60.0)
    assert not store.is_refused("a")


def test_asked_again_it_is_refused_for_another_minute_and_holds_nobody_else_up() -> None:
    store = Finals()
    store.refuse("a", 0.0)
    store.refuse("b", 1.0)
    store.refuse("a", 50.0)

    store.expire(61.0)

    assert store.is_refused("a")
    assert not store.is_refused("b")


def test_refusals_have_a_bound() -> None:
    store = Finals()
    for number in range(finals.MOST_REFUSED + 2):
        store.refuse(str(number), 0.0)

    assert not store.is_refused("0")
    assert not store.is_refused("1")
    assert store.is_refused("2")


def test_after_an_outage_everything_has_its_whole_time_again() -> None:
    """During one nobody can ask."""
    store = Finals()
    for call in "ab":
        keep(store, call)
        store.refuse(f"not-{call}", 0.0)

    store.reconnected(1000.0)

    store.expire(1059.9)
    assert all(store.get(call) for call in "ab")
    assert store.is_refused("not-a")
    store.expire(1060.0)
    assert not any(store.get(call) for call in "ab")
    assert not store.is_refused("not-a")


def test_what_was_answered_just_before_a_loss_can_be_said_again() -> None:
    """It may have gone into a dead socket: its caller's connection need not have broken."""
    store = Finals()
    keep(store, "early", b"1", now=10.0)
    keep(store, "late", b"2", now=30.0)
    store.keep(Ended("other"), b"3", server="time", now=30.0)

    assert [kept.line for kept in store.since(20.0, "git")] == [b"2"]
