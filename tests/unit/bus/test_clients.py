"""Whom each client asked, within bounds."""

from mcpnatsd.bus.clients import MOST, MOST_SERVERS, Clients


def test_who_leaves_is_forgotten_with_its_process() -> None:
    clients = Clients()
    clients.asked("a", "git")
    clients.answered("a", "git", "i1")

    assert clients.holder("a", "git") == "i1"
    assert clients.forget("a") == {"git"}
    assert clients.holder("a", "git") is None
    assert clients.forget("a") == set()


def test_of_many_clients_the_longest_unused_is_forgotten() -> None:
    clients = Clients()
    for number in range(MOST):
        clients.asked(f"c{number}", "git")
        clients.answered(f"c{number}", "git", "i1")
    clients.asked("c0", "time")
    clients.asked("one more", "git")

    assert len(clients.names()) == MOST
    assert clients.holder("c0", "git") == "i1"
    assert clients.holder("c1", "git") is None


def test_a_client_that_asks_for_all_kinds_of_names_costs_a_bound() -> None:
    clients = Clients()
    for number in range(MOST_SERVERS + 5):
        clients.asked("a", f"s{number}")

    assert len(clients.forget("a")) == MOST_SERVERS
