"""What a reload has to do, and how to undo it.

Values only. A secret may stand in any setting, so a difference is told by the settings' names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from mcpnatsd.config.files import endpoint_files, nats_files
from mcpnatsd.config.model import (
    Config,
    HttpEndpoint,
    LogConfig,
    NatsConfig,
    ServerConfig,
    UnixEndpoint,
)
from mcpnatsd.errors import RestartRequired

T = TypeVar("T")

Endpoint = UnixEndpoint | HttpEndpoint

_LIVE: Final = frozenset({"nats", "servers", "endpoints", "log"})
"""Sections that can change while the daemon runs. Any other key needs a restart."""

_FIXED: Final = ("prefix", "inbox_prefix", "embedded")
"""Keys of `nats` that subjects and processes were made of."""

_WHO: Final = ("credentials", "nkey", "token", "user")
"""Keys that may make us another user: with `{user}` in the prefix, our clients ask as that one."""

_WRITTEN: Final = {"urls": "url", "path": "unix", "address": "http"}
"""What a field is called in the file, where that differs."""


class Sign(StrEnum):
    """What becomes of something."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """Something before and after; None where it is not there."""

    old: T | None
    new: T | None
    keys: tuple[str, ...] = ()
    """Settings that differ, or the files that hold something else now."""

    @property
    def sign(self) -> Sign:
        if self.old is None:
            return Sign.ADDED
        return Sign.REMOVED if self.new is None else Sign.CHANGED

    def flipped(self) -> "Change[T]":
        return Change(self.new, self.old, self.keys)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan."""

    sign: Sign
    what: str
    name: str = ""
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it as people read it: `~ server files (env, limits.call_timeout)`."""
        named = " ".join(filter(None, (self.sign, self.what, self.name)))
        return f"{named} ({', '.join(self.keys)})" if self.keys else named


@dataclass(frozen=True, slots=True)
class Diff:
    """What two configurations do not have in common. What is in none of these is left alone."""

    servers: Mapping[str, Change[ServerConfig]]
    endpoints: Mapping[str, Change[Endpoint]]
    """By `place_keys`."""

    nats: Change[NatsConfig] | None = None
    log: Change[LogConfig] | None = None

    def __bool__(self) -> bool:
        return bool(self.servers or self.endpoints or self.nats or self.log)

    def flipped(self) -> "Diff":
        """Return the way back."""
        return Diff(
            {name: change.flipped() for name, change in self.servers.items()},
            {key: change.flipped() for key, change in self.endpoints.items()},
            self.nats and self.nats.flipped(),
            self.log and self.log.flipped(),
        )

    @property
    def plan(self) -> tuple[Step, ...]:
        """What is to be done, a line for each thing."""
        steps = [Step(one.sign, "server", name, one.keys) for name, one in self.servers.items()]
        steps += [Step(one.sign, "endpoint", key, one.keys) for key, one in self.endpoints.items()]
        steps += [
            Step(Sign.CHANGED, what, keys=one.keys)
            for what, one in (("nats", self.nats), ("log", self.log))
            if one is not None
        ]
        return tuple(steps)


def between(old: Config, new: Config, renewed: frozenset[str] = frozenset()) -> Diff:
    """Compare two configurations; `renewed` are files with other content than before.

    Raises:
        RestartRequired: They differ in what cannot change live.
    """
    if fixed := tuple(_fixed(old, new)):
        names = ", ".join(fixed)
        raise RestartRequired(f"a reload cannot change {names}: restart the daemon for that")
    nats = (*differing(old.nats, new.nats), *_held(nats_files(new.nats), renewed))
    log = differing(old.log, new.log)
    return Diff(
        _changes(old.servers, new.servers, {}),
        _changes(
            place_keys(old.endpoints),
            places := place_keys(new.endpoints),
            {key: _held(endpoint_files(one), renewed) for key, one in places.items()},
        ),
        Change(old.nats, new.nats, nats) if nats else None,
        Change(old.log, new.log, log) if log else None,
    )


def place_keys(endpoints: tuple[Endpoint, ...]) -> dict[str, Endpoint]:
    """Return endpoints by where they are. Several may ask for any free port: they are counted."""
    found: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        if isinstance(endpoint, UnixEndpoint):
            key = base = f"unix:{endpoint.path}"
        else:
            key = base = f"http:{endpoint.address}"
        number = 1
        while key in found:
            number += 1
            key = f"{base} #{number}"
        found[key] = endpoint
    return found


def differing(old: object, new: object) -> tuple[str, ...]:
    """Return which settings of two values of one class differ, as `limits.call_timeout`."""
    return tuple(_differing(old, new))


def _differing(old: object, new: object, within: str = "") -> Iterator[str]:
    if old == new:
        return
    if not is_dataclass(old) or type(old) is not type(new):
        yield within
        return
    for field in fields(old):
        name = _WRITTEN.get(field.name, field.name)
        below = f"{within}.{name}" if within else name
        yield from _differing(getattr(old, field.name), getattr(new, field.name), below)


def _changes(
    old: Mapping[str, T], new: Mapping[str, T], held: Mapping[str, tuple[str, ...]]
) -> dict[str, Change[T]]:
    """Compare by name; the new file's order, and then what is not in it."""
    found: dict[str, Change[T]] = {}
    for name, value in new.items():
        if name not in old:
            found[name] = Change(None, value)
        elif keys := (*differing(old[name], value), *held.get(name, ())):
            found[name] = Change(old[name], value, keys)
    found.update({name: Change(old[name], None) for name in old if name not in new})
    return found


def _held(files: tuple[str, ...], renewed: frozenset[str]) -> tuple[str, ...]:
    return tuple(f"content of {file}" for file in files if file in renewed)


def _fixed(old: Config, new: Config) -> Iterator[str]:
    """Name what cannot change live, as it is written in the file."""
    for field in fields(Config):
        if field.name not in _LIVE and getattr(old, field.name) != getattr(new, field.name):
            yield field.name
    fixed = {*_FIXED, *(_WHO if "{" in old.nats.prefix else ())}
    live = old.nats.embedded is None and new.nats.embedded is None
    for key in differing(old.nats, new.nats):
        if not live or key.partition(".")[0] in fixed:
            yield f"nats.{key}"
