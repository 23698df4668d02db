"""An MCP server as thin as possible: what a bridge costs shows best in front of it.

    python thin.py [both | modern | legacy]

It speaks both eras unless told otherwise. A legacy server refuses `server/discover`, and anything
before `initialize`; a modern one refuses `initialize`. All answers to what one read brought go out
in one write.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
INFO = {"name": "thin", "version": "1.0.0"}
CHUNK = 1 << 20

Message = dict[str, object]
Arguments = dict[str, object]


def tool(name: str, /, **arguments: str) -> Message:
    properties = {key: {"type": kind} for key, kind in arguments.items()}
    schema = {"type": "object", "properties": properties}
    return {"name": name, "description": f"The {name} of a test.", "inputSchema": schema}


TOOLS = [
    tool("echo", text="string"),
    tool("sleep", seconds="number"),
    tool("progress", steps="integer"),
    tool("big", bytes="integer"),
    tool("pid"),
    tool("env", name="string"),
    tool("exit", status="integer"),
    tool("stderr", lines="integer"),
]

era = "both"
initialized = False
output = threading.Lock()
sleeping: dict[object, threading.Timer] = {}


def write(*messages: Message) -> None:
    """Write messages in one go, whatever thread they come from."""
    write_bytes(b"".join(map(line, messages)))


def line(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def write_bytes(rest: bytes) -> None:
    with output:
        while rest:
            rest = rest[os.write(1, rest) :]


def result(id: object, fields: Message) -> Message:
    return {"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", **fields}}


def error(id: object, code: int, text: str, **fields: object) -> Message:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text, **fields}}


def text(id: object, value: str) -> Message:
    return result(id, {"content": [{"type": "text", "text": value}]})


def answer(message: Message) -> Message | None:
    """Return the answer to a message, if it has one, and has it now."""
    id = message.get("id")
    params = message.get("params") or {}
    method = message.get("method")
    if id is None:
        return notified(method, params)
    if method == "tools/call" and (initialized or era != "legacy"):
        return call(id, params)
    return other(id, method, params)


def notified(method: object, params: Message) -> None:
    if method == "notifications/cancelled":
        timer = sleeping.pop(params.get("requestId"), None)
        if timer is not None:
            timer.cancel()


def other(id: object, method: object, params: Message) -> Message:
    if method == "server/discover" and era != "legacy":
        return discover(id)
    if method == "initialize":
        return initialize(id, params)
    if era == "legacy" and not initialized and method != "server/discover":
        return error(id, -32602, "not initialized")
    if method == "tools/list":
        return result(id, {"tools": TOOLS, "ttlMs": 60000, "cacheScope": "public"})
    if method == "ping":
        return result(id, {})
    return error(id, -32601, f"no method {method}")


def discover(id: object) -> Message:
    fields = {"supportedVersions": [MODERN], "capabilities": {"tools": {"listChanged": True}}}
    meta = {"io.modelcontextprotocol/serverInfo": INFO}
    return result(id, {**fields, "ttlMs": 3600000, "cacheScope": "public", "_meta": meta})


def initialize(id: object, params: Message) -> Message:
    global initialized  # noqa: PLW0603
    requested = params.get("protocolVersion")
    if era == "modern":
        data = {"supported": [MODERN], "requested": requested}
        return error(id, -32022, "Unsupported protocol version", data=data)
    initialized = True
    version = requested if requested in LEGACY else LEGACY[0]
    fields = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": INFO}
    return {"jsonrpc": "2.0", "id": id, "result": fields}


def call(id: object, params: Message) -> Message | None:
    name = params.get("name")
    if name not in CALLS:
        return error(id, -32602, f"no tool {name}")
    return CALLS[name](id, params.get("arguments") or {}, (params.get("_meta") or {}))


def call_echo(id: object, arguments: Arguments, _meta: Message) -> Message:
    return text(id, str(arguments.get("text", "")))


def call_sleep(id: object, arguments: Arguments, _meta: Message) -> None:
    def wake() -> None:
        if sleeping.pop(id, None) is not None:
            write(text(id, "slept"))

    sleeping[id] = threading.Timer(float(arguments["seconds"]), wake)
    sleeping[id].daemon = True
    sleeping[id].start()


def call_progress(id: object, arguments: Arguments, meta: Message) -> Message:
    steps = int(arguments["steps"])
    if (token := meta.get("progressToken")) is not None:
        params = [{"progressToken": token, "progress": n + 1, "total": steps} for n in range(steps)]
        write(
            *({"jsonrpc": "2.0", "method": "notifications/progress", "params": p} for p in params)
        )
    return text(id, f"{steps} steps")


def call_big(id: object, arguments: Arguments, _meta: Message) -> Message:
    return text(id, "x" * int(arguments["bytes"]))


def call_pid(id: object, _arguments: Arguments, _meta: Message) -> Message:
    return text(id, str(os.getpid()))


def call_env(id: object, arguments: Arguments, _meta: Message) -> Message:
    return text(id, os.environ.get(str(arguments["name"]), "(not set)"))


def call_exit(_id: object, arguments: Arguments, _meta: Message) -> None:
    os._exit(int(arguments.get("status", 0)))


def call_stderr(id: object, arguments: Arguments, _meta: Message) -> Message:
    for number in range(int(arguments["lines"])):
        print(f"stderr line {number}", file=sys.stderr)
    sys.stderr.flush()
    return text(id, "written")


CALLS: dict[object, Callable[[object, Arguments, Message], Message | None]] = {
    name.removeprefix("call_"): function
    for name, function in list(globals().items())
    if name.startswith("call_")
}


def reads() -> Iterator[list[bytes]]:
    """Yield the lines that each read completes, until stdin ends."""
    rest: list[bytes] = []
    while data := os.read(0, CHUNK):
        lines = data.split(b"\n")
        rest.append(lines[0])
        if len(lines) > 1:
            lines[0], rest = b"".join(rest), [lines.pop()]
            yield lines


def serve(answer: Callable[[Message], Message | None] = answer) -> None:
    """Answer until stdin ends."""
    for lines in reads():
        answers = [answer(json.loads(line)) for line in lines if line]
        write(*(found for found in answers if found is not None))


def main() -> None:
    global era  # noqa: PLW0603
    era = sys.argv[1] if len(sys.argv) > 1 else "both"
    serve()


if __name__ == "__main__":
    main()
