"""A legacy server that does to its client what no server should.

    python hostile_legacy.py [picky]

`picky` answers an `initialize` whose client has no name with an error. Its tools: `echo`, `pid`,
`ask_much` asks `many` times with `size` bytes each and tells how many were refused, `twice` answers
twice, `unknown` answers ids that nobody has, `same_id` asks two questions under one id, `odd_ids`
asks under ids that look like ours, `update` tells that a resource was updated.
"""

import json
import os
import sys
from typing import Any

Message = dict[str, Any]
PICKY = "picky" in sys.argv
FORM = {"type": "object", "properties": {"answer": {"type": "string"}}}


def write(**message: Any) -> None:
    line = memoryview(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    while line:
        line = line[os.write(1, line) :]


def read() -> Message:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    message: Message = json.loads(line)
    return message


def text(id: object, said: object) -> None:
    write(id=id, result={"content": [{"type": "text", "text": str(said)}]})


def ask(id: object, message: str) -> None:
    params = {"message": message, "requestedSchema": FORM}
    write(id=id, method="elicitation/create", params=params)


def answers(many: int) -> list[Message]:
    """Return the next answers, whatever else comes in between."""
    found: list[Message] = []
    while len(found) < many:
        message = read()
        if "method" not in message:
            found.append(message)
        elif "id" in message:
            receive(message)
    return found


def call(id: object, name: str, given: Message) -> None:  # noqa: C901
    match name:
        case "ask_much":
            for number in range(given["many"]):
                ask(f"q{number}", "x" * given["size"])
            text(id, sum("error" in one for one in answers(given["many"])))
        case "twice":
            text(id, "first")
            text(id, "second")
        case "unknown":
            for other in (0, -1, 10**9, "1", True, 1.0, None, [1], {}):
                text(other, "not yours")
            text(id, "yours")
        case "same_id":
            ask(0, "one")
            ask(0, "two")
            text(id, [one["result"]["content"]["answer"] for one in answers(2)])
        case "odd_ids":
            for other in (0, id, "", "x" * 1000):
                ask(other, "odd")
            text(id, [one["id"] == other for one, other in zip(answers(4), (0, id), strict=False)])
        case "update":
            write(method="notifications/resources/updated", params={"uri": given["uri"]})
            text(id, "told")
        case "pid":
            text(id, os.getpid())
        case _:
            text(id, given.get("text"))


def receive(message: Message) -> None:
    id, params = message.get("id"), message.get("params") or {}
    match message.get("method"):
        case "initialize" if PICKY and not isinstance(params["clientInfo"], dict):
            write(id=id, error={"code": -32602, "message": "clientInfo has no name"})
        case "initialize":
            offers: Message = {"tools": {}, "resources": {"subscribe": True}}
            info = {"name": "hostile", "version": "1"}
            found = {"protocolVersion": "2025-11-25", "capabilities": offers, "serverInfo": info}
            write(id=id, result=found)
        case "tools/call":
            call(id, params["name"], params.get("arguments") or {})
        case "server/discover":
            write(id=id, error={"code": -32601, "message": "what?"})
        case _ if id is not None and "method" in message:
            write(id=id, result={})


while True:
    receive(read())
