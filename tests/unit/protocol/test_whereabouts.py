"""Which server has a resource."""

import pytest

from mcpnatsd.protocol.whereabouts import MOST_TEMPLATES, MOST_URIS, Whereabouts


def test_a_resource_nobody_listed_is_nowhere() -> None:
    where = Whereabouts()

    assert where.of("a:b") is None
    assert where.of_template("a:{b}") is None
    assert where.guesses("a:b") == []


def test_what_a_server_has_is_found_until_the_server_is_gone() -> None:
    where = Whereabouts()
    where.learn("a:b", "one")
    where.learn("a:c", "two")
    where.learn_template("a:{b}", "one")

    assert (where.of("a:b"), where.of("a:c"), where.of_template("a:{b}")) == ("one", "two", "one")
    where.forget_server("one")
    assert (where.of("a:b"), where.of("a:c"), where.of_template("a:{b}")) == (None, "two", None)


def test_the_longest_unused_resource_is_forgotten_first() -> None:
    where = Whereabouts()
    for number in range(MOST_URIS):
        where.learn(f"a:{number}", "one")
    where.of("a:0")
    where.learn("b:b", "two")

    assert where.of("a:0") == "one"
    assert where.of("a:1") is None


def test_templates_are_bounded_too() -> None:
    where = Whereabouts()
    for number in range(MOST_TEMPLATES + 1):
        where.learn_template(f"a:{number}/{{x}}", "one")

    assert where.of_template("a:0/{x}") is None
    assert where.of_template(f"a:{MOST_TEMPLATES}/{{x}}") == "one"


@pytest.mark.parametrize(
    ("uri", "template", "fits"),
    [
        ("file:///a/b", "file:///{path}", True),
        ("file:///a/b", "file:///{+path}/b", True),
        ("file:///b", "file:///{a}/b", False),
        ("http://x", "file:///{path}", False),
        ("x:1-2-3", "x:{a}-{b}-{c}", True),
        ("x:1-2", "x:{a}-{b}-{c}", False),
        ("x:y", "x:y", True),
        ("x:yz", "x:y", False),
        ("aba", "ab{x}ba", False),
        ("anything", "{x}", True),
        ("x:open", "x:{never closed", True),
        ("x:1}", "x:{a}}", True),
    ],
)
def test_a_template_is_a_guess_at_what_fits_it(uri: str, template: str, *, fits: bool) -> None:
    where = Whereabouts()
    where.learn_template(template, "one")

    assert where.guesses(uri) == (["one"] if fits else [])


def test_a_template_made_to_be_slow_is_not() -> None:
    where = Whereabouts()
    where.learn_template("a" + "{x}a" * 5000 + "b", "one")

    assert where.guesses("a" * 100_000) == []
