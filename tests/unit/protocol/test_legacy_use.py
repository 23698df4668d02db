"""One legacy session in use: each request gets one answer, and nobody is asked for another."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Raw

from mcpnatsd.errors import Reported, TooLarge
from mcpnatsd.protocol import eras, jsonrpc, to_legacy
from mcpnatsd.protocol.jsonrpc import Members, Request
from mcpnatsd.protocol.legacy_deliveries import (
    Answer,
    Delivery,
    Mine,
    Note,
    Park,
    Stray,
    Told,
    ToServer,
)
from mcpnatsd.protocol.legacy_use import PARKED_FOR, UNASKED_FOR, LegacyUse

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LEVEL = "io.modelcontextprotocol/logLevel"
ALL = {"roots": {}, "sampling": {}, "elicitation": {}}
Out = list[Delivery[str]]


def use(*, asked: bool = True, logs: bool = True) -> LegacyUse[str]:
    declared = to_legacy.declared({CAPABILITIES: Raw(json.dumps(ALL if asked else {}).encode())})
    return LegacyUse({"logging": Raw(b"{}")}, declared, logs=logs)


def request(method: str = "tools/call", **params: Any) -> tuple[Request, Members]:
    body = {"jsonrpc": "2.0", "id": "theirs", "method": method, "params": params}
    message = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(message, Request)
    return message, jsonrpc.params_of(message.members)


def opened(
    one: LegacyUse[str], who: str, method: str = "tools/call", now: float = 0.0, **params: Any
) -> tuple[int, Out]:
    return one.open(who, *request(method, name=who, **params), now)


def resumed(one: LegacyUse[str], who: str, park: Park[str], now: float = 0.0, **more: Any) -> Out:
    given = {"name": park.caller, "inputResponses": {key: {} for key in park.asks}, **more}
    ours, number = park.ours, park.round
    return one.resume(who, *request(**given), now, ours=ours, round=number)


def said(one: LegacyUse[str], now: float = 0.0, **body: Any) -> Out:
    return one.receive(jsonrpc.decode(json.dumps({"jsonrpc": "2.0", **body}).encode()), now)


def asks(one: LegacyUse[str], id: object, now: float = 0.0) -> Out:
    return said(one, now, id=id, method="elicitation/create", params={"message": str(id)})


def answers(one: LegacyUse[str], ours: int, text: str = "done") -> Out:
    return said(one, id=ours, result={"text": text})


def lines(out: Out) -> list[Any]:
    return [json.loads(one.line) for one in out if isinstance(one, ToServer)]


def parked(out: Out) -> Park[str]:
    (park,) = (one for one in out if isinstance(one, Park))
    return park


def answered(out: Out) -> tuple[str, Any]:
    (answer,) = (one for one in out if isinstance(one, Answer))
    return answer.caller, json.loads(bytes(answer.response.members["result"]))


# Parking.


def test_what_the_server_asks_parks_the_call_and_the_retry_goes_on() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1"))
    assert (park.caller, one.parked, one.busy) == ("ann", 1, 0)

    out = resumed(one, "bob", park)
    assert lines(out) == [{"jsonrpc": "2.0", "id": "s1", "result": {}}]
    assert answered(answers(one, ours))[0] == "bob"
    assert one.idle


def test_while_a_call_is_in_the_session_no_other_that_may_ask_comes() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    assert [one.takes(method) for method in ("tools/call", "tools/list")] == [False, True]
    park = parked(asks(one, "s1"))
    assert not one.takes("prompts/get")
    resumed(one, "ann", park)
    answers(one, ours)
    assert one.takes("prompts/get")


def test_a_client_that_answers_nothing_needs_no_turns() -> None:
    one = use(asked=False)
    opened(one, "ann")
    assert one.takes("tools/call")
    assert lines(asks(one, "s1"))[0]["error"]["code"] == -32601
    assert one.parked == 0


def test_what_is_asked_before_any_call_comes_before_the_first() -> None:
    one = use()
    assert asks(one, "s1") == []
    ours, out = opened(one, "ann")
    assert lines(out) == []

    sent = lines(resumed(one, "ann", parked(out)))
    assert [line.get("method", line["id"]) for line in sent] == ["s1", "tools/call"]
    assert sent[1]["id"] == ours


def test_more_that_is_asked_meanwhile_is_the_next_round() -> None:
    one = use()
    opened(one, "ann")
    first = parked(asks(one, "s1"))
    assert asks(one, "s2") == []

    second = parked(resumed(one, "ann", first))
    assert list(second.asks) == ["2"]
    assert lines(resumed(one, "ann", second))[0]["id"] == "s2"


def test_an_answer_that_comes_meanwhile_is_kept() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1"))
    assert lines(answers(one, ours))[0]["result"] == {"action": "cancel"}

    assert answered(resumed(one, "bob", park)) == (
        "bob",
        {"resultType": "complete", "text": "done"},
    )


@pytest.mark.parametrize("more", [{"name": "other"}, {"inputResponses": []}], ids=str)
def test_a_retry_that_is_wrong_changes_nothing(more: dict[str, Any]) -> None:
    one = use()
    opened(one, "ann")
    park = parked(asks(one, "s1"))
    with pytest.raises(Reported):
        resumed(one, "ann", park, **more)

    assert lines(resumed(one, "ann", park))[0]["id"] == "s1"


def test_a_round_is_answered_once() -> None:
    one = use()
    opened(one, "ann")
    park = parked(asks(one, "s1"))
    resumed(one, "ann", park)
    with pytest.raises(Reported, match="already"):
        resumed(one, "bob", park)
    parked(asks(one, "s2"))
    with pytest.raises(Reported, match="already"):
        resumed(one, "bob", park)


def test_a_call_that_is_given_up_frees_its_server_and_then_the_session() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    asks(one, "s1")

    elicitation, cancelled, ping = lines(one.cancel(ours, "enough"))
    assert elicitation["result"] == {"action": "cancel"}
    assert cancelled["params"] == {"requestId": ours, "reason": "enough"}
    assert not one.takes("tools/call")  # it may ask until it has read the cancel
    assert "result" in lines(asks(one, "s2"))[0]
    assert isinstance(said(one, id=ping["id"], result={})[0], Mine)
    assert one.takes("tools/call")
    assert isinstance(answers(one, ours)[0], Stray)


def test_a_call_that_was_never_sent_is_not_cancelled() -> None:
    one = use()
    asks(one, "s1")
    ours, _ = opened(one, "ann")

    assert [line["id"] for line in lines(one.cancel(ours))] == ["s1"]
    assert one.takes("tools/call")


# Answers that cannot be read.


def test_an_answer_that_is_lost_is_told_to_its_caller_alone() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    opened(one, "bob", "tools/list")

    assert one.lost(ours, TooLarge("too large")) == ["ann"]
    assert one.takes("tools/call")
    assert one.lost(99, TooLarge("too large")) == ["bob"]


def test_an_answer_that_is_lost_meanwhile_is_told_to_the_retry() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1"))
    assert one.lost(ours, TooLarge("too large")) == []
    one.receive(jsonrpc.decode(b'{"jsonrpc":"2.0","method":"notifications/cancelled",'
                               b'"params":{"requestId":"s1"}}'), 0.0)  # fmt: skip

    (answer,) = resumed(one, "bob", park)
    assert isinstance(answer, Answer)
    error = json.loads(answer.response.with_id(answer.id))["error"]
    assert error["code"] == -31003


# Clocks.


def test_the_time_in_which_a_call_is_parked_does_not_count() -> None:
    one = use()
    ours, _ = opened(one, "ann", now=0.0)
    park = parked(asks(one, "s1", now=4.0))
    assert one.overdue(500.0, 5.0) == []
    resumed(one, "ann", park, now=500.0)

    assert one.overdue(500.9, 5.0) == []
    assert one.overdue(501.0, 5.0) == [(ours, "ann")]


def test_a_call_is_parked_for_so_long_only() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1", now=1.0))
    assert park.until == 1.0 + PARKED_FOR
    assert one.expire(PARKED_FOR) == []

    assert lines(one.expire(1.0 + PARKED_FOR))[1]["params"]["requestId"] == ours
    assert one.idle


def test_what_is_asked_outside_a_call_holds_no_other_request_up() -> None:
    one = use()
    asks(one, "s1", now=0.0)
    assert one.expire(UNASKED_FOR + 1) == []
    opened(one, "ann", "tools/list", now=10.0)
    assert one.expire(10.0 + UNASKED_FOR - 0.1) == []

    assert [line["id"] for line in lines(one.expire(10.0 + UNASKED_FOR))] == ["s1"]


# Logs, progress, and the rest.


def test_the_level_is_what_the_most_curious_wants_and_said_before() -> None:
    one = use()
    _, out = opened(one, "ann", _meta={LEVEL: "error"})
    assert [line["method"] for line in lines(out)] == ["logging/setLevel", "tools/call"]
    _, out = opened(one, "bob", "tools/list", _meta={LEVEL: "warning"})
    assert lines(out)[0]["params"] == {"level": "warning"}
    _, out = opened(one, "eve", "tools/list", _meta={LEVEL: "error"})
    assert [line["method"] for line in lines(out)] == ["tools/list"]

    def told(level: str) -> list[str]:
        out = said(one, method=eras.MESSAGE, params={"level": level, "data": 1})
        return [note.caller for note in out if isinstance(note, Note)]

    assert [told("error"), told("warning"), told("info"), told("?")] == [["eve"], ["bob"], [], []]


def test_a_server_that_logs_nothing_is_told_no_level() -> None:
    _, out = opened(use(logs=False), "ann", _meta={LEVEL: "debug"})

    assert [line["method"] for line in lines(out)] == ["tools/call"]


def test_progress_goes_to_its_caller_under_its_token() -> None:
    one = use()
    ours, _ = opened(one, "ann", _meta={"progressToken": "t"})
    (note,) = said(one, method=eras.PROGRESS, params={"progressToken": ours, "progress": 1})

    assert isinstance(note, Note)
    assert json.loads(note.line)["params"] == {"progressToken": "t", "progress": 1}
    (stray,) = said(one, method=eras.PROGRESS, params={"progressToken": 99, "progress": 1})
    assert isinstance(stray, Stray)


def test_a_notification_of_no_request_is_for_subscriptions() -> None:
    (told,) = said(use(), method="notifications/tools/list_changed")

    assert isinstance(told, Told)


class Session(RuleBasedStateMachine):
    """Calls come, are asked about, answered, retried and cancelled in every order."""

    def __init__(self) -> None:
        super().__init__()
        self.use = use()
        self.number = 0
        self.waiting: dict[int, str] = {}
        """Whose exchange waits, by our id."""

        self.unsent: set[int] = set()
        self.calls: set[int] = set()
        self.parks: dict[int, Park[str]] = {}
        self.asked: dict[str, int | None] = {}
        """Which call each open request of the server belongs to."""

        self.finished: list[str] = []

    def take(self, out: Out) -> None:
        for one in out:
            match one:
                case Answer(caller=caller, response=response):
                    (ours,) = [key for key, who in self.waiting.items() if who == caller]
                    result = json.loads(bytes(response.members["result"]))
                    assert result["text"] == str(ours), "an answer crossed"
                    del self.waiting[ours]
                    assert caller not in self.finished
                    self.finished.append(caller)
                case Park(caller=caller, ours=ours):
                    assert self.waiting.pop(ours) == caller
                    assert caller not in self.finished
                    self.finished.append(caller)
                    self.parks[ours] = one
                case ToServer(line=line):
                    self.receive(json.loads(line))

    def receive(self, message: dict[str, Any]) -> None:
        """Be the server."""
        if message.get("method") == "ping":
            self.take(said(self.use, id=message["id"], result={}))
        elif "method" not in message:
            assert message["id"] in self.asked, "an answer to nothing"
            del self.asked[message["id"]]
        elif message["method"] != eras.CANCELLED:
            self.unsent.discard(message["id"])

    def caller(self) -> str:
        self.number += 1
        return f"c{self.number}"

    @precondition(lambda self: self.use.takes("tools/call"))
    @rule()
    def call(self) -> None:
        who = self.caller()
        ours, out = self.use.open(who, *request(name="t"), 0.0)
        self.waiting[ours] = who
        self.unsent.add(ours)
        self.calls.add(ours)
        self.take(out)

    @rule()
    def list_tools(self) -> None:
        who = self.caller()
        ours, out = self.use.open(who, *request("tools/list"), 0.0)
        self.waiting[ours] = who
        self.take(out)

    @rule()
    def ask(self) -> None:
        self.number += 1
        self.asked[f"s{self.number}"] = None
        self.take(asks(self.use, f"s{self.number}"))

    @precondition(lambda self: self.waiting or self.parks)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        known = sorted({*self.waiting, *self.parks} - self.unsent)
        if known:
            ours = data.draw(st.sampled_from(known))
            self.take(answers(self.use, ours, str(ours)))
            assert ours not in self.calls or not self.asked, "the next call would be asked this"
            if ours in self.parks:
                self.unsent.add(ours)  # it answers once

    @precondition(lambda self: self.parks)
    @rule(partly=st.booleans())
    def retry(self, *, partly: bool) -> None:
        ours, park = self.parks.popitem()
        who = self.caller()
        self.waiting[ours] = who
        keys = list(park.asks)[1 if partly else 0 :]
        given = {"name": "t", "inputResponses": {key: {} for key in keys}}
        self.take(self.use.resume(who, *request(**given), 0.0, ours=ours, round=park.round))
        with pytest.raises(Reported):
            self.use.resume("x", *request(**given), 0.0, ours=ours, round=park.round)

    @precondition(lambda self: self.waiting or self.parks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ours = data.draw(st.sampled_from(sorted({*self.waiting, *self.parks})))
        who = self.waiting.pop(ours, None)
        self.parks.pop(ours, None)
        if who is not None:
            self.finished.append(who)
        self.take(self.use.cancel(ours))

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert self.use.busy == len(self.waiting)
        assert self.use.parked == len(self.parks) <= 1

    def teardown(self) -> None:
        assert sorted(self.use.server_gone()) == sorted(self.waiting.values())
        assert self.use.idle


Session.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_each_request_gets_one_answer = Session.TestCase
