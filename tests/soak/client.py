"""One MCP client that believes nothing: each line it gets must be one that it may get."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.running import META
from tests.soak.ledger import Call, Ledger
from tests.soak.plan import Who

INFO = "io.modelcontextprotocol/clientInfo"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LEGACY = "2025-11-25"
OURS = {-31001, -31004, -31005, -31007, -31008}
"""Codes that a lost call may end with. Any other one is a fault of the program, or of this test."""

STATE_LOST = -32602
"""Likewise of a call that asked: whoever knew what it had asked is gone."""

REFUSED = {-31006, -32022}
"""Likewise of `initialize` at a modern server that died while it was asked what it is."""

Send = Callable[[bytes], None]
Message = dict[str, Any]


class Client:
    """Calls with ids and progress tokens that all clients have alike, and checks what comes.

    It outlives its connections: `connected` and `cut` say where one begins and ends.
    """

    def __init__(
        self, who: Who, ledger: Ledger, rng: random.Random, versions: dict[str, int]
    ) -> None:
        self.who = who
        self.ready = False
        self.answers = 0
        self._ledger = ledger
        self._rng = rng
        self._versions = versions
        self._send: Send | None = None
        self._last = 0
        self._count = 0
        self._pending: dict[int, Call] = {}
        self._over: dict[int, Call] = {}
        self._given: dict[int, Message] = {}

    # The connection.

    def connected(self, send: Send) -> None:
        self._send = send
        self._last = 0
        self._over = {}
        self.ready = self.who.era == "modern"
        if not self.ready:
            self.initialize()

    def cut(self, how: str) -> None:
        """Take the end of the connection: whatever is open is lost, and that is told by this."""
        self._send = None
        self.ready = False
        for call in self._pending.values():
            self._ledger.end(call, how)
        self._pending = {}

    @property
    def is_connected(self) -> bool:
        return self._send is not None

    @property
    def is_waiting(self) -> bool:
        return bool(self._pending)

    def initialize(self) -> None:
        asked: Message = {"elicitation": {}} if self.who.asked else {}
        info = {"name": self.who.name, "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": asked, "clientInfo": info}
        call = self._new(method="initialize")
        self._write({"id": call.id, "method": "initialize", "params": params})

    # Calling.

    def act(self) -> None:
        """Do what a client does now and then."""
        if not self.is_connected:
            return
        if not self.ready:
            if not self._pending:
                self.initialize()
            return
        if len(self._pending) >= 4:
            return
        call = self.call()
        if self._rng.random() < 0.02:
            self._cancel(call)

    def call(self) -> Call:
        """Call the tool; return the call."""
        rng = self._rng
        arguments: Message = {"ms": rng.choice((0, 0, 0, 5, 20, 50)), "steps": 0}
        if rng.random() < 0.06:
            arguments["ms"] = rng.randint(500, 3000)
        ask = self.who.asked and rng.random() < 0.1
        if ask:
            arguments["ask"] = True
        elif rng.random() < 0.15:
            arguments["steps"] = 3
        call = self._new(steps=arguments["steps"], ask=ask)
        arguments["nonce"] = call.nonce
        self._request(call, {"name": "echo", "arguments": arguments})
        return call

    def _new(self, **more: Any) -> Call:
        self._last += 1
        self._count += 1
        version = self._versions[self.who.server.name]
        nonce = f"{self.who.name}.{self._count}"
        call = Call(id=self._last, nonce=nonce, who=self.who, version=version, **more)
        self._pending[call.id] = call
        self._ledger.opened(call)
        return call

    def _request(self, call: Call, params: Message) -> None:
        self._given[call.id] = params
        meta: Message = {}
        if self.who.era == "modern":
            meta = {**META, INFO: {"name": self.who.name, "version": "1"}}
            if self.who.asked:
                meta[CAPABILITIES] = {"elicitation": {"form": {}}}
        if call.steps:
            meta["progressToken"] = call.id
        given = {**params, "_meta": meta} if meta else params
        self._write({"id": call.id, "method": "tools/call", "params": given})

    def _cancel(self, call: Call) -> None:
        params = {"requestId": call.id, "reason": "the soak says so"}
        self._write({"method": "notifications/cancelled", "params": params})
        self._finish(call, "cancelled")

    def _write(self, message: Message) -> None:
        if self._send is not None:
            self._send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    # What comes.

    def receive(self, line: bytes) -> None:
        """Take a line."""
        message = json.loads(line)
        if "method" in message:
            self._receive_unasked(message)
        elif (call := self._pending.get(message.get("id"))) is not None:
            self._receive_end(call, message)
        elif (call := self._over.get(message.get("id"))) is None:
            self._violate(f"an answer that was never asked for: {line[:300]!r}")
        elif call.how == "cancelled":
            call.how = "answered though cancelled"  # they crossed; but only once
        else:
            self._violate(f"a second answer, {line[:300]!r}, to {call.shown(self._ledger.began)}")

    def _receive_unasked(self, message: Message) -> None:
        params = message.get("params") or {}
        match message["method"]:
            case "notifications/progress":
                self._receive_progress(params)
            case "elicitation/create":
                self._write({"id": message["id"], "result": self._answer(params)})
            case "notifications/cancelled":
                pass
            case method:
                self._violate(f"{method}, which no server sends")

    def _receive_progress(self, params: Message) -> None:
        token = params["progressToken"]
        call = self._pending.get(token) or self._over.get(token)
        if call is None or call.nonce != params.get("message"):
            self._violate(f"progress of somebody else: {params}")
        elif params["progress"] <= call.seen:
            self._violate(f"progress {params['progress']} again: {call.shown(self._ledger.began)}")
        elif call.how == "answer":
            self._violate(f"progress after the answer: {call.shown(self._ledger.began)}")
        else:
            call.seen = params["progress"]

    def _answer(self, params: Message) -> Message:
        asking = [call for call in self._pending.values() if call.nonce == params.get("message")]
        cancelled = [call for call in self._over.values() if call.nonce == params.get("message")]
        if not asking and not cancelled:
            self._violate(f"a question of somebody else's call: {params}")
        answer = f"{params.get('message')} {self.who.name}"
        return {"action": "accept", "content": {"answer": answer}}

    def _receive_end(self, call: Call, message: Message) -> None:
        if "error" in message:
            self._receive_error(call, message["error"])
        elif call.method == "initialize":
            self.ready = True
            self._finish(call, "answer")
            self._write({"method": "notifications/initialized"})
        elif message["result"].get("resultType") == "input_required":
            self._go_on(call, message["result"])
        else:
            self._check(call, json.loads(message["result"]["content"][0]["text"]))
            self.answers += 1
            self._finish(call, "answer")

    def _receive_error(self, call: Call, error: Message) -> None:
        outcome = (error.get("data") or {}).get("outcome", "")
        code, text = error["code"], error["message"]
        self._finish(call, "error", code=code, outcome=outcome, text=text)
        known = code in OURS or (call.ask and code == STATE_LOST)
        if not known and not (call.method == "initialize" and code in REFUSED):
            self._violate(f"an error of another kind: {call.shown(self._ledger.began)}")

    def _go_on(self, call: Call, result: Message) -> None:
        """Answer what a modern server asks: the call goes on under an id of its own."""
        params = self._given[call.id]
        answers = {
            key: self._answer(asked["params"]) for key, asked in result["inputRequests"].items()
        }
        del self._pending[call.id]
        self._over[call.id] = call
        self._last += 1
        call.id = self._last
        self._pending[call.id] = call
        more = {"inputResponses": answers, "requestState": result.get("requestState")}
        self._request(call, {**params, **more})

    def _check(self, call: Call, text: Message) -> None:
        wanted: Message = {"nonce": call.nonce, "server": self.who.server.name}
        if self.who.server.knows_clients:
            wanted["client"] = self.who.name
        if call.ask:
            wanted["asked"] = f"{call.nonce} {self.who.name}"
        found = {key: text.get(key) for key in wanted}
        if found != wanted:
            self._violate(f"a crossed answer: {text} to {call.shown(self._ledger.began)}")
        if self.who.is_balanced and text["version"] < call.version:
            self._violate(
                f"answered by version {text['version']}, not {call.version}: "
                f"{call.shown(self._ledger.began)}"
            )

    def _finish(self, call: Call, how: str, **more: Any) -> None:
        self._pending.pop(call.id, None)
        self._given.pop(call.id, None)
        self._over[call.id] = call
        self._ledger.end(call, how, **more)

    def _violate(self, what: str) -> None:
        self._ledger.violate(f"{self.who.name} ({self.who.era}, {self.who.way}): {what}")
