"""The thin modern server, with what a modern server can do beyond answering.

It asks back (`elicit`, `ask_all`, `ask_twice`, `wait`, `pester`, `odd`), tells of changes to who
listens, logs where it was asked to, and remembers nothing between the rounds of a call but its
`requestState`.

    python asks_modern.py [no-listen | no-subscribe]
"""

import json
import sys

import thin
from thin import Message

PREFIX = "io.modelcontextprotocol/"
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
ELICIT = {
    "method": "elicitation/create",
    "params": {"mode": "form", "message": "Who?", "requestedSchema": FORM},
}
URL = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "Go there", "url": "https://example.org/"},
}
SAMPLE = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "2+2?"}}],
        "maxTokens": 5,
    },
}
ROOTS = {"method": "roots/list"}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
}
REFUSED = "file:///refused"

listens: dict[object, Message] = {}
option = sys.argv[1] if len(sys.argv) > 1 else ""


def answer(message: Message) -> Message | None:
    id = message.get("id")
    params = message.get("params") or {}
    match message.get("method"):
        case "server/discover":
            fields = {"supportedVersions": [thin.MODERN], "capabilities": CAPABILITIES}
            meta = {f"{PREFIX}serverInfo": thin.INFO}
            return thin.result(id, {**fields, "instructions": "Ask.", "_meta": meta})
        case "subscriptions/listen" if option != "no-listen":
            return listen(id, params)
        case "notifications/cancelled":
            listens.pop(params.get("requestId"), None)
        case "tools/list":
            return thin.result(
                id, {"tools": [*thin.TOOLS, ODD], "ttlMs": 0, "cacheScope": "public"}
            )
        case "resources/list":
            return thin.result(id, {"resources": [], "ttlMs": 0, "cacheScope": "public"})
        case "prompts/get":
            return prompt(id, params)
    return thin.answer(message)


def listen(id: object, params: Message) -> None:
    wanted = params["notifications"]
    uris = [uri for uri in wanted.get("resourceSubscriptions", []) if uri != REFUSED]
    honoured = {key: value for key, value in wanted.items() if key.endswith("ListChanged")}
    if uris and option != "no-subscribe":
        honoured["resourceSubscriptions"] = uris
    listens[id] = honoured
    tell(id, "notifications/subscriptions/acknowledged", notifications=honoured)


def tell(listen: object, method: str, **params: object) -> None:
    tagged = {**params, "_meta": {f"{PREFIX}subscriptionId": listen}}
    thin.write({"jsonrpc": "2.0", "method": method, "params": tagged})


def prompt(id: object, params: Message) -> Message:
    if "inputResponses" not in params:
        return input_required(id, "p", {"who": ELICIT})
    content = {"type": "text", "text": json.dumps(params["inputResponses"])}
    return thin.result(id, {"messages": [{"role": "user", "content": content}]})


def input_required(id: object, state: str | None, requests: Message | None) -> Message:
    fields: Message = {"resultType": "input_required"}
    if requests is not None:
        fields["inputRequests"] = requests
    if state is not None:
        fields["requestState"] = state
    return thin.result(id, fields)


def call_elicit(id: object, params: Message) -> Message:
    return _rounds(id, params, [{"who": ELICIT}])


def call_url(id: object, params: Message) -> Message:
    return _rounds(id, params, [{"where": URL}])


def call_ask_all(id: object, params: Message) -> Message:
    return _rounds(id, params, [{"who": ELICIT, "what": SAMPLE, "where": ROOTS}])


def call_ask_twice(id: object, params: Message) -> Message:
    return _rounds(id, params, [{"first": ELICIT}, {"second": ELICIT}])


def _rounds(id: object, params: Message, rounds: list[Message]) -> Message:
    """Ask round after round; the state holds what was answered, and must come back as it went."""
    so_far = json.loads(params["requestState"]) if "requestState" in params else []
    if "inputResponses" in params:
        so_far.append(params["inputResponses"])
    if len(so_far) < len(rounds):
        _report(params, len(so_far))
        return input_required(id, json.dumps(so_far, indent=1), rounds[len(so_far)])
    _report(params, len(so_far))
    return thin.text(id, json.dumps({"answers": so_far, "arguments": params.get("arguments")}))


def _report(params: Message, number: int) -> None:
    token = (params.get("_meta") or {}).get("progressToken")
    if token is not None:
        report = {"progressToken": token, "progress": number + 1}
        thin.write({"jsonrpc": "2.0", "method": "notifications/progress", "params": report})


def call_wait(id: object, params: Message) -> Message:
    """Ask for nothing, three times over."""
    number = int(params.get("requestState", 0))
    return thin.text(id, "waited") if number == 3 else input_required(id, str(number + 1), None)


def call_pester(id: object, _params: Message) -> Message:
    return input_required(id, None, {"who": ELICIT})


def call_odd(id: object, params: Message) -> Message:
    """Answer with whatever the test wants."""
    return thin.result(id, params["arguments"]["result"])


def call_meta(id: object, params: Message) -> Message:
    return thin.text(id, json.dumps(params.get("_meta")))


def call_touch(id: object, params: Message) -> Message:
    """Tell whoever listens of a resource."""
    uri = params["arguments"]["uri"]
    for listen, honoured in list(listens.items()):
        if uri in honoured.get("resourceSubscriptions", []):
            tell(listen, "notifications/resources/updated", uri=uri)
    return thin.text(id, str(len(listens)))


def call_change(id: object, _params: Message) -> Message:
    """Tell whoever listens of changed tools."""
    for listen, honoured in list(listens.items()):
        if honoured.get("toolsListChanged"):
            tell(listen, "notifications/tools/list_changed")
    return thin.text(id, str(len(listens)))


def call_hang_up(id: object, _params: Message) -> Message:
    """End each subscription, in good order."""
    for listen in list(listens):
        del listens[listen]
        thin.write(thin.result(listen, {"_meta": {f"{PREFIX}subscriptionId": listen}}))
    return thin.text(id, "ended")


def call_log(id: object, params: Message) -> Message:
    level = params["_meta"].get(f"{PREFIX}logLevel")
    if level is not None:
        note = {"level": level, "data": "logged"}
        thin.write({"jsonrpc": "2.0", "method": "notifications/message", "params": note})
    return thin.text(id, str(level))


ODD = {**thin.tool("odd", result="object"), "outputSchema": {"type": "array"}}
OWN = {
    name.removeprefix("call_"): function
    for name, function in list(globals().items())
    if name.startswith("call_")
}


def wrapped(message: Message) -> Message | None:
    params = message.get("params") or {}
    if message.get("method") == "tools/call" and params.get("name") in OWN:
        return OWN[params["name"]](message["id"], params)
    return answer(message)


if __name__ == "__main__":
    thin.era = "modern"
    thin.serve(wrapped)
