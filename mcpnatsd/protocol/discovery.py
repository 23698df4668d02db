"""How a server is found: its micro service, in the JSON of ADR-32.

The `nats` CLI checks each answer against a schema and drops what does not fit without a word: every
field it wants is here, as a string where it wants a string. What a tool's arguments are is not
here: that is asked of the server itself (WIRE.md, "Discovery").
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from msgspec import Raw

from mcpnatsd.protocol import subjects
from mcpnatsd.protocol.headers import WIRE_VERSION
from mcpnatsd.protocol.jsonrpc import encode
from mcpnatsd.protocol.statistics import Counts, Statistics

WIRE: Final = "mcp.wire"
PREFIX: Final = "mcp.prefix"
SERVER: Final = "mcp.server"
INSTANCE: Final = "mcp.instance"
VERSION: Final = "mcp.version"
"""What the server calls its version, which need not be SemVer."""

ERAS: Final = "mcp.eras"
"""`modern`, `legacy`, `modern,legacy`; empty while nobody knows."""

REVISIONS: Final = "mcp.revisions"
IDENTITY: Final = "mcp.identity"
"""A hash of what runs: two instances of one name that differ here are worth a warning."""

STATE: Final = "mcp.state"
TOOLS: Final = "mcp.tools"
"""How many; empty while nobody knows."""

HOSTNAME: Final = "mcp.hostname"
OMITTED: Final = "mcp.endpoints_omitted"
"""How many endpoints did not fit into one NATS message."""

MOST_DESCRIPTION: Final = 1000
"""Characters of a description: it is a line in a list, not a manual."""

_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_OMITTED_BYTES: Final = 48  # what that member of the metadata takes itself


class State(StrEnum):
    """What `mcp.state` says."""

    ASLEEP = "asleep"
    RUNNING = "running"
    FAILING = "failing"
    ASIDE = "aside"
    """It leaves requests to other instances, or has not begun to take any."""

    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One instance of one server, as it is now."""

    server: str
    instance: str
    description: str
    version: str
    """As the server says it; empty when it is not known."""

    metadata: Mapping[str, str]
    """ERAS, STATE, TOOLS, IDENTITY …; the rest is filled in from the other fields."""

    tools: tuple[str, ...]
    """Those that get an endpoint."""

    started: str
    """RFC 3339."""

    prefix_listening: str
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class _Endpoint:
    name: str
    subject: str
    counts: Counts


def service_name(server: str) -> str:
    """Return what a server is called in ADR-32."""
    return f"mcp-{server}"


def ping(description: Description) -> bytes:
    """Return the answer to `$SRV.PING`."""
    return encode(_head("ping", description))


def info(description: Description, most: int) -> bytes:
    """Return the answer to `$SRV.INFO`: at most that many bytes, with as many tools as fit."""
    head = {**_head("info", description), "description": description.description[:MOST_DESCRIPTION]}
    return _fitted(head, [encode(_described(one)) for one in _endpoints(description)], most)


def stats(description: Description, most: int) -> bytes:
    """Return the answer to `$SRV.STATS`: at most that many bytes, with as many tools as fit."""
    head = {**_head("stats", description), "started": description.started}
    return _fitted(head, [encode(_counted(one)) for one in _endpoints(description)], most)


def strict_version(version: str) -> str:
    """Return a version that is SemVer: itself, or `0.0.0+` with what of it may stand there."""
    if _SEMVER.fullmatch(version):
        return version
    pieces = re.findall(r"[0-9A-Za-z-]+", version)
    return f"0.0.0+{'.'.join(pieces)}"[:64].rstrip(".") if pieces else "0.0.0"


def _head(kind: str, description: Description) -> dict[str, object]:
    ours = {
        WIRE: WIRE_VERSION,
        PREFIX: description.prefix_listening,
        SERVER: description.server,
        INSTANCE: description.instance,
        VERSION: description.version,
    }
    return {
        "type": f"io.nats.micro.v1.{kind}_response",
        "name": service_name(description.server),
        "id": description.instance,
        "version": strict_version(description.version),
        "metadata": {**description.metadata, **ours},
    }


def _endpoints(description: Description) -> Iterator[_Endpoint]:
    """Yield the groups, then the tools: those may be many, and the last do not fit.

    A group is named `_tools`, `_resources`, …, `_other`: no tool can be, because a tool's own
    leading underscore is encoded. It counts what has no endpoint of its own.
    """
    counts = description.statistics
    for group in counts.groups:
        tail = ">" if group == "other" else f"{group}.>"
        yield _Endpoint(f"_{group}", _subject(description, tail), counts.groups[group])
    for tool in description.tools:
        subject = _subject(description, subjects.tail("tools/call", tool))
        yield _Endpoint(subjects.endpoint_name(tool), subject, counts.tools.get(tool) or Counts())


def _subject(description: Description, tail: str) -> str:
    return subjects.request(description.prefix_listening, description.server, tail)


def _described(endpoint: _Endpoint) -> dict[str, object]:
    return {
        "name": endpoint.name,
        "subject": endpoint.subject,
        "queue_group": subjects.QUEUE_GROUP,
        "metadata": {},
    }


def _counted(endpoint: _Endpoint) -> dict[str, object]:
    counts = endpoint.counts
    return {
        "name": endpoint.name,
        "subject": endpoint.subject,
        "queue_group": subjects.QUEUE_GROUP,
        "num_requests": counts.requests,
        "num_errors": counts.errors,
        "last_error": counts.last_error,
        "processing_time": counts.nanoseconds,
        "average_processing_time": counts.nanoseconds // max(1, counts.requests),
    }


def _fitted(head: dict[str, object], endpoints: list[bytes], most: int) -> bytes:
    room = most - len(encode({**head, "endpoints": []})) - _OMITTED_BYTES
    kept = 0
    for endpoint in endpoints:
        room -= len(endpoint) + 1
        if room < 0:
            break
        kept += 1
    if kept < len(endpoints):
        metadata = head["metadata"]
        assert isinstance(metadata, dict)  # noqa: S101  # `_head` made it
        head["metadata"] = {**metadata, OMITTED: str(len(endpoints) - kept)}
    return encode({**head, "endpoints": [Raw(endpoint) for endpoint in endpoints[:kept]]})
