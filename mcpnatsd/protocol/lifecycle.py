"""The life of one server process, as a table.

Whatever decides a state is in this file, and time comes in as an argument, in seconds of a
monotonic clock. No state is final: a server that kept failing is tried again after a pause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final

from mcpnatsd.errors import LocalProtocolError


class State(StrEnum):
    STOPPED = auto()
    STARTING = auto()
    READY = auto()
    BACKOFF = auto()
    STOPPING = auto()


class Event(StrEnum):
    START = auto()
    ANSWERED = auto()  # it answered the first request that we sent
    EXITED = auto()  # it ended, or could not be started
    STOP = auto()


TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType({
    State.STOPPED: {Event.START: State.STARTING, Event.STOP: State.STOPPED},
    State.STARTING: {
        Event.ANSWERED: State.READY,
        Event.EXITED: State.BACKOFF,
        Event.STOP: State.STOPPING,
    },
    State.READY: {Event.EXITED: State.BACKOFF, Event.STOP: State.STOPPING},
    State.BACKOFF: {Event.START: State.STARTING, Event.STOP: State.STOPPED},
    State.STOPPING: {Event.EXITED: State.STOPPED, Event.STOP: State.STOPPING},
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between attempts, in seconds."""

    first: float = 0.5
    factor: float = 2.0
    most: float = 30.0

    def delay(self, failures: int) -> float:
        """Return the pause after so many failures in a row, at least one."""
        return min(self.most, self.first * self.factor ** min(failures - 1, 16))


class Lifecycle:
    """Where the process is, and when it may next be started."""

    def __init__(self, backoff: Backoff) -> None:
        self.state = State.STOPPED
        self.start_at: float | None = None
        self.failures = 0
        self._backoff = backoff

    def start(self) -> None:
        self._apply(Event.START)

    def answered(self) -> None:
        self._apply(Event.ANSWERED)

    def served(self) -> None:
        """Forget past failures: only an answered request proves that it works, not a banner."""
        self.failures = 0

    def exited(self, now: float) -> None:
        self._apply(Event.EXITED)
        if self.state is State.BACKOFF:
            self.failures += 1
            self.start_at = now + self._backoff.delay(self.failures)

    def stop(self) -> None:
        self._apply(Event.STOP)

    def _apply(self, event: Event) -> None:
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise LocalProtocolError(f"{event} while {self.state}") from None
        self.start_at = None
