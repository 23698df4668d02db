"""An MCP server that costs next to nothing: `echo`, and a large result made beforehand.

    python server.py [both | modern | legacy]

It speaks both eras unless told otherwise. The lines of the measurement are recognised by their
look; whatever else comes is parsed.
"""

import json
import os
import re
import sys
from typing import Any

CHUNK = 1 << 16
BIG_BYTES = 500_000
NAMES = ("echo", "big")
TOOLS = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in NAMES]
INFO = {"name": "bench", "version": "1.0.0"}

ERA = sys.argv[1] if len(sys.argv) > 1 else "both"
LEGACY = ERA == "legacy"
CACHED = {"resultType": "complete", "ttlMs": 3600000, "cacheScope": "public"}
if LEGACY:
    CACHED = {}
UNKNOWN = {"both": "", "modern": "initialize", "legacy": "server/discover"}[ERA]

_ID = re.compile(rb'"id": ?(\d+|"[^"]*")')
_TEXT = re.compile(rb'"text": ?("[^"]*")')
_HEAD = b'{"jsonrpc":"2.0","id":'
_RESULT = b',"result":{' if LEGACY else b',"result":{"resultType":"complete",'
_CONTENT = _RESULT + b'"content":[{"type":"text","text":'
_TAIL = b"}]}}\n"
_BIG = _CONTENT + b'"' + b"x" * BIG_BYTES + b'"' + _TAIL


def answer(line: bytes) -> bytes:
    if b'"tools/call"' not in line:
        return other(json.loads(line))
    id = _ID.search(line)
    assert id is not None
    if (text := _TEXT.search(line)) is None:
        return _HEAD + id[1] + _BIG
    return _HEAD + id[1] + _CONTENT + text[1] + _TAIL


def other(message: dict[str, Any]) -> bytes:
    if "id" not in message:
        return b""
    body = {"jsonrpc": "2.0", "id": message["id"], **outcome(message)}
    return json.dumps(body).encode() + b"\n"


def outcome(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case method if method == UNKNOWN:
            return refused(method)
        case "server/discover":
            meta = {"io.modelcontextprotocol/serverInfo": INFO}
            found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            return {"result": {**CACHED, **found, "_meta": meta}}
        case "initialize":
            version = message["params"]["protocolVersion"]
            found = {"protocolVersion": version, "capabilities": {"tools": {}}}
            return {"result": {**found, "serverInfo": INFO}}
        case "tools/list":
            return {"result": {**CACHED, "tools": TOOLS}}
        case "ping":
            return {"result": {}}
        case method:
            return refused(method)


def refused(method: str) -> dict[str, Any]:
    if method == "initialize":
        data = {"supported": ["2026-07-28"]}
        return {"error": {"code": -32022, "message": "this server is modern", "data": data}}
    return {"error": {"code": -32601, "message": f"no method {method}"}}


def main() -> None:
    rest = b""
    while data := os.read(0, CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        out = memoryview(b"".join(answer(line) for line in lines if line))
        while out:
            out = out[os.write(1, out) :]


if __name__ == "__main__":
    main()
