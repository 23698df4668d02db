"""Answers discovery (ADR-32) for every server of this process.

Three subs serve the process, and two each service; so NATS itself says "no responders" for a
service that is not there. Nothing here waits: an answer is made and published where its request
arrives.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from mcpnatsd.bus.connection import Connection
from mcpnatsd.errors import BusError, TooLarge
from mcpnatsd.protocol import discovery
from mcpnatsd.protocol.discovery import Description

log = logging.getLogger(__name__)

_KINDS: Final = (b"PING", b"INFO", b"STATS")


class Source(Protocol):
    """One server, and how to learn what to say of it."""

    @property
    def server(self) -> str: ...

    def describe(self) -> Description: ...


@dataclass(frozen=True, slots=True)
class _Service:
    source: Source
    subs: tuple[int, ...]


class ServiceResponder:
    """The micro services of one process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._services: dict[str, _Service] = {}
        self._subs = [
            connection.subscribe(f"$SRV.{kind.decode()}", self._to(self._sources))
            for kind in _KINDS
        ]

    def add(self, source: Source) -> None:
        """Make a server findable. One of the same name is replaced."""
        self.remove(source.server)
        name = discovery.service_name(source.server)
        instance = source.describe().instance
        subs = tuple(
            self._connection.subscribe(subject, self._to(lambda: (source,)))
            for subject in (f"$SRV.*.{name}", f"$SRV.*.{name}.{instance}")
        )
        self._services[source.server] = _Service(source, subs)

    def remove(self, server: str) -> None:
        """Let a server be found no more. One that is not there is no fault."""
        service = self._services.pop(server, None)
        for sub in service.subs if service else ():
            self._connection.unsubscribe(sub)

    def stop(self) -> None:
        """Answer nobody any more."""
        for server in list(self._services):
            self.remove(server)
        for sub in self._subs:
            self._connection.unsubscribe(sub)
        self._subs.clear()

    def _sources(self) -> list[Source]:
        return [service.source for service in self._services.values()]

    def _to(
        self, whom: Callable[[], Iterable[Source]]
    ) -> Callable[[bytes, bytes, bytes, bytes | None], None]:
        def receive(subject: bytes, reply: bytes, _body: bytes, _block: bytes | None) -> None:
            kind = subject.split(b".", 2)[1]
            if not reply or kind not in _KINDS:
                return
            for source in whom():
                self._answer(source, kind, reply.decode())

        return receive

    def _answer(self, source: Source, kind: bytes, reply: str) -> None:
        """Answer for one server. Whatever goes wrong is that server's and stays with it."""
        try:
            body = _body(source.describe(), kind, self._connection.max_payload)
            self._connection.publish(reply, body)
        except (BusError, TooLarge) as fault:
            log.debug("discovery not answered", extra=_facts(source, fault))
        except Exception as fault:
            log.exception("a server cannot be described", extra=_facts(source, fault))


def _body(description: Description, kind: bytes, most: int) -> bytes:
    if kind == b"INFO":
        return discovery.info(description, most)
    if kind == b"STATS":
        return discovery.stats(description, most)
    return discovery.ping(description)


def _facts(source: Source, fault: Exception) -> dict[str, str]:
    return {"server": source.server, "reason": str(fault)}
