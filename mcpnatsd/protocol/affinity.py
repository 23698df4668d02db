"""Which instance handed out which state.

A retry's `requestState` and a task's id mean something to one instance only. The state itself is
never touched: what belongs to whom is remembered by its hash (WIRE.md, "Affinity").
"""

from collections import OrderedDict
from typing import Final

MOST: Final = 10_000
"""States remembered; the one unused for longest is forgotten first."""


class Affinity:
    """A bounded memory of states and their instances."""

    def __init__(self) -> None:
        self._instances: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    def remember(self, server: str, state: bytes, instance: str) -> None:
        self._instances[server, state] = instance
        self._instances.move_to_end((server, state))
        if len(self._instances) > MOST:
            self._instances.popitem(last=False)

    def instance_of(self, server: str, state: bytes) -> str | None:
        """Return who handed the state out; None when nobody remembers.

        Two servers may hand out the same: a task's id may be a small number.
        """
        instance = self._instances.get((server, state))
        if instance is not None:
            self._instances.move_to_end((server, state))
        return instance
