"""How the event loop is run and written from: uvloop where it exists, bytes that leave at once."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a program's main coroutine to its end; return its exit code."""
    _tune_malloc()
    _tune_collector()
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def on_signal(number: int, action: Callable[[], object]) -> None:
    """Have `action` called from the loop when a signal comes."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, action)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(action))


BATCH: Final = 32
"""Messages gathered before they are written without waiting for the end of the loop's pass.

A batch on its way lets the next process start on it while this one goes on with the rest.
"""


class DirectWriter:
    """A write transport whose bytes leave at once: uvloop would keep them for its next pass."""

    def __init__(self, transport: asyncio.WriteTransport, descriptor: int) -> None:
        self._transport = transport
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write what the kernel takes now; the transport keeps the rest, in order."""
        transport = self._transport
        if transport.is_closing():
            return
        sent = 0
        if not transport.get_write_buffer_size():
            # An error is left to the transport: it meets it too, and tells whom it concerns.
            with suppress(OSError):
                sent = os.write(self._descriptor, data)
        if sent < len(data):
            transport.write(memoryview(data)[sent:] if sent else data)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()


def _tune_collector() -> None:
    """Leave what the imports made alone, and collect less often: messages make few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _tune_malloc() -> None:
    """Let glibc keep large buffers, which it would map and unmap each time (mallopt(3)).

    It halves the cost of 500 KB messages.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl has none
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_TRIM_THRESHOLD, 64 << 20)
    mallopt(_M_TOP_PAD, 1 << 20)
