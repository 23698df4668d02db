"""Sends one frame on a reply subject, in parts when NATS would not take it whole."""

from collections.abc import Callable

from mcpnatsd.bus.connection import Connection
from mcpnatsd.protocol import parts
from mcpnatsd.protocol.frames import Blocks


def send(
    connection: Connection,
    blocks: Blocks,
    reply: str,
    line: bytes,
    block: Callable[[int, str], bytes],
    seq: int,
) -> int:
    """Publish a frame whose number follows `seq`; return the last number used.

    Raises:
        BrokerAway: NATS is away; nothing was sent.
    """
    most = connection.max_payload
    if parts.fits(len(line), most):
        connection.publish(reply, line, headers=block(seq + 1, ""))
        return seq + 1
    for number, many, piece in parts.cut(line, parts.part_bytes(most)):
        seq += 1
        make = block if number == many else blocks.part
        connection.publish(reply, piece, headers=make(seq, f"{number}/{many}"))
    return seq
