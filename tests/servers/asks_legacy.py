"""A thin legacy server that asks its client: tools elicit, sample, ask for roots, tell and log.

    python asks_legacy.py [--roots-first] [--record FILE]

`--roots-first` has it ask `roots/list` right after `initialized`, and answer no call before.
`--record` appends one line for each message that reaches it: pid, method or "answer", and the id.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

Message = dict[str, Any]

ROOTS_FIRST = "--roots-first" in sys.argv
RECORD = Path(sys.argv[sys.argv.index("--record") + 1]) if "--record" in sys.argv else None
FORM = {"type": "object", "properties": {"answer": {"type": "string"}}}
SAMPLE = {
    "messages": [{"role": "user", "content": {"type": "text", "text": "say"}}],
    "maxTokens": 5,
}
TOOLS = [
    "ask_early", "ask_late", "ask_twice", "ask_unknown", "ask_url", "ask_withdraw", "echo",
    "elicit", "elicit_in_order", "elicit_pid", "elicit_slowly", "elicit_then_sleep", "exit",
    "fail_missing", "fail_url", "level", "log", "meta", "pid", "progress", "roots", "sample",
    "sleep", "touch", "update", "was_cancelled",
]  # fmt: skip

asked: dict[int, tuple[threading.Event, list[Message]]] = {}
roots_known = threading.Event()
lock = threading.Lock()
state: dict[str, Any] = {"asks": 0, "level": "none", "cancelled": set(), "initialize": {}}
subscribed: set[str] = set()
together: list[tuple[object, Message]] = []
in_order: dict[object, int] = {}


def write(message: Message) -> None:
    with lock:
        os.write(1, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def record(message: Message) -> None:
    if RECORD is not None:
        name = message.get("name") or message.get("method", "answer")
        about = (message.get("params") or {}).get("name", "")
        with lock, RECORD.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {name} {about}\n")


def notify(method: str, **params: Any) -> None:
    write({"method": method, "params": params})


def start_asking(method: str, params: Message | None) -> int:
    with lock:
        state["asks"] += 1
        id = 1000 + state["asks"]
        asked[id] = (threading.Event(), [])
    write({"id": id, "method": method, **({} if params is None else {"params": params})})
    return id


def wait_for(id: int) -> Message:
    asked[id][0].wait()
    return asked.pop(id)[1][0]


def ask(method: str, params: Message | None) -> Message:
    """Ask the client; return its whole response."""
    return wait_for(start_asking(method, params))


def elicit(text: str) -> str:
    return answered(start_asking("elicitation/create", {"message": text, "requestedSchema": FORM}))


def answered(one: int) -> str:
    answer = wait_for(one)
    if "error" in answer:
        return f"error {answer['error']['code']}: {answer['error']['message']}"
    result = answer["result"]
    return str(result["content"]["answer"]) if result["action"] == "accept" else result["action"]


def call(id: object, params: Message) -> str | Message:  # noqa: C901, PLR0911, PLR0912, PLR0915
    name, given = params["name"], params.get("arguments") or {}
    match name:
        case "echo":
            return str(given.get("text", ""))
        case "pid":
            return str(os.getpid())
        case "meta":
            return json.dumps({"params": params, "initialize": state["initialize"]})
        case "elicit":
            return f"{given['text']}: {elicit(given['text'])}"
        case "elicit_pid":
            elicit("pid?")
            return str(os.getpid())
        case "elicit_in_order":
            return f"{given['text']}: {answered(in_order.pop(id))}"
        case "elicit_slowly":
            time.sleep(given.get("seconds", 0.2))
            return f"{given['text']}: {elicit(given['text'])}"
        case "elicit_then_sleep":
            elicit(given["text"])
            while id not in state["cancelled"]:
                time.sleep(0.01)
            return "woken"
        case "was_cancelled":
            return "yes" if state["cancelled"] else "no"
        case "ask_twice":
            return f"{elicit('first')} {elicit('second')}"
        case "ask_early":  # two at a time
            both = [
                start_asking("elicitation/create", {"message": text, "requestedSchema": FORM})
                for text in ("one", "two")
            ]
            answers = [wait_for(one)["result"] for one in both]
            return " ".join(one["content"]["answer"] for one in answers)
        case "ask_late":  # answers while its client is still being asked
            start_asking("elicitation/create", {"message": "never mind", "requestedSchema": FORM})
            return "did not wait"
        case "ask_withdraw":
            one = start_asking("elicitation/create", {"message": "x", "requestedSchema": FORM})
            notify("notifications/cancelled", requestId=one)
            return f"after: {elicit('y')}"
        case "ask_url":
            url = {
                "mode": "url",
                "message": "go",
                "url": "https://example.com",
                "elicitationId": "e",
            }
            answer = ask("elicitation/create", url)
            return json.dumps(answer.get("result", answer.get("error")))
        case "ask_unknown":
            return json.dumps(ask("com.example/ask", {})["error"]["code"])
        case "sample":
            answer = ask("sampling/createMessage", {**SAMPLE, "_meta": {"progressToken": 9}})
            return json.dumps(answer.get("result", answer.get("error")))
        case "roots":
            return json.dumps(ask("roots/list", None).get("result"))
        case "log":
            for level in ("debug", "info", "error"):
                notify("notifications/message", level=level, data=f"{given.get('text')} {level}")
            return "logged"
        case "level":
            return str(state["level"])
        case "progress":
            token = (params.get("_meta") or {}).get("progressToken")
            for step in range(given["steps"]):
                if token is not None:
                    notify("notifications/progress", progressToken=token, progress=step + 1)
            if given.get("ask"):
                elicit("go on?")
                notify("notifications/progress", progressToken=token, progress=given["steps"] + 1)
            return "done"
        case "sleep":
            deadline = time.monotonic() + given["seconds"]
            while time.monotonic() < deadline and id not in state["cancelled"]:
                time.sleep(0.01)
            return "slept"
        case "update":
            if given["uri"] in subscribed:
                notify("notifications/resources/updated", uri=given["uri"])
            return "updated" if given["uri"] in subscribed else "nobody subscribed"
        case "touch":
            notify("notifications/tools/list_changed")
            return "touched"
        case "fail_missing":
            return {"error": {"code": -32002, "message": "no such thing", "data": {"uri": "x:y"}}}
        case "fail_url":
            return {
                "error": {"code": -32042, "message": "first log in", "data": {"elicitations": []}}
            }
        case "exit":
            os._exit(3)
    return {"error": {"code": -32602, "message": f"no tool {name}"}}


def answer_call(id: object, params: Message) -> None:
    if ROOTS_FIRST:
        roots_known.wait()
    found = call(id, params)
    if id in state["cancelled"]:
        write({"id": id, "error": {"code": 0, "message": "Request cancelled"}})
    elif isinstance(found, dict):
        write({"id": id, **found})
    else:
        write({"id": id, "result": {"content": [{"type": "text", "text": found}]}})


def gather(id: object, params: Message) -> None:
    """Once so many calls are here together, have each ask, in the order in which they came."""
    together.append((id, params))
    if len(together) < params["arguments"]["together"]:
        return
    for one, given in together:
        form = {"message": given["arguments"]["text"], "requestedSchema": FORM}
        in_order[one] = start_asking("elicitation/create", form)
        threading.Thread(target=answer_call, args=(one, given), daemon=True).start()
    together.clear()


def ask_roots_first() -> None:
    state["roots"] = ask("roots/list", None)
    roots_known.set()


def result(message: Message) -> Message:  # noqa: C901
    """Return the result of anything but a call."""
    params = message.get("params") or {}
    match message["method"]:
        case "initialize":
            state["initialize"] = params
            offers = {
                "tools": {"listChanged": True},
                "resources": {"subscribe": True},
                "prompts": {},
                "logging": {},
                "tasks": {"list": {}},
            }
            info = {"name": "asks", "version": "1.0.0"}
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": offers,
                "serverInfo": info,
                "instructions": "Ask away.",
            }
        case "tools/list":
            schema = {"type": "object"}
            return {"tools": [{"name": name, "inputSchema": schema} for name in TOOLS]}
        case "logging/setLevel":
            state["level"] = params["level"]
        case "resources/subscribe":
            subscribed.add(params["uri"])
        case "resources/unsubscribe":
            subscribed.discard(params["uri"])
        case "resources/read":
            return {"contents": [{"uri": params["uri"], "text": "read"}]}
        case "prompts/get":
            text = {"type": "text", "text": elicit("for a prompt")}
            return {"messages": [{"role": "user", "content": text}]}
        case "com.example/own":
            return {"own": params}
    return {}


def refused(params: Message) -> bool:
    return str(params.get("uri", "")).startswith("refused:")


def receive(message: Message) -> None:  # noqa: C901
    id, method, params = message.get("id"), message.get("method"), message.get("params") or {}
    if method is None:
        if id in asked:
            asked[id][1].append(message)
            asked[id][0].set()
    elif id is None:
        if method == "notifications/cancelled":
            state["cancelled"].add(params.get("requestId"))
        if method == "notifications/initialized" and ROOTS_FIRST:
            threading.Thread(target=ask_roots_first, daemon=True).start()
    elif method == "tools/call" and params["name"] == "elicit_in_order":
        gather(id, params)
    elif method == "tools/call":
        threading.Thread(target=answer_call, args=(id, params), daemon=True).start()
    elif method == "prompts/get":
        body = {"id": id}
        thread = threading.Thread(
            target=lambda: write({**body, "result": result(message)}), daemon=True
        )
        thread.start()
    elif method == "server/discover" or refused(params):
        write({"id": id, "error": {"code": -32601, "message": f"no {method}"}})
    else:
        write({"id": id, "result": result(message)})


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        record(message)
        receive(message)


if __name__ == "__main__":
    main()
