"""What a verb asks and is answered, as JSON values.

The data path never decodes a payload; a verb shows it to people, and must.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mcpnatsd.errors import RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc

Result = dict[str, Any]
OnProgress = Callable[[Result], None]


def request_line(ours: int, method: str, params: Mapping[str, object]) -> bytes:
    """Return a request under an id of ours."""
    return jsonrpc.encode({"jsonrpc": "2.0", "id": ours, "method": method, "params": params})


def settle(future: asyncio.Future[Result], line: bytes) -> None:
    """Resolve a future with what a response holds."""
    if future.done():
        return
    try:
        result = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        future.set_exception(RemoteProtocolError("the server's answer is not JSON"))
        return
    if "error" in result:
        future.set_exception(jsonrpc.reported(line))
    elif isinstance(result.get("result"), dict):
        future.set_result(result["result"])
    else:
        future.set_exception(RemoteProtocolError("the server's answer holds no result"))


def tell_progress(line: bytes, on_progress: OnProgress | None) -> None:
    """Hand the params of a progress notification on; any other notification is dropped."""
    if on_progress is None:
        return
    try:
        note = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if note.get("method") == eras.PROGRESS and isinstance(note.get("params"), dict):
        on_progress(note["params"])


def object_in(value: object) -> Result:
    """Return an object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def list_in(value: object) -> list[Any]:
    """Return a list; an empty one in place of anything else."""
    return value if isinstance(value, list) else []
