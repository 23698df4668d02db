"""The rounds of one call: what a modern server asks back, and the retry that answers it.

2026-07-28, Multi Round-Trip Requests. A legacy client is asked by requests of their own, as its
revision has them; nothing here knows under which ids, or for how long.
"""

from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError, RemoteProtocolError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Request

MOST_ROUNDS: Final = 16
"""A server that asks more often than that is not going to answer."""

MOST_ASKED: Final = 64
"""Requests of one round: a client's user sees each of them."""

_ELICIT: Final = "elicitation/create"
_ASKS: Final = frozenset({_ELICIT, "sampling/createMessage", "roots/list"})
"""Methods of all requests that 2026-07-28 has a server make."""


class Ask(msgspec.Struct):
    """One thing that the server wants to know, under a name of its own."""

    key: str
    method: str
    params: Members | None

    def line(self, id: str) -> bytes:  # noqa: A002
        """Return the request for the client."""
        body: dict[str, object] = {"jsonrpc": "2.0", "id": id, "method": self.method}
        if self.params is not None:
            body["params"] = self._with_elicitation_id(self.params, id)
        return jsonrpc.encode(body)

    def _with_elicitation_id(self, params: Members, id: str) -> Members:  # noqa: A002
        # 2025-11-25 requires it of a URL; 2026-07-28 has none.
        if self._mode != "url" or "elicitationId" in params:
            return params
        return {**params, "elicitationId": Raw(jsonrpc.encode(id))}

    @property
    def offer(self) -> str:
        """What a client must have offered to be asked this."""
        return f"elicitation/{self._mode}" if self.method == _ELICIT else self.method

    @property
    def _mode(self) -> str | None:
        if self.method != _ELICIT:
            return None
        return jsonrpc.text_of(self.params or {}, "mode") or "form"


class Rounds:
    """One call's rounds. `number` is the one that runs."""

    def __init__(self, offers: frozenset[str]) -> None:
        self.number = 0
        self._offers = offers
        self._open: set[str] = set()
        self._answers: Members = {}
        self._asked = False
        self._state: Raw | None = None

    def receive(self, method: str, result: Members) -> list[Ask]:
        """Begin the round that a result of type `input_required` opens; return what is asked.

        Nothing asked means: the same again, after a pause.

        Raises:
            McpnatsdError: The server may not ask that, or not so often.
        """
        self.number += 1
        if method not in eras.ASKABLE:
            raise McpnatsdError(f"the server asks for input in answer to {method}: it may not")
        if self.number > MOST_ROUNDS:
            raise McpnatsdError(f"the server asked for input {MOST_ROUNDS} times, and again")
        asks = _asks_in(result)
        for ask in asks:
            self._check(ask)
        state = result.get("requestState")
        if not asks and state is None:
            raise McpnatsdError("the server wants input and does not say which")
        self._state = None if state is None else state.copy()
        self._asked, self._open, self._answers = bool(asks), {ask.key for ask in asks}, {}
        return asks

    def answer(self, key: str, result: Raw) -> bool:
        """Take what the client answered; say whether nothing is open any more."""
        self._open.discard(key)
        self._answers[key] = result.copy()
        return not self._open

    def retry(self, line: bytes, id: Raw) -> tuple[Request, bytes, Members]:  # noqa: A002
        """Return the request of that line once more, with what the client answered.

        MRTR: "the client MUST echo back the exact value" of `requestState`, "the JSON-RPC id MUST
        be different between the initial request and the retry".
        """
        members = jsonrpc.split(line)
        params = jsonrpc.params_of(members)
        params.pop("inputResponses", None)
        params.pop("requestState", None)
        if self._asked:
            params["inputResponses"] = Raw(jsonrpc.encode(self._answers))
        if self._state is not None:
            params["requestState"] = self._state
        members |= {"id": id, "params": Raw(jsonrpc.encode(params))}
        request = Request(id, jsonrpc.text_of(members, "method") or "", members)
        return request, jsonrpc.encode(members), params

    def _check(self, ask: Ask) -> None:
        # MRTR: servers "MUST NOT send an inputRequests that the client has not declared".
        if ask.method not in _ASKS or ask.offer not in self._offers:
            raise McpnatsdError(
                f"the server asks for {ask.offer}, which this client did not offer in initialize"
            )


def _asks_in(result: Members) -> list[Ask]:
    if "inputRequests" not in result:
        return []
    try:
        asked = jsonrpc.split(bytes(result["inputRequests"]))
        few = list(asked.items())[:MOST_ASKED]
        asks = [_ask(key, jsonrpc.split(bytes(raw))) for key, raw in few]
    except RemoteProtocolError as fault:
        raise McpnatsdError(f"the server asks for input in no way of MCP: {fault}") from None
    if len(asked) > MOST_ASKED:
        raise McpnatsdError(f"the server asks for {len(asked)} inputs at once, {MOST_ASKED} may be")
    return asks


def _ask(key: str, members: Members) -> Ask:
    method = jsonrpc.text_of(members, "method")
    if method is None:
        raise RemoteProtocolError("a request without a method")
    params = jsonrpc.params_of(members) if "params" in members else None
    return Ask(key, method, params)
