"""States of parked calls: only who sealed one opens it, and only for whom it was sealed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.errors import Reported
from mcpnatsd.protocol import parked
from mcpnatsd.protocol.parked import Seal, Ticket

SEAL = Seal("0123456789abcdef", b"k" * 32)
TICKET = Ticket(parked.digest("alice", "e" * 32), "1f", 7, 2, 600.0)
STATE = SEAL.close(TICKET)


def refused(state: str, user: str = "alice", edge: str = "e" * 32, now: float = 0.0) -> str:
    with pytest.raises(Reported) as raised:
        SEAL.open(state, user, edge, now)
    assert raised.value.jsonrpc_code == -32602
    return str(raised.value)


@given(st.integers(0, len(STATE) - 1), st.characters())
def test_a_changed_state_is_refused(at: int, character: str) -> None:
    changed = STATE[:at] + character + STATE[at + 1 :]
    if changed != STATE:
        assert "not sealed here" in refused(changed)


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    assert "not sealed here" in refused(text)


def test_another_key_seals_something_else() -> None:
    other = Seal(SEAL.instance, b"l" * 32)

    assert "not sealed here" in refused(other.close(TICKET))


@pytest.mark.parametrize(("user", "edge"), [("bob", "e" * 32), ("alice", "f" * 32), ("", "")])
def test_another_client_may_not_open_it(user: str, edge: str) -> None:
    assert "another client" in refused(STATE, user, edge)


def test_it_is_good_until_its_time() -> None:
    assert SEAL.open(STATE, "alice", "e" * 32, 599.9) == TICKET
    assert "expired" in refused(STATE, now=600.0)


def test_what_a_refusal_says_is_nothing_of_its_content() -> None:
    for text in (refused(STATE, "bob"), refused(STATE, now=600.0), refused(f"{STATE}x")):
        assert "1f" not in text
        assert "alice" not in text


def test_who_reads_a_state_learns_nothing_of_its_client() -> None:
    content = base64.urlsafe_b64decode(STATE.split(".")[3] + "==")

    assert b"1f" in content
    assert b"alice" not in content
    assert b"eeee" not in content


def test_two_clients_are_never_the_same() -> None:
    assert parked.digest("a", "bc") != parked.digest("ab", "c")


def test_anybody_can_read_who_holds_it() -> None:
    assert parked.is_ours(STATE)
    assert parked.holder_of(STATE) == "0123456789abcdef"


@pytest.mark.parametrize(
    "state",
    ["mcpnatsd.1.", "mcpnatsd.1.*.x.y", "mcpnatsd.1.a b.x.y", "mcpnatsd.1.a.b.c.d",
     f"mcpnatsd.1.a.{'x' * parked.LONGEST}.y"],
)  # fmt: skip
def test_what_names_no_instance_is_refused(state: str) -> None:
    assert parked.is_ours(state)
    with pytest.raises(Reported):
        parked.holder_of(state)


def test_a_servers_own_state_is_not_ours() -> None:
    assert not parked.is_ours("eyJhbGciOi")
