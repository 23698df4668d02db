"""The journal's native protocol: an entry is named fields, and one datagram.

Standard library only. systemd-python says the same, but has to be compiled against libsystemd: so
without it there would be no fields, and with it there is nothing that is not here.
"""

import array
import errno
import fcntl
import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

SEND_TIMEOUT: Final = 0.5
"""Seconds that a full journal may hold us up; it holds stderr up for as long as it likes."""

PAUSE: Final = 2.0
"""Seconds without another try after that."""

_SEND_BYTES: Final = 8 << 20
"""As sd_journal_send(3) asks for. The kernel grants what it allows."""

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ADD_SEALS: Final = 1033
_SEALED: Final = 0xF
"""F_ADD_SEALS of fcntl(2), with all four seals: journald reads no memory that could change."""


def encode(fields: Mapping[str, object]) -> bytes:
    """Return an entry. A field whose name the journal would refuse is left out."""
    return b"".join(
        _field(name, str(value).encode("utf-8", "backslashreplace"))
        for name, value in fields.items()
        if _NAME.fullmatch(name)
    )


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)


class Journal:
    """A way into the journal. Entries that come while it does not keep up are counted."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._dropped = 0
        self._socket: socket.socket | None = None
        self._closed_until = 0.0

    def send(self, fields: Mapping[str, object]) -> bool:
        """Hand an entry over; say whether it was taken.

        Raises:
            OSError: There is no journal.
        """
        if time.monotonic() >= self._closed_until:
            with suppress(TimeoutError):
                self._send(encode(fields))
                return True
            self._closed_until = time.monotonic() + PAUSE
        self._dropped += 1
        return False

    def take_dropped(self) -> int:
        """Return how many entries it could not take since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, entry: bytes) -> None:
        for last in (False, True):
            try:
                _send(self._connected(), entry)
            except TimeoutError:
                raise
            except OSError:
                # One that was restarted is at the same place, behind another socket.
                self.close()
                if last:
                    raise
            else:
                return

    def _connected(self) -> socket.socket:
        if self._socket is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
                fresh.settimeout(SEND_TIMEOUT)
                fresh.connect(self._path)
            except OSError:
                fresh.close()
                raise
            self._socket = fresh
        return self._socket


def _send(channel: socket.socket, entry: bytes) -> None:
    try:
        channel.send(entry)
    except OSError as error:
        if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
            raise
        _send_memory(channel, entry)


def _send_memory(channel: socket.socket, entry: bytes) -> None:
    """Hand over what no datagram holds: a sealed file in memory, by its descriptor."""
    memory = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(memory, "wb", buffering=0) as file:  # noqa: PTH123  # it has no path
        file.write(entry)
        fcntl.fcntl(memory, _ADD_SEALS, _SEALED)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))
        channel.sendmsg([b""], [rights])
