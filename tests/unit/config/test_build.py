"""From a tree that keeps the schema to values, and what no schema can say."""

import pytest

from mcpnatsd.config.build import MOST_SOCKET_BYTES, build, late_faults
from mcpnatsd.config.model import Config


def endpoint(path: str) -> dict[str, str]:
    return {"unix": path, "server": "a"}


def test_an_empty_tree_is_the_default_configuration() -> None:
    assert build({}) == Config()


def test_a_right_tree_has_no_late_faults() -> None:
    tree = {
        "servers": {"a": {"command": ["x", ""]}},
        "endpoints": [endpoint("/a"), endpoint("/b")],
    }

    assert list(late_faults(tree)) == []


def test_a_program_needs_a_name() -> None:
    [(path, text)] = late_faults({"servers": {"a": {"command": ["", "x"]}}})

    assert path == ("servers", "a", "command", 0)
    assert text == "the program's name is empty"


def test_a_socket_serves_one_server() -> None:
    tree = {"endpoints": [endpoint("/a"), endpoint("/b"), endpoint("/a"), endpoint("/a")]}
    faults = list(late_faults(tree))

    assert [path for path, _ in faults] == [("endpoints", 2, "unix"), ("endpoints", 3, "unix")]
    assert all("endpoints[0] has this path already" in text for _, text in faults)


def test_a_socket_path_has_the_bytes_that_the_system_has_room_for() -> None:
    longest = "/" + "x" * (MOST_SOCKET_BYTES - 1)

    assert list(late_faults({"endpoints": [endpoint(longest)]})) == []
    [(_, text)] = late_faults({"endpoints": [endpoint(longest[:-1] + "é")]})
    assert "at most 107 bytes" in text


@pytest.mark.parametrize(
    "tree",
    [None, [], {"servers": None, "endpoints": None}, {"servers": [1], "endpoints": {"unix": "/a"}},
     {"servers": {"a": None, "b": {"command": "x"}}, "endpoints": [None, {"unix": 1}]}],
)  # fmt: skip
def test_a_tree_that_breaks_the_schema_is_left_to_the_schema(tree: object) -> None:
    assert list(late_faults(tree)) == []
