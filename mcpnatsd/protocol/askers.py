"""Which requests of one server have been seen to ask their client.

A name that is known for sure is one whose request was the only one that can have asked. A suspect
was among several: once a request of that name ends without having been asked for, it is none.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

MOST: Final = 1000
"""Names remembered. The oldest are forgotten, and learnt again when they ask."""

Name = tuple[str, str]
"""A method, and the tool, prompt or URI that it names."""


Value = TypeVar("Value")


class Askers:
    """The names that are known, or suspected, to ask, and those that were seen not to."""

    def __init__(self) -> None:
        self._sure: dict[Name, bool] = {}
        self._quiet: dict[Name, None] = {}

    def __contains__(self, name: Name | None) -> bool:
        return name in self._sure

    def surely(self, name: Name | None) -> bool:
        """Say whether a name is known for sure."""
        return name is not None and self._sure.get(name, False)

    def quiet(self, name: Name | None) -> bool:
        """Say whether a request of this name has ended without having asked, and none did ask."""
        return name in self._quiet

    def learn(self, name: Name) -> None:
        """Learn who asked."""
        self._sure.pop(name, None)
        self._sure[name] = True
        self._quiet.pop(name, None)
        _forget_oldest(self._sure)

    def suspect(self, names: Iterable[Name]) -> None:
        """Learn who may have asked."""
        for name in names:
            self._sure.setdefault(name, False)
        _forget_oldest(self._sure)

    def clear(self, name: Name) -> None:
        """Learn that a request of this name ended, and had not asked."""
        if name in self._quiet and name not in self._sure:
            return
        if not self._sure.get(name, False):
            self._sure.pop(name, None)
            self._quiet[name] = None
            _forget_oldest(self._quiet)


def _forget_oldest(names: dict[Name, Value]) -> None:
    while len(names) > MOST:
        del names[next(iter(names))]
