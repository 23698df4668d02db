"""Drop-ins: which files count, what they may say together."""

from pathlib import Path

import pytest

from mcpnatsd.config.dropins import drop_ins, folder_of
from mcpnatsd.config.load import ConfigFaults, load, load_all
from mcpnatsd.config.model import UnixEndpoint
from mcpnatsd.errors import ConfigError

SERVER = "servers: {{ {name}: {{ command: [x] }} }}\n"


def written(folder: Path, main: str, **others: str) -> Path:
    """Write a file and drop-ins; `a_yaml` is `a.yaml`."""
    path = folder / "m.yaml"
    path.write_text(main)
    folder_of(path).mkdir(parents=True, exist_ok=True)
    for name, content in others.items():
        (folder_of(path) / name.replace("_yaml", ".yaml")).write_text(content)
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigFaults) as raised:
        load(path, {})
    return raised.value.sentences


def test_the_folder_is_named_as_the_file_without_its_suffix() -> None:
    assert folder_of(Path("/etc/mcpnatsd.yaml")) == Path("/etc/mcpnatsd/conf.d")
    assert folder_of(Path("/etc/mcpnatsd/blue.yaml")) == Path("/etc/mcpnatsd/blue/conf.d")


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert drop_ins(tmp_path / "m.yaml") == []


def test_what_editors_and_packages_leave_there_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, "", a_yaml="", b_yaml="")
    for name in (".hidden.yaml", "..data", "c.yaml~", "c.yaml.dpkg-dist", "README"):
        (folder_of(path) / name).touch()

    assert [one.name for one in drop_ins(path)] == ["a.yaml", "b.yaml"]


def test_a_file_that_only_looks_like_one_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, SERVER.format(name="a"))
    (folder_of(path) / "b.yml").touch()

    with pytest.raises(ConfigError, match=r"b\.yml: the name of a drop-in ends in \.yaml"):
        drop_ins(path)
    assert "rename it" in faults(path)[0]


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, SERVER.format(name="a"))
    (folder_of(path) / "b.yaml").symlink_to(tmp_path / "gone")

    (fault,) = faults(path)

    assert fault.endswith("b.yaml is a link to a file that is not there; remove the link")


def test_servers_and_endpoints_add_up_and_a_section_may_stand_in_any_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        SERVER.format(name="a") + "endpoints: [{ unix: /a, server: a }]\n",
        b_yaml=SERVER.format(name="b") + "endpoints: [{ unix: /b, server: b }]\n",
        c_yaml="nats: { url: 'nats://h' }\nname: blue\n",
    )
    loaded = load_all(path, {})

    assert list(loaded.config.servers) == ["a", "b"]
    assert loaded.config.endpoints == (
        UnixEndpoint(path="/a", server="a"),
        UnixEndpoint(path="/b", server="b"),
    )
    assert loaded.config.name == "blue"
    assert loaded.config.nats.urls == ("nats://h",)
    assert loaded.files == (path, *drop_ins(path))


def test_a_drop_in_may_be_all_comments_and_the_file_too_when_there_are_drop_ins(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "# see conf.d\n", a_yaml="# nothing yet\n", b_yaml="log:\n")

    assert load(path, {}).servers == {}
    for one in drop_ins(path):
        one.unlink()
    assert "is empty" in faults(path)[0]


@pytest.mark.parametrize(
    ("said", "place"),
    [
        (SERVER.format(name="a"), "1:12: servers.a"),
        ("name: blue", "1:1: name"),
        ("nats:\n  url: nats://h\n", "1:1: nats"),
        ("endpoints:\n- { unix: /a, server: a }\n", "2:11: endpoints[0].unix"),
        ("endpoints:\n- http: 127.0.0.1:8085\n", "2:9: endpoints[0].http"),
    ],
)
def test_what_two_files_say_is_an_error_that_names_both(
    tmp_path: Path, said: str, place: str
) -> None:
    path = written(tmp_path, "log: {}\n", a_yaml=said, b_yaml=said)
    first, second = drop_ins(path)
    where = place.rpartition(": ")[0]

    assert faults(path) == (
        f"{second}:{place}: stands in {first}:{where} already; keep one of the two",
    )


def test_free_ports_may_be_asked_for_by_any_file(tmp_path: Path) -> None:
    any_port = "endpoints: [{ http: '127.0.0.1:0' }]\n"

    assert len(load(written(tmp_path, any_port, a_yaml=any_port), {}).endpoints) == 2


def test_what_is_wrong_in_each_file_is_said_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "nam: x\n", a_yaml="servers: { a: {} }\n", b_yaml="\t- x\n")
    first, second = drop_ins(path)
    found = faults(path)

    assert found[0].startswith(f"{path}:1:1: nam: unknown key")
    assert found[1].startswith(f"{first}:1:15: servers.a: ")
    assert found[2].startswith(f"{second}:1:1: a tab")


def test_what_references_looked_for_is_known_also_when_it_was_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    path = written(tmp_path, f"nats: {{ token: '${{file:{secret}}}' }}\n")

    with pytest.raises(ConfigFaults) as raised:
        load(path, {})
    assert raised.value.referenced == {secret}
    secret.write_text("hush")
    assert load_all(path, {}).referenced == {secret}
