"""The multiplexer under anything that can happen, in any order."""

import json
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from mcpnatsd.protocol import eras
from mcpnatsd.protocol.multiplexer import Answer, Delivery, Ended, Multiplexer, Stray
from tests.unit.protocol.test_multiplexer import (
    ANN,
    BOB,
    SUBSCRIPTION,
    Object,
    answer,
    ask,
    encoded,
    meta_of,
    note,
    progress,
    read,
)


class Asked(NamedTuple):
    caller: str
    id: int | str
    token: int | str | None
    ours: int
    listens: bool
    life: int
    """How many servers died before."""


KEYS = st.integers(min_value=0, max_value=2) | st.sampled_from(["0", "1", ""])


class ManyCallers(RuleBasedStateMachine):
    """Whatever happens in whatever order, every request ends exactly once, as its caller's."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.mux = Multiplexer[str]()
        self.waiting: dict[int, Asked] = {}
        self.life = 0

    @rule(
        target=asked,
        caller=st.sampled_from([ANN, BOB, "cas"]),
        id=KEYS,
        token=st.none() | KEYS,
        listens=st.booleans(),
    )
    def open(self, caller: str, id: int | str, token: int | str | None, listens: bool) -> Asked:  # noqa: FBT001
        meta: Object = {} if token is None else {"progressToken": token}
        method = eras.LISTEN if listens else "tools/call"
        ours, sent = ask(self.mux, caller, id, meta=meta, method=method)
        assert ours not in self.waiting
        assert sent["id"] == ours
        one = Asked(caller, id, token, ours, listens, self.life)
        self.waiting[ours] = one
        return one

    @rule(one=asked, again=st.booleans())
    def server_answers(self, one: Asked, again: bool) -> None:  # noqa: FBT001
        self.settle(one, answer(self.mux, one.ours, {"_meta": {SUBSCRIPTION: one.ours}}))
        if again:
            assert isinstance(answer(self.mux, one.ours), Stray)

    @rule(one=asked)
    def server_fails(self, one: Asked) -> None:
        error = {"jsonrpc": "2.0", "id": one.ours, "error": {"code": 1, "message": ""}}
        self.settle(one, self.mux.receive(encoded(error)))

    @rule(one=asked)
    def server_tears_down(self, one: Asked) -> None:
        delivery = note(self.mux, eras.CANCELLED, {"requestId": one.ours})
        if one.ours not in self.waiting or not one.listens:
            assert isinstance(delivery, Stray)
            return
        del self.waiting[one.ours]
        assert isinstance(delivery, Ended)
        assert read(delivery) == (one.caller, json.loads(delivery.line))
        assert json.loads(delivery.line)["params"] == {"requestId": one.id}

    @rule(one=asked)
    def server_reports(self, one: Asked) -> None:
        delivery = progress(self.mux, one.ours)
        if one.ours not in self.waiting or one.token is None:
            assert isinstance(delivery, Stray)
            return
        caller, message = read(delivery)
        assert caller == one.caller
        assert self.token_in(message) == (one.token, type(one.token))

    @rule(one=asked)
    def server_publishes(self, one: Asked) -> None:
        params = {"_meta": {SUBSCRIPTION: one.ours}}
        delivery = note(self.mux, "notifications/resources/updated", params)
        if one.ours not in self.waiting:
            assert isinstance(delivery, Stray)
            return
        caller, message = read(delivery)
        assert caller == one.caller
        assert meta_of(message) == {SUBSCRIPTION: one.id}

    @rule(one=asked)
    def caller_cancels(self, one: Asked) -> None:
        line = self.mux.cancel(one.ours)
        assert (line is not None) == (self.waiting.pop(one.ours, None) is not None)

    @rule()
    def server_dies(self) -> None:
        assert self.mux.server_gone() == [one.caller for one in self.waiting.values()]
        self.waiting.clear()
        self.life += 1

    @invariant()
    def as_many_are_in_flight_as_wait(self) -> None:
        listening = sum(one.listens for one in self.waiting.values())
        assert self.mux.in_flight == len(self.waiting)
        assert self.mux.busy == len(self.waiting) - listening

    def settle(self, one: Asked, delivery: Delivery[str]) -> None:
        if self.waiting.pop(one.ours, None) is None:
            assert isinstance(delivery, Stray)
            return
        assert isinstance(delivery, Answer)
        caller, message = read(delivery)
        assert caller == one.caller
        assert (message["id"], type(message["id"])) == (one.id, type(one.id))
        if one.listens and "result" in message:
            assert message["result"] == {"_meta": {SUBSCRIPTION: one.id}}

    @staticmethod
    def token_in(message: Object) -> tuple[object, type]:
        params = message["params"]
        assert isinstance(params, dict)
        return params["progressToken"], type(params["progressToken"])


TestManyCallers = ManyCallers.TestCase
