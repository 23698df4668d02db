"""An MCP server that starts in milliseconds, and says in each answer who answers whom.

    python -I -S server.py NAME RECORD ERA VERSION

One tool, `echo`: it answers after `ms`, reports `steps` of progress, and with `ask` asks its client
a question first. Each call that it begins is a line in the file RECORD. One thread, one poll.
"""

import heapq
import json
import os
import select
import sys
import time

Message = dict[str, object]

NAME, RECORD, ERA, VERSION = sys.argv[1:5]
MODERN = "2026-07-28"
INFO = "io.modelcontextprotocol/clientInfo"
FORM = {"type": "object", "properties": {"answer": {"type": "string"}}}
ECHO = {"name": "echo", "description": "Who answers whom.", "inputSchema": {"type": "object"}}
CACHED = {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public"}

record = os.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
session: list[str] = []
due: list[tuple[float, int, object]] = []
asked: dict[object, tuple[object, Message]] = {}
cancelled: set[object] = set()
counted = [0]
out: list[bytes] = []


def write(message: Message) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"))
    out.append(line.encode() + b"\n")


def flush() -> None:
    rest = b"".join(out)
    out.clear()
    while rest:
        rest = rest[os.write(1, rest) :]


def receive(message: Message) -> None:
    id, method = message.get("id"), message.get("method")
    if method == "notifications/cancelled":
        cancelled.add(message["params"]["requestId"])
    elif method is None:
        hear(message)
    elif id is not None:
        outcome = answer(id, method, message.get("params") or {})
        if outcome is not None:
            write({"id": id, **outcome})


def answer(id: object, method: object, params: Message) -> Message | None:
    match method:
        case "tools/call":
            return call(id, params)
        case "server/discover" if ERA != "legacy":
            found = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}
            return {"result": {**CACHED, **found, "_meta": {}}}
        case "initialize" if ERA != "modern":
            session[:] = [params["clientInfo"]["name"]]
            found = {"capabilities": {"tools": {}}, "serverInfo": {"name": NAME, "version": "1"}}
            return {"result": {"protocolVersion": params["protocolVersion"], **found}}
        case "initialize":
            return {"error": {"code": -32022, "message": "no", "data": {"supported": [MODERN]}}}
        case "tools/list":
            return {"result": {**CACHED, "tools": [ECHO]}}
    known = method == "ping"
    unknown = {"error": {"code": -32601, "message": f"no method {method}"}}
    return {"result": {}} if known else unknown


def call(id: object, params: Message) -> Message | None:
    given = params["arguments"]
    meta = params.get("_meta") or {}
    modern = INFO in meta
    text = {
        "nonce": given["nonce"],
        "server": NAME,
        "client": meta[INFO]["name"] if modern else "".join(session),
        "pid": os.getpid(),
        "version": int(VERSION),
    }
    if "inputResponses" in params:
        text["asked"] = params["inputResponses"]["q"]["content"]["answer"]
        return said(text)
    os.write(record, f"{given['nonce']}\n".encode())
    if given.get("ask"):
        return ask(id, text, modern=modern)
    steps = given.get("steps", 0) if "progressToken" in meta else 0
    after(given.get("ms", 0) / 1000, id, text, meta.get("progressToken"), steps)
    return None


def ask(id: object, text: Message, *, modern: bool) -> Message | None:
    params = {"mode": "form", "message": text["nonce"], "requestedSchema": FORM}
    if modern:
        asks = {"q": {"method": "elicitation/create", "params": params}}
        fields = {"inputRequests": asks, "requestState": text["nonce"]}
        return {"result": {"resultType": "input_required", **fields}}
    counted[0] += 1
    asked[counted[0]] = id, text
    write({"id": counted[0], "method": "elicitation/create", "params": params})
    return None


def hear(message: Message) -> None:
    """Take a client's answer to a question, and answer the call that asked."""
    id, text = asked.pop(message["id"], (None, {}))
    content = (message.get("result") or {}).get("content") or {}
    if id is not None and id not in cancelled:
        write({"id": id, **said({**text, "asked": content.get("answer", "")})})


def said(text: Message) -> Message:
    content = [{"type": "text", "text": json.dumps(text)}]
    return {"result": {"resultType": "complete", "content": content}}


def after(seconds: float, id: object, text: Message, token: object, steps: int) -> None:
    now = time.monotonic()
    for step in range(1, steps + 1):
        params = {"progressToken": token, "progress": step, "message": text["nonce"]}
        note = {"method": "notifications/progress", "params": params}
        put(now + seconds * step / (steps + 1), id, note)
    put(now + seconds, id, {"id": id, **said(text)})


def put(at: float, id: object, message: Message) -> None:
    counted[0] += 1
    heapq.heappush(due, (at, counted[0], (id, message)))


def run_due() -> float | None:
    """Write what is due; return the milliseconds until the next is."""
    now = time.monotonic()
    while due and due[0][0] <= now:
        id, message = heapq.heappop(due)[2]
        if id not in cancelled:
            write(message)
    flush()
    return None if not due else (due[0][0] - now) * 1000 + 1


def main() -> None:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    rest = b""
    while True:
        if not poll.poll(run_due()):
            continue
        data = os.read(0, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            receive(json.loads(line))


if __name__ == "__main__":
    main()
