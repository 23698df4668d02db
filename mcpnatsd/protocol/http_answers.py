"""Answers of HTTP/1.1 as bytes: heads and chunks."""

import re
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from mcpnatsd.errors import LocalProtocolError

Header = tuple[bytes, bytes]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REMEMBERED: Final = 64
"""Sets of headers. What a client can have in one is no longer than the head it sends."""


def head(status: int, headers: Sequence[Header], last: bytes = b"") -> bytes:
    """Return the head of an answer; `last` are lines that change with each.

    Raises:
        LocalProtocolError: A header would end before its end, or is none.
    """
    return b"%b%b\r\n" % (_start(status, tuple(headers)), last)


def chunk(data: bytes) -> bytes:
    """Return a piece of a body whose length was not known. It must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@lru_cache(maxsize=_REMEMBERED)
def _start(status: int, headers: tuple[Header, ...]) -> bytes:
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _phrase(status))]
    for name, value in headers:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise LocalProtocolError(f"no header of HTTP: {name[:100]!r}")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
