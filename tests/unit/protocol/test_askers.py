"""Who is known to ask, and who is only suspected."""

from mcpnatsd.protocol.askers import MOST, Askers

ANN, BOB = ("tools/call", "ann"), ("tools/call", "bob")


def test_nobody_is_known_at_first() -> None:
    assert ANN not in Askers()
    assert None not in Askers()


def test_a_suspect_is_cleared_and_who_surely_asks_is_not() -> None:
    askers = Askers()
    askers.learn(ANN)
    askers.suspect([ANN, BOB])
    assert (askers.surely(ANN), askers.surely(BOB)) == (True, False)
    assert BOB in askers
    for name in (ANN, BOB):
        askers.clear(name)

    assert ANN in askers
    assert BOB not in askers


def test_a_suspect_that_asks_is_known_for_sure() -> None:
    askers = Askers()
    askers.suspect([ANN])
    askers.learn(ANN)
    askers.clear(ANN)

    assert askers.surely(ANN)


def test_a_tool_and_a_prompt_of_one_name_are_two() -> None:
    askers = Askers()
    askers.learn(ANN)

    assert ("prompts/get", "ann") not in askers


def test_only_so_many_are_remembered_and_the_oldest_go() -> None:
    askers = Askers()
    for number in range(MOST):
        askers.learn(("resources/read", str(number)))
    askers.learn(("resources/read", "0"))  # asked again: as good as new
    askers.learn(ANN)
    askers.suspect([BOB])

    names = [("resources/read", str(number)) for number in range(4)]
    assert [name in askers for name in names] == [True, False, False, True]
    assert ANN in askers


def test_who_ended_without_asking_is_quiet_until_it_asks() -> None:
    askers = Askers()
    assert not askers.quiet(ANN)
    askers.suspect([ANN])
    askers.clear(ANN)
    assert askers.quiet(ANN)
    askers.learn(ANN)
    askers.clear(ANN)

    assert not askers.quiet(ANN)


def test_only_so_many_quiet_ones_are_remembered() -> None:
    askers = Askers()
    askers.clear(ANN)
    for number in range(MOST):
        askers.clear(("resources/read", str(number)))

    assert not askers.quiet(ANN)
    assert askers.quiet(("resources/read", "0"))
