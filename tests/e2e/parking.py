"""A modern client that answers what a parked call asks for."""

import json
from typing import Any

from tests.running import META, Shim, server, text_of

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
ALL = {"roots": {}, "sampling": {}, "elicitation": {}}
ASKING: dict[str, Any] = {CAPABILITIES: ALL}
MOST_ROUNDS = 20


def asks(*arguments: str, **config: Any) -> dict[str, Any]:
    """Return a `servers:` section with the legacy server that asks."""
    return {"asks": {"command": server("asks_legacy", *arguments), **config}}


def reply(wanted: dict[str, Any], name: str) -> dict[str, Any]:
    """Answer one input request as that client would."""
    match wanted["method"]:
        case "elicitation/create":
            text = f"{name} on {wanted['params']['message']}"
            return {"action": "accept", "content": {"answer": text}}
        case "roots/list":
            return {"roots": [{"uri": f"file:///{name}"}]}
        case _:
            content = {"type": "text", "text": name}
            return {"role": "assistant", "content": content, "model": "m"}


def send(one: Shim, tool: str, meta: dict[str, Any] | None = None, **arguments: Any) -> object:
    """Call a tool as a client that can be asked; return the request's id."""
    given = {"name": tool, "arguments": arguments}
    return one.modern("tools/call", **given, _meta={**ASKING, **(meta or {})})


async def park(one: Shim, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that asks; return the result that says so."""
    response = await one.answer(send(one, tool, **arguments))
    assert response["result"]["resultType"] == "input_required", response
    result: dict[str, Any] = response["result"]
    return result


def retry(
    one: Shim, result: dict[str, Any], tool: str, name: str = "me", **arguments: Any
) -> object:
    """Send the retry of a parked call; return its id."""
    wanted = result["inputRequests"]
    answers = {key: reply(request, name) for key, request in wanted.items()}
    return one.modern("tools/call", **again(result, answers, tool, **arguments))


def again(result: dict[str, Any], answers: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the params of a retry."""
    given = {"name": tool, "arguments": arguments, "_meta": ASKING}
    return {**given, "inputResponses": answers, "requestState": result["requestState"]}


async def through(one: Shim, tool: str, name: str = "me", **arguments: Any) -> str:
    """Call a tool, and answer whatever it asks; return its text."""
    response = await one.answer(send(one, tool, **arguments))
    for _ in range(MOST_ROUNDS):
        if response.get("result", {}).get("resultType") != "input_required":
            break
        response = await one.answer(retry(one, response["result"], tool, name, **arguments))
    assert response["result"]["resultType"] == "complete", response
    return text_of(response)


def request(id: object, params: dict[str, Any]) -> bytes:
    """Return a retry as it goes onto the bus."""
    meta = {**META, **params.get("_meta", {})}
    body = {"jsonrpc": "2.0", "id": id, "method": "tools/call"}
    return json.dumps({**body, "params": {**params, "_meta": meta}}).encode()
