"""The life of a server process: the table, and the pauses."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.errors import LocalProtocolError
from mcpnatsd.protocol.lifecycle import TRANSITIONS, Backoff, Event, Lifecycle, State

UNNAMED = [
    (state, event)
    for state, event in product(State, Event)
    if event not in TRANSITIONS[state]
]  # fmt: skip


def backing_off(failures: int = 1) -> Lifecycle:
    life = Lifecycle(Backoff(first=1.0, factor=2.0, most=10.0))
    for _ in range(failures):
        life.start()
        life.exited(0.0)
    return life


def apply(life: Lifecycle, event: Event) -> None:
    match event:
        case Event.START:
            life.start()
        case Event.ANSWERED:
            life.answered()
        case Event.EXITED:
            life.exited(0.0)
        case Event.STOP:
            life.stop()


def test_a_server_starts_answers_and_stops() -> None:
    life = Lifecycle(Backoff())
    seen = [life.state]
    for event in (Event.START, Event.ANSWERED, Event.STOP, Event.EXITED):
        apply(life, event)
        seen.append(life.state)

    assert seen == [State.STOPPED, State.STARTING, State.READY, State.STOPPING, State.STOPPED]
    assert life.start_at is None


@pytest.mark.parametrize(("state", "event"), UNNAMED)
def test_what_the_table_does_not_name_is_a_bug_of_ours(state: State, event: Event) -> None:
    life = Lifecycle(Backoff())
    life.state = state

    with pytest.raises(LocalProtocolError, match=f"{event} while {state}"):
        apply(life, event)
    assert life.state is state


@given(st.lists(st.sampled_from(Event)))
def test_no_state_is_final(events: list[Event]) -> None:
    life = Lifecycle(Backoff())
    for event in events:
        if event in TRANSITIONS[life.state]:
            apply(life, event)

    for event in (Event.STOP, Event.EXITED, Event.START):
        if event in TRANSITIONS[life.state]:
            apply(life, event)

    assert life.state is State.STARTING


def test_each_failure_makes_the_pause_longer_up_to_a_bound() -> None:
    pauses = [backing_off(failures).start_at for failures in range(1, 7)]

    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_the_pause_counts_from_the_exit() -> None:
    life = Lifecycle(Backoff(first=0.5))
    life.start()
    life.answered()
    life.exited(100.0)

    assert life.state is State.BACKOFF
    assert life.start_at == 100.5


def test_a_banner_forgives_nothing_an_answered_request_does() -> None:
    life = backing_off(3)
    life.start()
    life.answered()
    assert life.failures == 3

    life.served()
    life.exited(0.0)

    assert (life.failures, life.start_at) == (1, 1.0)


def test_a_server_that_is_stopped_while_it_waits_is_not_started_again() -> None:
    life = backing_off()

    life.stop()

    assert (life.state, life.start_at) == (State.STOPPED, None)


def test_an_exit_that_was_asked_for_is_no_failure() -> None:
    life = Lifecycle(Backoff())
    life.start()
    life.stop()
    life.exited(5.0)

    assert (life.state, life.failures, life.start_at) == (State.STOPPED, 0, None)


def test_stopping_twice_is_stopping() -> None:
    life = Lifecycle(Backoff())
    life.stop()
    life.start()
    life.stop()
    life.stop()

    assert life.state is State.STOPPING


def test_a_million_failures_do_not_overflow() -> None:
    assert Backoff().delay(1_000_000) == 30.0
