"""Who calls over HTTP, as the bus knows them: a name there, and what their calls begin with."""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from mcpnatsd.bus.client_bus import ClientBus
from mcpnatsd.frontends.edge_bus import EdgeBus

MOST: Final = 10_000
"""Principals whose names are at hand. Another one costs making its name anew."""

_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Principal:
    """One of them. Whoever has the same name is the same."""

    name: str
    edge: str = field(compare=False, repr=False)
    """What `Mcp-Call` begins with: who they are, then what tells our calls from those that this
    gateway opened before it was restarted, or that another one opens for the same principal."""

    bus: EdgeBus = field(compare=False, repr=False)
    """As it speaks there: under its own name, where the prefix has one."""


class Principals:
    """All of one listener. Nobody who lacks the key can tell what stands for a name."""

    def __init__(self, bus: ClientBus, key: bytes) -> None:
        self._bus = bus
        self._key = key
        self._fresh = secrets.token_hex(8)
        self._known: dict[str, Principal] = {}

    def named(self, name: str) -> Principal:
        """Return the principal of a name; the empty one is anybody's, and ourselves on NATS."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            found = self._known[name] = self._make(name)
        return found

    def _make(self, name: str) -> Principal:
        bus = self._bus.speaking_for(name) if name else self._bus
        said = name.encode("utf-8", "surrogatepass")
        client = hmac.digest(self._key, said, "sha256").hex()[:_DIGITS]
        return Principal(name, f"{client}.{self._fresh}", bus)
