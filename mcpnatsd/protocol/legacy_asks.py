"""What a legacy server asks its client, as the input requests of the modern era."""

from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import ProtocolError, Reported
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Key, Members, Request
from mcpnatsd.protocol.to_legacy import ANSWERS, INTERNAL_ERROR, Declared

MOST_ASKS: Final = 64
"""Requests of one server that wait for its client. More are refused at once."""

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of them together: a client puts no more than 64 MiB together, and all may go out at once."""

ELICIT: Final = "elicitation/create"
_SAMPLE: Final = "sampling/createMessage"
_ROOTS: Final = "roots/list"
_KINDS: Final = {_ROOTS: "roots", _SAMPLE: "sampling", ELICIT: "elicitation"}
_DROPPED: Final = ("task", "elicitationId")
"""Members of the legacy era that mean nothing to a modern client."""


class Ask(msgspec.Struct):
    """One request of the server, on its way to the client."""

    id: Raw
    method: str
    wanted: Raw
    at: float
    upto: int
    """Our last id by then: a call that came later did not ask this."""

    teaches: bool
    owner: int | None = None
    told: bool = False


class Asks:
    """The server's requests that nobody has answered, each under a key of ours."""

    def __init__(self, declared: Declared) -> None:
        self._kinds = declared.kinds
        self._capabilities = declared.capabilities
        self._last = 0
        self._open: dict[str, Ask] = {}
        self._had_roots = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unowned(self) -> list[Ask]:
        """What belongs to no call yet, the oldest first."""
        return [ask for ask in self._open.values() if ask.owner is None]

    def of(self, owner: int | None) -> bool:
        """Say whether anything is open that belongs to this call; None: to no call."""
        return any(ask.owner == owner for ask in self._open.values())

    def receive(self, request: Request, now: float, upto: int = 0) -> bytes | None:
        """Take a request of the server; return the answer, if it gets one at once."""
        if request.method == eras.PING:
            return jsonrpc.result(request.id, {})
        kind = _KINDS.get(request.method)
        if kind is None or kind not in self._kinds:
            text = f"this client declared nothing that answers {request.method}"
            return jsonrpc.error(request.id, jsonrpc.METHOD_NOT_FOUND, text)
        try:
            params = jsonrpc.params_of(request.members)
        except ProtocolError as fault:
            return jsonrpc.error(request.id, jsonrpc.INVALID_PARAMS, str(fault))
        undeclared = self._undeclared(request.method, params)
        if undeclared:
            text = f"this client declared no {undeclared}"
            return jsonrpc.error(request.id, jsonrpc.INVALID_PARAMS, text)
        wanted = Raw(jsonrpc.encode(_wanted(request.method, params)))
        waiting = sum(len(ask.wanted) for ask in self._open.values())
        if len(self._open) >= MOST_ASKS or waiting + len(wanted) > MOST_BYTES:
            text = f"{len(self._open)} requests to this client wait already, of {waiting} bytes"
            return jsonrpc.error(request.id, INTERNAL_ERROR, text)
        self._last += 1
        # Servers ask for roots as soon as a session begins: that tells nothing of a call.
        teaches = self._had_roots or request.method != _ROOTS
        self._had_roots = self._had_roots or request.method == _ROOTS
        ask = Ask(request.id.copy(), request.method, wanted, now, upto, teaches)
        self._open[str(self._last)] = ask
        return None

    def withdrawn(self, id: Key | None) -> None:  # noqa: A002
        """Forget a request that the server itself gave up."""
        for key, ask in list(self._open.items()):
            if jsonrpc.key_of(ask.id) == id:
                del self._open[key]

    def next_round(self, owner: int) -> dict[str, Raw]:
        """Return all that is open of one call, as `inputRequests`."""
        own = {key: ask for key, ask in self._open.items() if ask.owner == owner}
        for ask in own.values():
            ask.told = True
        return {key: ask.wanted for key, ask in own.items()}

    def answer(self, owner: int, answers: Members) -> list[bytes]:
        """Return the server's lines for what a client answered of what a call told it."""
        told = {key for key, ask in self._open.items() if ask.owner == owner and ask.told}
        known = [key for key in answers if key in told]
        return [jsonrpc.result(self._open.pop(key).id, answers[key]) for key in known]

    def refuse(self, owner: int | None, reason: str, before: float | None = None) -> list[bytes]:
        """Return the server's lines for what nobody will answer; only what is old, if told so."""
        old = [
            key
            for key, ask in self._open.items()
            if ask.owner == owner and (before is None or ask.at < before)
        ]
        return [_refusal(self._open.pop(key), reason) for key in old]

    def _undeclared(self, method: str, params: Members) -> str:
        """Name what a request needs beside its kind and the client lacks; empty for nothing."""
        own = jsonrpc.object_of(self._capabilities, _KINDS[method])
        if method == ELICIT:
            mode = jsonrpc.text_of(params, "mode") or "form"
            # 2025-11-25, Client, Elicitation: an empty object declares `form` alone.
            offered = own.keys() & {"form", "url"} or {"form"}
            return "" if mode in offered else f"elicitation in mode {mode!r}"
        if method == _SAMPLE and "tools" in params and "tools" not in own:
            return "sampling with tools"
        return ""


def _wanted(method: str, params: Members) -> dict[str, object]:
    rest = {name: value for name, value in params.items() if name not in _DROPPED}
    meta = jsonrpc.object_of(rest, eras.META)
    rest.pop(eras.META, None)
    meta.pop(eras.PROGRESS_TOKEN, None)
    if meta:
        rest[eras.META] = Raw(jsonrpc.encode(meta))
    return {"method": method, "params": rest} if rest else {"method": method}


def _refusal(ask: Ask, reason: str) -> bytes:
    if ask.method == ELICIT:
        return jsonrpc.result(ask.id, {"action": "cancel"})
    return jsonrpc.error(ask.id, INTERNAL_ERROR, reason)


def answers_in(params: Members) -> Members:
    """Return what a retry answers.

    Raises:
        Reported: It is no object of objects.
    """
    if ANSWERS not in params:
        return {}
    answers = jsonrpc.object_of(params, ANSWERS)
    whole = bytes(params[ANSWERS])[:1] == b"{"
    if not whole or any(bytes(one)[:1] != b"{" for one in answers.values()):
        text = f"params.{ANSWERS} must hold one object for each of the inputRequests"
        raise Reported(jsonrpc.INVALID_PARAMS, text)
    return answers
