"""A modern server with a bit of everything, for sessions over several servers.

    python various.py NAME [plain | silent | broken | refuses | slow | endless | eager | hesitant]

`plain` has tools and nothing else, `silent` never answers a list, `broken` answers lists with
nonsense, `refuses` answers every request with an error, `slow` lists nothing in its first 13 s, and
the lists of `endless` do not end.
Of a subscription `eager` tells at once that its tools have changed, and `hesitant` acknowledges it
after a second.
"""

import sys
import threading
import time

import thin

NAME = sys.argv[1]
KIND = sys.argv[2] if len(sys.argv) > 2 else ""
SLOW_UNTIL = time.monotonic() + 13.0
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LONG = "long_" + "x" * 150
TOOLS = [
    {**thin.tool("who"), "title": "Who  is it", "annotations": {"n": 1.50}},
    thin.tool("under__score"),
    thin.tool(LONG),
    thin.tool("capabilities"),
    thin.tool("progress", steps="integer"),
    thin.tool("sleep", seconds="number"),
    thin.tool("exit"),
    thin.tool("ask"),
    thin.tool("fail"),
    thin.tool("change"),
    thin.tool("hub__tool"),
    thin.tool("heard"),
    thin.tool("hang_up"),
]
PAGE = 4
listens: dict[object, thin.Message] = {}
heard: list[object] = []


def answer(message: thin.Message) -> thin.Message | None:
    method, id = message.get("method"), message.get("id")
    params = message.get("params")
    assert isinstance(params, dict)
    if id is None:
        listens.pop(params.get("requestId"), None)
        heard.append(method)
        return thin.notified(method, params)
    if KIND == "refuses":
        return thin.error(id, -32603, f"{NAME} is in no mood")
    if method in LISTS:
        return listed(id, str(method), params)
    if method in METHODS:
        return METHODS[method](id, params)
    return thin.error(id, -32601, f"no method {method}")


def discover(id: object, _params: thin.Message) -> thin.Message:
    capabilities: thin.Message = {"tools": {"listChanged": True}}
    if KIND == "":
        capabilities |= {"prompts": {}, "resources": {"subscribe": True}, "completions": {}}
    fields = {
        "supportedVersions": [thin.MODERN],
        "capabilities": capabilities,
        "instructions": f"Speak to {NAME}.",
        "ttlMs": 1000,
        "cacheScope": "public",
    }
    return thin.result(id, fields)


LISTS: dict[object, tuple[str, list[thin.Message]]] = {
    "tools/list": ("tools", TOOLS),
    "prompts/list": ("prompts", [{"name": "greet", "arguments": [{"name": "whom"}]}]),
    "resources/list": (
        "resources",
        [{"uri": f"{NAME}:own", "name": "own"}, {"uri": "shared:x", "name": NAME}],
    ),
    "resources/templates/list": (
        "resourceTemplates",
        [{"uriTemplate": NAME + ":t/{id}", "name": "t"}],
    ),
}


def listed(id: object, method: str, params: thin.Message) -> thin.Message | None:
    if KIND == "silent":
        return None
    if KIND == "broken":
        return thin.result(id, {"tools": "none"})
    if KIND and method != "tools/list":
        return thin.error(id, -32601, f"no method {method}")
    if KIND == "slow" and time.monotonic() < SLOW_UNTIL:
        again: thin.Message = {"id": id, "method": method, "params": params}
        threading.Timer(13.0, lambda: thin.write(answer(again) or {})).start()
        return None
    member, items = LISTS[method]
    start = int(str(params.get("cursor", "0")))
    more = {"nextCursor": str(start + PAGE)} if start + PAGE < len(items) else {}
    if KIND == "endless":
        more = {"nextCursor": "0"}
    return thin.result(id, {member: items[start : start + PAGE], **more})


def call(id: object, params: thin.Message) -> thin.Message | None:
    name, meta = params.get("name"), params.get("_meta")
    assert isinstance(meta, dict)
    if name in ("progress", "sleep", "exit"):
        return thin.call(id, params)
    if name == "ask":
        return ask(id, params)
    if name == "fail":
        return thin.error(id, -32000, "it failed", data={"at": NAME})
    if name == "change":
        change()
    if name == "hang_up":
        hang_up()
    said = {"heard": heard, "capabilities": meta["io.modelcontextprotocol/clientCapabilities"]}
    if name in said:
        return thin.text(id, str(said[name]))
    if name not in [tool["name"] for tool in TOOLS]:
        return thin.error(id, -32602, f"{NAME} has no tool {name}")
    return thin.text(id, f"{NAME} {name}")


def ask(id: object, params: thin.Message) -> thin.Message:
    if "inputResponses" in params:
        return thin.text(id, f"{NAME} {params['requestState']} {params['inputResponses']}")
    form = {"mode": "form", "message": "?", "requestedSchema": {"type": "object"}}
    asks = {"q": {"method": "elicitation/create", "params": form}}
    state = {"resultType": "input_required", "requestState": f"state of {NAME}"}
    return thin.result(id, {**state, "inputRequests": asks})


def change() -> None:
    for id, wanted in listens.items():
        if wanted.get("toolsListChanged"):
            note(id, "notifications/tools/list_changed")
        for uri in wanted.get("resourceSubscriptions") or []:  # type: ignore[attr-defined]
            note(id, "notifications/resources/updated", uri=uri)


def hang_up() -> None:
    for id in listens:
        params = {"requestId": id, "reason": "the server says so"}
        thin.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    listens.clear()


def note(id: object, method: str, **params: object) -> None:
    params["_meta"] = {SUBSCRIPTION: id}
    thin.write({"jsonrpc": "2.0", "method": method, "params": params})


def listen(id: object, params: thin.Message) -> None:
    wanted = params.get("notifications")
    assert isinstance(wanted, dict)
    listens[id] = wanted
    if KIND == "hesitant":
        threading.Timer(1.0, acknowledge, (id, wanted)).start()
    else:
        acknowledge(id, wanted)
    if KIND == "eager":
        note(id, "notifications/tools/list_changed")


def acknowledge(id: object, wanted: thin.Message) -> None:
    note(id, "notifications/subscriptions/acknowledged", notifications=wanted)


def prompt(id: object, params: thin.Message) -> thin.Message:
    said = {"type": "text", "text": f"{NAME} {params.get('name')}"}
    return thin.result(id, {"messages": [{"role": "user", "content": said}]})


def read(id: object, params: thin.Message) -> thin.Message:
    uri = str(params.get("uri"))
    if KIND or not (uri.startswith(f"{NAME}:") or uri == "shared:x"):
        heard.append(uri)
        return thin.error(id, -32602, f"{NAME} has no {uri}")
    return thin.result(id, {"contents": [{"uri": uri, "text": NAME}]})


def complete(id: object, params: thin.Message) -> thin.Message:
    ref = params.get("ref")
    assert isinstance(ref, dict)
    what = ref.get("name", ref.get("uri"))
    return thin.result(id, {"completion": {"values": [f"{NAME} {what}"]}})


METHODS = {
    "server/discover": discover,
    "tools/call": call,
    "subscriptions/listen": listen,
    "prompts/get": prompt,
    "resources/read": read,
    "completion/complete": complete,
}

if __name__ == "__main__":
    thin.serve(answer)
