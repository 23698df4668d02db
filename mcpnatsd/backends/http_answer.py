"""Reads what an HTTP server answers: one message as JSON, or many as an event stream."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.backends.http_client import Answer
from mcpnatsd.protocol import jsonrpc
from mcpnatsd.protocol.event_reader import Event, EventReader
from mcpnatsd.protocol.lines import ENDS_BYTES, Oversize

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

LINGER: Final = 0.2
"""Seconds for the end of a stream behind its last event: then its connection is used again."""

_MESSAGE_NAMES: Final = (b"", b"message")
_list = msgspec.json.Decoder(list[Raw]).decode

Take = Callable[[bytes | Oversize], bool]
"""Takes a message, or what was too large for one. Says whether that was the last."""


async def read_body(answer: Answer, limit: int) -> bytes | Oversize:
    """Return a body, or what is known of one over the limit."""
    parts: list[bytes] = []
    size = 0
    async with aclosing(answer.chunks) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                return Oversize(size, parts[0][:ENDS_BYTES], b"")
    return b"".join(parts)


async def read_json(answer: Answer, limit: int, take: Take) -> bool:
    """Take the messages of a JSON body; say whether the last one was among them."""
    body = await read_body(answer, limit)
    if isinstance(body, Oversize):
        return take(body)
    taken = [take(jsonrpc.single_line(one)) for one in messages_in(body)]
    return any(taken)


def messages_in(body: bytes) -> list[bytes]:
    """Return the messages of a body: revision 2025-03-26 lets a server answer with a batch."""
    if not body.lstrip().startswith(b"["):
        return [body] if body else []
    try:
        return [bytes(one) for one in _list(body)]
    except msgspec.DecodeError:
        return []


async def read_events(answer: Answer, reader: EventReader, take: Take, gate: asyncio.Event) -> bool:
    """Take the messages of an event stream until the last one, or its end; say which it was."""
    return await read_named(answer, reader, lambda one: _is_last(one, take), gate)


async def read_named(
    answer: Answer,
    reader: EventReader,
    take: Callable[[Event | Oversize], bool],
    gate: asyncio.Event,
) -> bool:
    """Take events whatever they are called, as `read_events` does. The gate makes a stream wait."""
    async with aclosing(answer.chunks) as chunks:
        async for chunk in chunks:
            events: list[Event | Oversize] = [*reader.receive(chunk), *reader.take_oversize()]
            if any(take(one) for one in events):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER):
                        async for _ in chunks:
                            pass
                return True
            await gate.wait()
    return False


def is_message(event: Event) -> bool:
    return event.name in _MESSAGE_NAMES


def _is_last(one: Event | Oversize, take: Take) -> bool:
    if isinstance(one, Oversize):
        return take(one)
    return is_message(one) and take(jsonrpc.single_line(one.data))
