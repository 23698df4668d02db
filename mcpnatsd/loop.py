"""How the event loop is run: uvloop where it exists, glibc's allocator told of large messages."""

import asyncio
import ctypes
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
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
