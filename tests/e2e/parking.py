"""A modern client that answers what a parked call asks for."""

import json
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.faults import LATE
from tests.running import META, Shim, server, text_of
from tests.waiting import until

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


def answers_of(result: dict[str, Any], name: str = "me") -> dict[str, Any]:
    return {key: reply(wanted, name) for key, wanted in result["inputRequests"].items()}


class Raw:
    """A client on NATS itself: it chooses which instance gets what."""

    def __init__(self, nats: Client, server: str = "asks", edge: str = "e" * 32) -> None:
        self.nats = nats
        self.server = server
        self.edge = edge
        self.sent = 0

    async def ask(self, params: dict[str, Any], instance: str = "") -> Msg:
        """Send a call of a tool, to one instance or to any; return its only frame."""
        tail = f"tools.call.{params['name']}"
        pinned = f"mcp.ses.{self.server}.{instance}.{'1' * 32}.{tail}"
        subject = pinned if instance else f"mcp.req.{self.server}.{tail}"
        headers = {"Mcp-Wire": "1", "Mcp-Call": self.next_call()}
        return await self.nats.request(subject, request(1, params), timeout=LATE, headers=headers)

    def next_call(self) -> str:
        self.sent += 1
        return f"{self.edge}.{self.sent}"

    async def park(self, tool: str, **arguments: Any) -> tuple[dict[str, Any], str]:
        """Call a tool that asks; return what it asks, and which instance holds the call."""
        params = {"name": tool, "arguments": arguments, "_meta": ASKING}
        frame = await self.ask(params)
        assert frame.headers is not None
        return json.loads(frame.data)["result"], frame.headers["Mcp-Instance"]

    async def instances(self, many: int) -> set[str]:
        """Return the ids of the instances, once there are so many."""
        found: set[str] = set()

        async def gather(msg: Msg) -> None:
            found.add(json.loads(msg.data)["id"])

        inbox = self.nats.new_inbox()
        await self.nats.subscribe(inbox, cb=gather)
        await self.nats.publish(f"$SRV.PING.mcp-{self.server}", b"", reply=inbox)
        await until(lambda: len(found) == many, LATE)
        return found
