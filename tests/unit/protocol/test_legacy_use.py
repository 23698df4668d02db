"""One legacy session in use: each request gets one answer, and nobody is asked for another."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec import Raw

from mcpnatsd.errors import Reported, TooLarge
from mcpnatsd.protocol import eras, jsonrpc, to_legacy
from mcpnatsd.protocol.askers import Askers
from mcpnatsd.protocol.incoming import Asked
from mcpnatsd.protocol.jsonrpc import Request
from mcpnatsd.protocol.legacy_calls import PARKED_FOR
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
from mcpnatsd.protocol.legacy_use import FENCE_FOR, UNASKED_FOR, LegacyUse
from mcpnatsd.protocol.who_asked import HOLD

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LEVEL = "io.modelcontextprotocol/logLevel"
ALL = {"roots": {}, "sampling": {}, "elicitation": {}}
Out = list[Delivery[str]]


def use(
    *,
    asked: bool = True,
    logs: bool = True,
    alone: bool = False,
    askers: Askers | None = None,
) -> LegacyUse[str]:
    declared = to_legacy.declared({CAPABILITIES: Raw(json.dumps(ALL if asked else {}).encode())})
    given = Askers() if askers is None else askers
    return LegacyUse({"logging": Raw(b"{}")}, declared, given, logs=logs, alone=alone)


def request(method: str = "tools/call", **params: Any) -> Asked:
    body = {"jsonrpc": "2.0", "id": "theirs", "method": method, "params": params}
    message = jsonrpc.decode(json.dumps(body).encode())
    assert isinstance(message, Request)
    given = jsonrpc.params_of(message.members)
    return Asked(message, given, params.get("name"), bare=False)


def opened(
    one: LegacyUse[str],
    who: str,
    method: str = "tools/call",
    now: float = 0.0,
    name: str | None = None,
    **params: Any,
) -> tuple[int, Out]:
    return one.open(who, request(method, name=name or who, **params), now)


def takes(one: LegacyUse[str], name: str, method: str = "tools/call") -> bool:
    return one.takes((method, name))


def known(*names: str) -> Askers:
    askers = Askers()
    for name in names:
        askers.learn(("tools/call", name))
    return askers


def resumed(one: LegacyUse[str], who: str, park: Park[str], now: float = 0.0, **more: Any) -> Out:
    given = {"name": park.caller, "inputResponses": {key: {} for key in park.asks}, **more}
    ours, number = park.ours, park.round
    return one.resume(who, request(**given), now, ours=ours, round=number)


def said(one: LegacyUse[str], now: float = 0.0, **body: Any) -> Out:
    return one.receive(jsonrpc.decode(json.dumps({"jsonrpc": "2.0", **body}).encode()), now)


def asks(one: LegacyUse[str], id: object, now: float = 0.0) -> Out:
    return said(one, now, id=id, method="elicitation/create", params={"message": str(id)})


def answers(one: LegacyUse[str], ours: int, text: str = "done") -> Out:
    return said(one, id=ours, result={"text": text})


def lines(out: Out) -> list[Any]:
    return [json.loads(one.line) for one in out if isinstance(one, ToServer)]


def parks(out: Out) -> list[Park[str]]:
    return [one for one in out if isinstance(one, Park)]


def parked(out: Out) -> Park[str]:
    (park,) = parks(out)
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


def test_requests_that_are_not_known_to_ask_run_side_by_side() -> None:
    one = use()
    for who in ("ann", "bob", "eve"):
        assert takes(one, who)
        opened(one, who)
    assert (one.busy, one.parked) == (3, 0)


def test_of_those_that_are_known_to_ask_one_comes_at_a_time() -> None:
    one = use(askers=known("ann", "bob"))
    ours, _ = opened(one, "ann")
    names = [("tools/call", "bob"), ("tools/call", "eve"), ("tools/list", "")]
    assert [one.takes(name) for name in names] == [False, True, True]
    park = parked(asks(one, "s1"))
    assert not takes(one, "bob")
    resumed(one, "ann", park)
    answers(one, ours)
    assert takes(one, "bob")


def test_a_client_that_answers_nothing_needs_no_turns() -> None:
    one = use(asked=False)
    opened(one, "ann")
    assert takes(one, "ann")
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


def test_an_answer_that_comes_meanwhile_is_kept_and_so_is_the_question() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1"))
    assert answers(one, ours) == []

    out = resumed(one, "bob", park)
    assert lines(out) == [{"jsonrpc": "2.0", "id": "s1", "result": {}}]
    assert answered(out) == ("bob", {"resultType": "complete", "text": "done"})
    assert one.idle


def test_what_the_retry_of_such_a_call_leaves_open_is_refused() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    park = parked(asks(one, "s1"))
    answers(one, ours)

    out = resumed(one, "bob", park, inputResponses={})
    assert lines(out)[0]["result"] == {"action": "cancel"}
    assert answered(out)[0] == "bob"


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
    one = use(askers=known("ann"))
    ours, _ = opened(one, "ann")
    asks(one, "s1")

    elicitation, cancelled, ping = lines(one.cancel(ours, 0.0, "enough"))
    assert elicitation["result"] == {"action": "cancel"}
    assert cancelled["params"] == {"requestId": ours, "reason": "enough"}
    assert (takes(one, "ann"), one.fenced) == (False, True)  # until it has read the cancel
    assert takes(one, "bob")
    assert "result" in lines(asks(one, "s2"))[0]
    assert isinstance(said(one, id=ping["id"], result={})[0], Mine)
    assert takes(one, "ann")
    assert isinstance(answers(one, ours)[0], Stray)


def test_a_cancel_counts_as_read_after_a_while() -> None:
    one = use(askers=known("ann"))
    ours, _ = opened(one, "ann")
    one.cancel(ours, 5.0)
    one.expire(5.0 + FENCE_FOR - 0.1)
    assert not takes(one, "ann")
    one.expire(5.0 + FENCE_FOR)

    assert takes(one, "ann")


def test_nobody_waits_for_the_cancel_of_a_call_that_never_asked() -> None:
    one = use(askers=known("eve"))
    ours, _ = opened(one, "ann")

    assert [line["method"] for line in lines(one.cancel(ours, 0.0))] == ["notifications/cancelled"]
    assert takes(one, "eve")


def test_what_only_given_up_calls_can_have_asked_is_refused() -> None:
    one = use()
    both = [opened(one, who)[0] for who in ("ann", "bob")]
    assert asks(one, "s1") == []
    one.cancel(both[0], 0.0)

    assert parks(one.cancel(both[1], 0.0)) == []
    assert parks(opened(one, "eve")[1]) == []


def test_a_call_that_was_never_sent_is_not_cancelled() -> None:
    one = use()
    asks(one, "s1")
    ours, _ = opened(one, "ann")

    assert [line["id"] for line in lines(one.cancel(ours, 0.0))] == ["s1"]
    assert takes(one, "ann")


# Who asked.


def test_the_only_one_that_can_have_asked_is_known_from_then_on() -> None:
    askers = Askers()
    one = use(askers=askers)
    opened(one, "ann")
    opened(one, "list", "tools/list")
    assert parked(asks(one, "s1")).caller == "ann"

    assert askers.surely(("tools/call", "ann"))
    assert (takes(one, "ann"), takes(one, "list")) == (False, True)


def test_a_question_waits_until_all_have_ended_that_did_not_ask_it() -> None:
    askers = Askers()
    one = use(askers=askers)
    ours = [opened(one, who)[0] for who in ("ann", "bob", "eve")]
    assert asks(one, "s1") == []
    assert parks(answers(one, ours[0])) == []

    out = answers(one, ours[2])
    assert answered(out)[0] == "eve"
    assert parked(out).caller == "bob"
    assert [askers.surely(("tools/call", who)) for who in ("ann", "bob", "eve")] == [0, 1, 0]


def test_a_question_waits_only_so_long_then_the_latest_asked_it() -> None:
    askers = Askers()
    one = use(askers=askers)
    for who in ("ann", "bob"):
        opened(one, who)
    asks(one, "s1", now=3.0)
    assert one.expire(3.0 + HOLD - 0.1) == []

    assert parked(one.expire(3.0 + HOLD)).caller == "bob"
    assert [("tools/call", who) in askers for who in ("ann", "bob")] == [True, True]
    assert not askers.surely(("tools/call", "ann"))


def test_a_wrong_guess_loses_nothing() -> None:
    one = use()
    ours = {who: opened(one, who)[0] for who in ("ann", "bob")}
    asks(one, "of ann")
    park = parked(one.expire(HOLD))

    assert answers(one, ours["bob"]) == []
    out = resumed(one, "bob", park)
    assert lines(out) == [{"jsonrpc": "2.0", "id": "of ann", "result": {}}]
    assert answered(out)[0] == "bob"
    assert answered(answers(one, ours["ann"]))[0] == "ann"


def test_after_a_guess_all_who_may_have_asked_take_turns_until_they_are_cleared() -> None:
    askers = Askers()
    one = use(askers=askers)
    ours = {who: opened(one, who)[0] for who in ("ann", "bob")}
    asks(one, "of bob")
    resumed(one, "bob", parked(one.expire(HOLD)))
    for who in ("bob", "ann"):
        answers(one, ours[who])  # it may have been either: this clears nobody
    other = use(askers=askers)
    for who in ("ann", "bob"):
        assert ("tools/call", who) in askers
    answers(one, opened(one, "ann")[0])
    opened(other, "bob")
    assert parked(asks(other, "s1")).caller == "bob"

    assert ("tools/call", "ann") not in askers
    assert askers.surely(("tools/call", "bob"))


@pytest.mark.parametrize("alone", [True, False])
def test_in_the_only_session_nobody_waits_for_a_suspect_that_runs(*, alone: bool) -> None:
    askers = Askers()
    one = use(askers=askers, alone=alone)
    opened(one, "ann")
    askers.suspect([("tools/call", who) for who in ("ann", "bob")])

    assert takes(one, "bob") is alone
    parked(asks(one, "s1"))
    assert not takes(one, "bob")


def test_a_suspect_that_ended_before_its_question_was_answered_is_cleared() -> None:
    askers = Askers()
    one = use(askers=askers)
    ours = {who: opened(one, who)[0] for who in ("ann", "bob")}
    asks(one, "of ann")
    one.expire(HOLD)
    answers(one, ours["bob"])

    assert [("tools/call", who) in askers for who in ("ann", "bob")] == [True, False]


def test_who_is_known_to_ask_asked() -> None:
    one = use(askers=known("bob"))
    for who in ("ann", "bob", "eve"):
        opened(one, who)

    assert parked(asks(one, "s1")).caller == "bob"


def test_as_many_questions_as_calls_are_theirs_in_order() -> None:
    askers = Askers()
    one = use(askers=askers)
    for who in ("ann", "bob", "eve"):
        opened(one, who, name="same")
    assert asks(one, "s1") == asks(one, "s2") == []

    assert [(park.caller, *park.asks) for park in parks(asks(one, "s3"))] == [
        ("ann", "1"), ("bob", "2"), ("eve", "3"),
    ]  # fmt: skip
    assert askers.surely(("tools/call", "same"))
    assert one.parked == 3


def test_a_call_that_came_later_did_not_ask() -> None:
    one = use(askers=known("ann"))
    for who in ("one", "two"):
        opened(one, who)
    asks(one, "s1")
    opened(one, "ann")

    assert parked(one.expire(HOLD)).caller == "two"


def test_several_parked_calls_have_each_their_own_questions() -> None:
    one = use()
    ours = [opened(one, who, name="same")[0] for who in ("ann", "bob")]
    asks(one, "of ann")
    first, second = parks(asks(one, "of bob"))

    out = resumed(one, "bob", second, name="same", inputResponses={"1": {}, "2": {}})
    assert [line["id"] for line in lines(out)] == ["of bob"]
    assert answered(answers(one, ours[1]))[0] == "bob"
    assert one.parked == 1
    cancelled = lines(one.cancel(ours[0], 0.0))
    assert cancelled[0] == {"jsonrpc": "2.0", "id": "of ann", "result": {"action": "cancel"}}
    assert first.asks.keys() == {"1"}


def test_roots_that_are_asked_for_first_tell_nothing_of_a_call() -> None:
    askers = Askers()
    one = use(askers=askers)
    opened(one, "ann")
    park = parked(said(one, id="s1", method="roots/list"))
    assert ("tools/call", "ann") not in askers
    resumed(one, "ann", park)

    assert parks(said(one, id="s2", method="roots/list"))
    assert askers.surely(("tools/call", "ann"))


def test_who_asks_what_was_asked_outside_any_call_is_not_known_to_ask() -> None:
    askers = Askers()
    one = use(askers=askers)
    asks(one, "s1")
    ours, out = opened(one, "ann")
    resumed(one, "ann", parked(out))
    answers(one, ours)

    assert ("tools/call", "ann") not in askers


# Answers that cannot be read.


def test_an_answer_that_is_lost_is_told_to_its_caller_alone() -> None:
    one = use()
    ours, _ = opened(one, "ann")
    opened(one, "bob", "tools/list")

    assert one.lost(ours, TooLarge("too large")) == ["ann"]
    assert takes(one, "ann")
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


NAMES = ("asks", "asks too", "quiet", "quiet too")


class Session(RuleBasedStateMachine):
    """Calls come, ask, are answered, retried and cancelled in every order.

    The server asks only within calls of two of its tools, and ends none of them before its answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.askers = Askers()
        self.use = use(askers=self.askers)
        self.number = 0
        self.now = 0.0
        self.callers: dict[int, str] = {}
        """Whose exchange waits, by our id."""

        self.calls: dict[int, str] = {}
        """The tool of each call that the server runs, by our id."""

        self.asked: dict[str, int] = {}
        """The call that each open question of the server belongs to, by its id."""

        self.exact: set[str] = set()
        """Questions asked when all that ask were known."""

        self.told: dict[str, int] = {}
        """The call whose client was asked each question."""

        self.about: int | None = None
        """The call that is retried or cancelled just now."""

        self.parks: dict[int, Park[str]] = {}
        self.finished: list[str] = []

    @initialize(known=st.booleans())
    def learn(self, *, known: bool) -> None:
        for name in NAMES[:2] if known else ():
            self.askers.learn(("tools/call", name))

    def take(self, out: Out) -> None:
        for one in out:
            match one:
                case Answer(caller=caller, response=response):
                    (ours,) = [key for key, who in self.callers.items() if who == caller]
                    result = json.loads(bytes(response.members["result"]))
                    assert result["text"] == str(ours), "an answer crossed"
                    del self.callers[ours]
                    self.finish(caller)
                case Park(caller=caller, ours=ours, asks=asked):
                    assert self.callers.pop(ours) == caller
                    self.finish(caller)
                    self.parks[ours] = one
                    for wanted in asked.values():
                        question = json.loads(bytes(wanted))["params"]["message"]
                        assert self.asked[question] == ours or question not in self.exact
                        assert self.told.setdefault(question, ours) == ours
                case ToServer(line=line):
                    self.receive(json.loads(line))

    def finish(self, caller: str) -> None:
        assert caller not in self.finished, "answered twice"
        self.finished.append(caller)

    def receive(self, message: dict[str, Any]) -> None:
        """Be the server."""
        if message.get("method") == "ping":
            self.take(said(self.use, self.now, id=message["id"], result={}))
        elif "method" not in message:
            assert message["id"] in self.asked, "an answer to nothing, or a second one"
            assert self.told.get(message["id"]) in (None, self.about), "another call's"
            del self.asked[message["id"]]
            self.exact.discard(message["id"])
        elif message["method"] == eras.CANCELLED:
            ours = message["params"]["requestId"]
            del self.calls[ours]

    def caller(self) -> str:
        self.number += 1
        return f"c{self.number}"

    @rule(name=st.sampled_from(NAMES))
    def call(self, name: str) -> None:
        if not takes(self.use, name):
            return
        who = self.caller()
        ours, out = self.use.open(who, request(name=name), self.now)
        self.callers[ours] = who
        self.calls[ours] = name
        assert not parks(out), "nothing was asked outside a call"
        self.take(out)

    @rule()
    def list_tools(self) -> None:
        who = self.caller()
        ours, out = self.use.open(who, request("tools/list"), self.now)
        self.callers[ours] = who
        self.calls[ours] = "list"
        self.take(out)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        asking = [ours for ours, name in sorted(self.calls.items()) if name in NAMES[:2]]
        if not asking:
            return
        self.ask_of(data.draw(st.sampled_from(asking)))

    @rule(many=st.integers(2, 4), names=st.sampled_from([NAMES[:1], NAMES[:2], NAMES]))
    def burst(self, many: int, names: tuple[str, ...]) -> None:
        for number in range(many):
            self.call(names[number % len(names)])
        for ours in sorted(self.callers):
            if self.calls[ours] in NAMES[:2]:
                self.ask_of(ours)

    def ask_of(self, ours: int) -> None:
        if ours not in self.callers or ours in self.asked.values():
            return
        self.number += 1
        id = f"s{self.number}"
        self.asked[id] = ours
        runs = [one for one in self.callers if self.calls[one] in NAMES[:2]]
        sure = [self.askers.surely(("tools/call", name)) for name in NAMES[:2]]
        if all(sure) and len(runs) == 1:
            self.exact.add(id)
        self.take(asks(self.use, id, self.now))
        assert id not in self.exact or ours in self.parks

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        done = sorted(self.calls.keys() - set(self.asked.values()))
        if done:
            ours = data.draw(st.sampled_from(done))
            del self.calls[ours]
            self.take(said(self.use, self.now, id=ours, result={"text": str(ours)}))

    @precondition(lambda self: self.parks)
    @rule(partly=st.booleans(), data=st.data())
    def retry(self, data: st.DataObject, *, partly: bool) -> None:
        ours = data.draw(st.sampled_from(sorted(self.parks)))
        park = self.parks.pop(ours)
        who = self.caller()
        self.callers[ours] = who
        keys = list(park.asks)[1 if partly else 0 :]
        for other in self.parks.values():
            keys += other.asks  # which are none of its own
        answers: dict[str, Any] = {key: {} for key in keys}
        given: dict[str, Any] = {"name": self.name_of(ours), "inputResponses": answers}
        self.about = ours
        out = self.use.resume(who, request(**given), self.now, ours=ours, round=park.round)
        self.take(out)
        with pytest.raises(Reported):
            self.use.resume("x", request(**given), self.now, ours=ours, round=park.round)

    def name_of(self, ours: int) -> str:
        call = self.use._calls.open[ours]
        assert call.name is not None
        return call.name[1]

    @precondition(lambda self: self.callers or self.parks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ours = data.draw(st.sampled_from(sorted({*self.callers, *self.parks})))
        who = self.callers.pop(ours, None)
        self.parks.pop(ours, None)
        if who is not None:
            self.finish(who)
        self.about = ours
        self.take(self.use.cancel(ours, self.now))
        # The server gives up with the call what it asked within it.
        for id in [id for id, owner in self.asked.items() if owner == ours]:
            del self.asked[id]
            gone = {"requestId": id}
            said(self.use, self.now, method=eras.CANCELLED, params=gone)

    @rule()
    def wait(self) -> None:
        self.now += HOLD
        self.take(self.use.expire(self.now))
        assert self.parks or not self.asked, "nobody is asked"

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert self.use.busy == len(self.callers)
        assert self.use.parked == len(self.parks)
        assert len(self.use._asks) == len(self.asked)

    def teardown(self) -> None:
        assert sorted(self.use.server_gone()) == sorted(self.callers.values())
        assert self.use.idle


Session.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
test_each_request_gets_one_answer = Session.TestCase
