"""nats-py's client class, loaded without the parts that we hardly ever need.

Importing it as is costs twice the time and 3 MiB more, which each start of a shim would pay:
JetStream is therefore loaded when it is first touched, aiohttp only for a websocket URL
(`bus/transport.py`), and the lookup of nats-py's version not at all, since it is pinned.
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

LATER = "nats.js"
NEVER = ("aiohttp", "fast_mail_parser", "importlib.metadata")
VERSION = "2.16.0"  # what CONNECT tells nats-server; the same as in pyproject.toml


class _Later:
    """An import hook that puts off the execution of one module, as importlib documents it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == LATER else None
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _lightly() -> Iterator[None]:
    absent = [name for name in NEVER if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: "not there"
    sys.meta_path.insert(0, _Later)
    try:
        yield
    finally:
        sys.meta_path.remove(_Later)
        for name in absent:
            del sys.modules[name]


with _lightly():
    from nats import errors
    from nats.aio import client as _client
    from nats.aio import transport

_client.__version__ = VERSION
Client = _client.Client
Srv = _client.Srv

__all__ = ["Client", "Srv", "errors", "transport"]
