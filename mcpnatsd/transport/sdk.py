"""The MCP SDK, of either line: how its messages are read, written, and its servers run.

Nothing else of this program knows which line is installed.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

try:
    import mcp.types
    from mcp.shared.message import SessionMessage
except ImportError as missing:
    raise ImportError(
        "mcpnatsd.transport needs the MCP SDK: pip install 'mcpnatsd[sdk]'"
    ) from missing

__all__ = ["LINE", "Body", "SessionMessage", "body_of", "decode", "encode", "name_of"]

LINE: Final = 2 if hasattr(mcp.types, "jsonrpc_message_adapter") else 1
"""Which major version of the SDK is installed."""

Body = Callable[[Any, Any], Awaitable[object]]
"""Serves one connection: takes the SDK's read and write streams, returns at its end."""


class _LowLevel(Protocol):
    """What both lines call a low-level server."""

    @property
    def name(self) -> str: ...

    def create_initialization_options(self) -> object: ...

    async def run(self, read: object, write: object, options: object) -> None: ...


def _decoder() -> Callable[[bytes], Any]:
    if LINE == 1:
        return mcp.types.JSONRPCMessage.model_validate_json  # type: ignore[attr-defined,no-any-return]
    validate = mcp.types.jsonrpc_message_adapter.validate_json
    return lambda line: validate(line, by_name=False)


_decode: Final = _decoder()


def decode(line: bytes) -> SessionMessage | Exception:
    """Return the message of a line; for a bad one the reason, as the SDK's own transports do."""
    try:
        return SessionMessage(_decode(line))
    except ValueError as fault:
        return fault


if LINE == 1:

    def encode(item: SessionMessage) -> bytes:
        """Return a message as a line, without its newline."""
        return item.message.model_dump_json(by_alias=True, exclude_none=True).encode()

else:

    def encode(item: SessionMessage) -> bytes:
        """Return a message as a line, without its newline."""
        return item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()


def body_of(server: object) -> Body:
    """Return what serves one connection of a server object.

    Raises:
        TypeError: It is none.
    """
    low = _low_level(server)
    if low is not None:
        return lambda read, write: low.run(read, write, low.create_initialization_options())
    if callable(server) and not inspect.isclass(server):
        return cast("Body", server)
    what = f"the class {server.__name__}" if inspect.isclass(server) else type(server).__name__
    raise TypeError(
        f"{what} is no server: give an MCPServer, a FastMCP, a low-level Server, "
        "or a function that takes the SDK's read and write streams"
    )


def name_of(server: object) -> str:
    """Return what a server object calls itself."""
    low = _low_level(server)
    return low.name if low is not None else getattr(server, "__qualname__", type(server).__name__)


def _low_level(server: object) -> _LowLevel | None:
    """Return the low-level server, which SDK 1 and 2 keep under different private names."""
    inner = getattr(server, "_lowlevel_server", None) or getattr(server, "_mcp_server", None)
    inner = inner or server
    known = hasattr(inner, "create_initialization_options") and hasattr(inner, "run")
    return cast("_LowLevel", inner) if known else None
