"""What is on the bus: the servers that answer discovery.

Services that are not ours, and answers that are no sense, are left out without a word: discovery is
one subject for everybody on the account.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.inbox import Inbox
from mcpnatsd.errors import Forbidden
from mcpnatsd.protocol import discovery, headers

FIRST_WAIT: Final = 1.0
"""Seconds for the first answer."""

QUIET: Final = 0.3
"""Seconds without an answer after which nobody else is expected. The `nats` CLI does the same."""

_INFO: Final = "io.nats.micro.v1.info_response"
_STATS: Final = "io.nats.micro.v1.stats_response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One daemon serving one server, as discovery tells it."""

    server: str
    id: str
    version: str
    """What the server says; empty when nobody knows yet."""

    description: str
    eras: tuple[str, ...]
    revisions: tuple[str, ...]
    state: str
    tools: int | None
    """None while nobody knows yet."""

    identity: str
    hostname: str
    requests: int | None = None
    """Answered since it started; None when that was not asked."""

    errors: int | None = None


async def survey(
    connection: Connection,
    inbox: Inbox,
    *,
    prefix: str,
    server: str | None = None,
    counts: bool = False,
    wait: float = FIRST_WAIT,
) -> list[Instance]:
    """Ask who is there, and return the instances under this prefix, by server and id.

    With `server` only its instances are asked, with `counts` they say what they have done too.
    It takes as long as the first answer, and 0.3 s after the last; nobody there is known at once.

    Raises:
        BrokerAway: Not connected.
        Forbidden: NATS denies this user discovery, or its replies.
    """
    answers = _Answers(2 if counts else 1, inbox.prefix)
    reply = inbox.open(answers)
    unwatch = connection.watch_denied(answers.denied)
    try:
        for kind in ("INFO", "STATS") if counts else ("INFO",):
            connection.publish(_subject(kind, server), b"", reply=reply)
        await answers.wait_complete(wait)
    finally:
        unwatch()
        inbox.close(reply)
    return sorted(instances(answers.bodies, prefix), key=lambda one: (one.server, one.id))


def instances(bodies: Iterable[bytes], prefix: str) -> list[Instance]:
    """Return what answers to discovery say of the instances under this prefix."""
    found: dict[tuple[str, str], Instance] = {}
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for answer in filter(None, map(_decoded, bodies)):
        metadata = _metadata(answer)
        key = metadata.get(discovery.SERVER, ""), _text(answer, "id")
        if not key[0] or not _is_ours(metadata, prefix):
            continue
        if answer.get("type") == _INFO:
            found[key] = _instance(answer, metadata)
        elif answer.get("type") == _STATS:
            counted[key] = _sum(answer, "num_requests"), _sum(answer, "num_errors")
    return [
        replace(one, requests=counted[key][0], errors=counted[key][1]) if key in counted else one
        for key, one in found.items()
    ]


class _Answers:
    """Gathers what comes, and knows when to stop waiting."""

    def __init__(self, asked: int, inbox: str) -> None:
        self.bodies: list[bytes] = []
        self._ours = "$srv.", inbox.lower()
        self._fault: Forbidden | None = None
        self._unanswered = asked
        self._arrived = asyncio.Event()

    def receive(self, _reply: bytes, body: bytes, block: bytes | None) -> None:
        if headers.parse(block).get("") == headers.NO_RESPONDERS:
            self._unanswered -= 1
        else:
            self.bodies.append(body)
        self._arrived.set()

    def denied(self, kind: str, subject: str) -> None:
        if subject.lower().startswith(self._ours):
            text = f"NATS does not let this user {kind} {subject!r}: ask for that permission"
            self._fault = Forbidden(text)
            self._arrived.set()

    async def wait_complete(self, first: float) -> None:
        try:
            while self._unanswered:
                if self._fault is not None:
                    raise self._fault
                async with asyncio.timeout(QUIET if self.bodies else first):
                    await self._arrived.wait()
                self._arrived.clear()
        except TimeoutError:
            return


def _subject(kind: str, server: str | None) -> str:
    return f"$SRV.{kind}" + (f".{discovery.service_name(server)}" if server else "")


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _metadata(answer: Mapping[str, Any]) -> dict[str, str]:
    found = answer.get("metadata")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _is_ours(metadata: Mapping[str, str], prefix: str) -> bool:
    """Tell whether an instance listens where we speak: token by token, `*` takes any."""
    if discovery.WIRE not in metadata:
        return False
    theirs, ours = metadata.get(discovery.PREFIX, "").split("."), prefix.split(".")
    return len(theirs) == len(ours) and all(
        one in ("*", other) for one, other in zip(theirs, ours, strict=True)
    )


def _instance(answer: Mapping[str, Any], metadata: Mapping[str, str]) -> Instance:
    tools = metadata.get(discovery.TOOLS, "")
    return Instance(
        server=metadata[discovery.SERVER],
        id=_text(answer, "id"),
        version=metadata.get(discovery.VERSION, ""),
        description=_text(answer, "description"),
        eras=_listed(metadata, discovery.ERAS),
        revisions=_listed(metadata, discovery.REVISIONS),
        state=metadata.get(discovery.STATE, ""),
        tools=int(tools) if tools.isascii() and tools.isdigit() else None,
        identity=metadata.get(discovery.IDENTITY, ""),
        hostname=metadata.get(discovery.HOSTNAME, ""),
    )


def _listed(metadata: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, metadata.get(name, "").split(",")))


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def _sum(answer: Mapping[str, Any], name: str) -> int:
    endpoints = answer.get("endpoints")
    if not isinstance(endpoints, list):
        return 0
    numbers = (one.get(name) for one in endpoints if isinstance(one, dict))
    return sum(number for number in numbers if isinstance(number, int))
