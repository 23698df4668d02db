"""One end of a tunnel, then two of them over a network that loses what it likes."""

from collections import deque
from typing import Literal, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcpnatsd.protocol import tunnel
from mcpnatsd.protocol.tunnel import End, Sent


def end() -> End[str]:
    return End(0.0)


# Sending.


def test_messages_are_numbered_from_one() -> None:
    ours = end()

    assert [ours.send("a", 1), ours.send("b", 1)] == [1, 2]
    assert ours.sent == 2


def test_what_is_not_acknowledged_is_sent_again_in_order() -> None:
    ours = end()
    for body in "abc":
        ours.send(body, 1)

    assert ours.resend_from(2) == [Sent(2, "b", 1), Sent(3, "c", 1)]
    assert ours.resend_from(2) == [Sent(2, "b", 1), Sent(3, "c", 1)]
    assert ours.resend_from(4) == []
    assert ours.unacked == 0


def test_a_message_is_replaced_under_its_number() -> None:
    ours = end()
    for body in "abc":
        ours.send(body, 1)
    ours.receive_ack(1)

    ours.replace(3, "x")

    assert ours.unacknowledged() == [Sent(2, "b", 1), Sent(3, "x", 1)]
    assert ours.resend_from(3) == [Sent(3, "x", 1)]


def test_an_old_acknowledgement_changes_nothing() -> None:
    ours = end()
    for body in "abc":
        ours.send(body, 1)
    ours.receive_ack(2)
    ours.receive_ack(1)
    ours.receive_ack(0)

    assert ours.unacked == 1


def test_the_window_closes_at_1024_messages_and_opens_with_one_acknowledged() -> None:
    ours = end()
    for _ in range(1023):
        ours.send("", 0)
    assert not ours.full

    ours.send("", 0)

    assert ours.full
    ours.receive_ack(1)
    assert not ours.full


def test_the_window_closes_at_16_mib() -> None:
    ours = end()
    ours.send("", 16 * 1024 * 1024 - 1)
    assert not ours.full
    ours.send("", 1)
    assert ours.full

    ours.receive_ack(1)

    assert not ours.full


# Receiving.


def test_only_the_next_message_is_passed_on() -> None:
    ours = end()

    assert [ours.receive(seq, 1) for seq in (1, 1, 3, 0, -1, 2, 2, 3)] == [
        True, False, False, False, False, True, False, True,
    ]  # fmt: skip
    assert ours.received == 3


def test_a_gap_is_asked_for_once_a_second() -> None:
    ours = end()
    ours.receive(1, 1)

    assert [ours.gap(3, now) for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


def test_what_arrived_already_is_no_gap() -> None:
    ours = end()
    ours.receive(1, 1)

    assert not ours.gap(0, 0.0)
    assert not ours.gap(1, 0.0)
    assert ours.gap(2, 0.0)


def test_an_acknowledgement_is_due_after_64_messages() -> None:
    ours = end()
    for seq in range(1, 64):
        ours.receive(seq, 0)
    assert not ours.ack_due
    ours.receive(64, 0)
    assert ours.ack_due

    assert ours.acknowledge(0.0) == (64, 0)

    assert not ours.ack_due


def test_an_acknowledgement_is_due_after_one_mib() -> None:
    ours = end()
    ours.receive(1, 1024 * 1024 - 1)
    assert not ours.ack_due
    ours.receive(2, 1)

    assert ours.ack_due


def test_a_duplicate_does_not_count_towards_an_acknowledgement() -> None:
    ours = end()
    ours.receive(1, 1)
    for _ in range(3):
        ours.receive(1, 1024 * 1024)

    assert not ours.ack_due


# Clocks.


def test_an_idle_end_beats_every_15_seconds() -> None:
    ours = end()

    assert not ours.beat_due(14.9)
    assert ours.beat_due(15.0)
    ours.acknowledge(15.0)
    assert not ours.beat_due(29.9)


def test_an_end_with_something_open_beats_every_second() -> None:
    sending, receiving = end(), end()
    sending.send("a", 1)
    receiving.receive(1, 1)

    for ours in (sending, receiving):
        assert not ours.beat_due(0.9)
        assert ours.beat_due(1.0)


def test_a_held_end_beats_on_without_acknowledging() -> None:
    ours = end()
    ours.receive(1, 1)
    ours.acknowledge(0.0)
    ours.receive(2, 1)

    assert ours.hold(1.0) == (1, 0)
    assert not ours.beat_due(1.9)
    assert ours.acknowledge(2.0) == (2, 0)


def test_silence_for_45_seconds_is_a_loss() -> None:
    ours = end()
    ours.heard(10.0)

    assert not ours.lost(54.9)
    assert ours.lost(55.0)


def test_a_reconnect_starts_all_clocks_anew() -> None:
    """WIRE.md, "Frames": silence counts only while our own connection is up."""
    ours = end()
    assert ours.gap(1, 99.5)

    ours.reconnected(100.0)

    assert not ours.lost(144.9)
    assert not ours.beat_due(114.9)
    assert ours.gap(1, 100.0)


# Two ends. WIRE.md, "Cancellation and loss": a broker's restart loses what was in flight.

Kind = Literal["message", "ack", "resume"]


class Packet(NamedTuple):
    kind: Kind
    number: int
    """Of the message; the highest received, for `ack`; the next wanted, for `resume`."""

    body: str = ""
    sent: int = 0


class Side:
    """What the bus does with an end, and nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.end: End[str] = End(0.0)
        self.line: deque[Packet] = deque()
        self.said: list[str] = []
        self.got: list[str] = []

    def say(self) -> None:
        body = f"{self.name}{len(self.said)}"
        self.said.append(body)
        self.line.append(Packet("message", self.end.send(body, 1000), body))

    def receive(self, packet: Packet, now: float) -> None:
        self.end.heard(now)
        if packet.kind == "message":
            self.receive_message(packet, now)
            return
        if packet.kind == "ack":
            self.end.receive_ack(packet.number)
        else:
            again = self.end.resend_from(packet.number)
            self.line.extend(Packet("message", sent.seq, sent.body) for sent in again)
        if self.end.gap(packet.sent, now):
            self.resume(now)

    def receive_message(self, packet: Packet, now: float) -> None:
        if self.end.receive(packet.number, len(packet.body)):
            self.got.append(packet.body)
            if self.end.ack_due:
                self.beat(now)
        elif self.end.gap(packet.number, now):
            self.resume(now)

    def beat(self, now: float) -> None:
        received, sent = self.end.acknowledge(now)
        self.line.append(Packet("ack", received, sent=sent))

    def resume(self, now: float) -> None:
        received, sent = self.end.acknowledge(now)
        self.line.append(Packet("resume", received + 1, sent=sent))

    def reconnect(self, now: float) -> None:
        self.end.reconnected(now)
        self.resume(now)


class TwoEnds(RuleBasedStateMachine):
    """Whatever is lost, all arrives once and in order, and in the end nothing is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sides = (Side("client"), Side("server"))

    @rule(who=st.booleans(), count=st.integers(min_value=1, max_value=100))
    def speak(self, who: bool, count: int) -> None:  # noqa: FBT001
        side = self.sides[who]
        for _ in range(count):
            if not side.end.full:
                side.say()

    @precondition(lambda self: any(side.line for side in self.sides))
    @rule(who=st.booleans(), count=st.integers(min_value=1, max_value=150))
    def deliver(self, who: bool, count: int) -> None:  # noqa: FBT001
        line = self.sides[who].line
        for _ in range(min(count, len(line))):
            self.sides[not who].receive(line.popleft(), self.now)

    @rule(
        keep=st.tuples(*[st.integers(min_value=0, max_value=200)] * 2),
        noticed=st.sampled_from([(0,), (1,), (0, 1), (1, 0)]),
        away=st.floats(min_value=0.0, max_value=100.0),
    )
    def restart_the_broker(
        self, keep: tuple[int, int], noticed: tuple[int, ...], away: float
    ) -> None:
        for side, kept in zip(self.sides, keep, strict=True):
            side.line = deque(list(side.line)[:kept])
        self.now += away
        for who in noticed:
            self.sides[who].reconnect(self.now)

    @precondition(lambda self: any(side.line for side in self.sides))
    @rule(who=st.booleans(), at=st.integers(min_value=0, max_value=200))
    def lose_one(self, who: bool, at: int) -> None:  # noqa: FBT001
        line = self.sides[who].line
        if line:
            del line[at % len(line)]

    @rule(seconds=st.sampled_from([0.1, 1.0, 15.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            if side.end.beat_due(self.now):
                side.beat(self.now)

    @invariant()
    def what_arrived_is_a_start_of_what_was_said(self) -> None:
        client, server = self.sides
        assert server.got == client.said[: len(server.got)]
        assert client.got == server.said[: len(client.got)]

    def teardown(self) -> None:
        for _ in range(40):  # a lost acknowledgement is repeated by the next idle beat
            self.wait(1.0)
            while any(side.line for side in self.sides):
                for who in (False, True):
                    self.deliver_all(who)
        client, server = self.sides
        assert (server.got, client.got) == (client.said, server.said)
        assert [side.end.unacked for side in self.sides] == [0, 0]
        assert not any(side.end.full for side in self.sides)

    def deliver_all(self, who: bool) -> None:  # noqa: FBT001
        line = self.sides[who].line
        while line:
            self.sides[not who].receive(line.popleft(), self.now)


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("size", [0, 1, tunnel.WINDOW_BYTES * 2])
def test_one_message_larger_than_the_window_still_goes(size: int) -> None:
    ours = end()
    assert not ours.full

    ours.send("large", size)
    ours.receive_ack(1)

    assert not ours.full
    assert ours.unacked == 0
