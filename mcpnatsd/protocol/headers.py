"""NATS header blocks of the wire, encoded and read.

Names are compared as written: NATS keeps their case, and so does every peer of this wire.
"""

import base64
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

WIRE: Final = "Mcp-Wire"
CALL: Final = "Mcp-Call"
VERSION: Final = "MCP-Protocol-Version"
METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
FRAME: Final = "Mcp-Frame"
SEQ: Final = "Mcp-Seq"
PART: Final = "Mcp-Part"
INSTANCE: Final = "Mcp-Instance"
PIN: Final = "Mcp-Pin"
TUNNEL: Final = "Mcp-Tunnel"
UPLOAD: Final = "Mcp-Upload"
SUBJECT: Final = "Mcp-Subject"
ACK: Final = "Mcp-Ack"
SENT: Final = "Mcp-Sent"
NEXT: Final = "Mcp-Next"
ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
TRACEPARENT: Final = "traceparent"

WIRE_VERSION: Final = "1"
NO_RESPONDERS: Final = "503"

_MOST_DIGITS: Final = 18
"""Of a number in a header. A longer one is nobody's, and `int` would refuse it after 4300."""

LONGEST_CALL: Final = 128
"""Of `Mcp-Call`. Tokens are kept for a while, so nobody may make them as long as a message."""

_MOST_AGAIN: Final = 1024
"""Bytes of a header block that is worth remembering."""

_START: Final = b"NATS/1.0\r\n"
_CALL_MARK: Final = f"\r\n{CALL}:".encode()
_SEQ_START: Final = _START + SEQ.encode() + b":"


def encode(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block. Values must be safe already: see `safe`."""
    return _START + "".join([f"{name}:{value}\r\n" for name, value in pairs]).encode() + b"\r\n"


def parse(block: bytes | None) -> dict[str, str]:
    """Return the headers by name; a status such as 503 is under the empty name."""
    if not block:
        return {}
    first, _, rest = block.partition(b"\r\n")
    found = {} if len(first) == len(_START) - 2 else {"": first[9:12].decode("latin-1")}
    for line in rest.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if name and colon:
            found[name] = value.strip()
    return found


_parse_again = lru_cache(maxsize=256)(parse)


def parse_again(block: bytes | None) -> dict[str, str]:
    """`parse` for blocks that come again and again. Its answers are shared: read them only."""
    # A peer may send many blocks of many kilobytes: only what is short is worth remembering.
    short = block is None or len(block) <= _MOST_AGAIN
    return _parse_again(block) if short else parse(block)


def parse_request(block: bytes | None) -> dict[str, str]:
    """`parse` for requests: all but the last header, `Mcp-Call`, come again and again."""
    if block is None:
        return {}
    same, mark, call = block.rpartition(_CALL_MARK)
    if not mark or not call.endswith(b"\r\n\r\n") or b"\r" in call[:-4]:
        return parse(block)
    again = _parse_again if len(same) < _MOST_AGAIN else parse
    return {**again(same + b"\r\n\r\n"), CALL: call[:-4].decode("latin-1").strip()}


def seq_only(seq: int) -> bytes:
    """Return the header block that holds a sequence number and nothing else."""
    return b"%b%d\r\n\r\n" % (_SEQ_START, seq)


def seq_of(block: bytes | None) -> int | None:
    """Return the sequence number of a block that holds nothing else; None for any other."""
    if block is None or not block.startswith(_SEQ_START):
        return None
    digits = block[len(_SEQ_START) : -4]
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def number(found: dict[str, str], name: str) -> int | None:
    """Return a header that holds a natural number; None when it is absent or anything else."""
    text = found.get(name, "")
    plain = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if plain else None


def safe(value: str) -> str:
    """Return a value that a header may hold.

    What is not printable ASCII, or has blanks at its ends, is `=?base64?…?=`: the rule of MCP's
    own mirrored headers (2026-07-28, Basic, Transports, Streamable HTTP).
    """
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and value and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}?="


def plain(value: str) -> str | None:
    """Undo `safe`; None when it is not well formed."""
    if not value.startswith("=?base64?"):
        return value
    if not value.endswith("?="):
        return None
    try:
        raw = base64.b64decode(value.removeprefix("=?base64?").removesuffix("?="), validate=True)
        return raw.decode("utf-8", "surrogatepass")
    except ValueError:  # not ASCII, not base64, not UTF-8
        return None
