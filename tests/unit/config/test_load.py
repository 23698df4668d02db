"""Reading a file: what becomes of a good one, and each sentence that a bad one earns."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.config.load import ConfigFaults, load
from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    EraChoice,
    Isolation,
    Limits,
    NatsConfig,
    ServerConfig,
    Start,
    TlsConfig,
    ToolFilter,
    UnixEndpoint,
)
from mcpnatsd.errors import ConfigError

EVERYTHING = """\
name: build-1
nats:
  url: [nats://a:4222, "tls://b:4222"]
  prefix: mcp.{account}.{user}
  credentials: ${credential:nats}
  nkey: /etc/nkey
  token: ${env:TOKEN}
  user: bob
  password: p$${x
  tls: { ca: /ca.pem, cert: /cert.pem, key: /key.pem, first: true }
  inbox_prefix: _INBOX_bob
servers:
  files:
    command: [npx, -y, server, "${env:TOKEN}/${env:TOKEN}"]
    env: { PORT: "8080", NO: "yes" }
    cwd: /srv
    isolation: session
    era: legacy
    start: eager
    limits: { line_bytes: 1MiB, output_line_bytes: 2048, start_timeout: 1.5, call_timeout: 1h,
              idle_timeout: 0, stop_timeout: 500ms, concurrency: 1 }
    tools: { allow: [a, "b*"], deny: [c] }
  123: { command: [x] }
endpoints:
  - { unix: /run/a.sock, server: files, mode: "660" }
"""


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "m.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def loaded(folder: Path, content: str | bytes, **environ: str) -> Config:
    return load(written(folder, content), environ)


def sentences(folder: Path, content: str | bytes, **environ: str) -> list[str]:
    """Return what is wrong with a file, without its name."""
    path = written(folder, content)
    with pytest.raises(ConfigFaults) as raised:
        load(path, environ)
    assert str(raised.value) == "\n".join(raised.value.sentences)
    return [sentence.removeprefix(f"{path}:") for sentence in raised.value.sentences]


def test_every_key_arrives(tmp_path: Path) -> None:
    (tmp_path / "nats").write_text("creds\n", encoding="utf-8")
    nats = NatsConfig(
        urls=("nats://a:4222", "tls://b:4222"),
        prefix="mcp.{account}.{user}",
        credentials="creds",
        nkey="/etc/nkey",
        token="hush",
        user="bob",
        password="p${x",
        tls=TlsConfig(ca="/ca.pem", cert="/cert.pem", key="/key.pem", first=True),
        inbox_prefix="_INBOX_bob",
    )
    files = ServerConfig(
        name="files",
        command=("npx", "-y", "server", "hush/hush"),
        env={"PORT": "8080", "NO": "yes"},
        cwd="/srv",
        isolation=Isolation.SESSION,
        era=EraChoice.LEGACY,
        start=Start.EAGER,
        limits=Limits(
            line_bytes=1024 * 1024,
            output_line_bytes=2048,
            start_timeout=1.5,
            call_timeout=3600.0,
            idle_timeout=0.0,
            stop_timeout=0.5,
            concurrency=1,
        ),
        tools=ToolFilter(allow=("a", "b*"), deny=("c",)),
    )

    assert loaded(
        tmp_path, EVERYTHING, TOKEN="hush", CREDENTIALS_DIRECTORY=str(tmp_path)
    ) == Config(
        name="build-1",
        nats=nats,
        servers={"files": files, "123": ServerConfig(name="123", command=("x",))},
        endpoints=(UnixEndpoint(path="/run/a.sock", server="files", mode=0o660),),
    )


@pytest.mark.parametrize(
    "content",
    [
        "servers:",
        "servers: {}\nendpoints: []\n",
        "nats:\nservers:\nendpoints:\n",
        "name: mcpnatsd",
        "\ufeffname: mcpnatsd",
        "---\nservers:\n...\n",
        "servers:\r\nendpoints:\r\n",
    ],
)
def test_a_daemon_may_have_nothing_to_do(tmp_path: Path, content: str) -> None:
    assert loaded(tmp_path, content) == Config()


def test_a_section_with_all_its_keys_commented_out_is_as_if_absent(tmp_path: Path) -> None:
    content = "servers:\n  a:\n    command: [x]\n    env:\n    limits:\n    tools:\n"

    assert loaded(tmp_path, content).servers["a"] == ServerConfig(name="a", command=("x",))


def test_numbers_have_the_types_of_the_model(tmp_path: Path) -> None:
    content = "servers: { a: { command: [x], limits: { call_timeout: 5, concurrency: 2.0 } } }"
    limits = loaded(tmp_path, content).servers["a"].limits

    assert isinstance(limits.call_timeout, float)
    assert isinstance(limits.concurrency, int)


def test_embedded_is_used_where_there_is_no_url(tmp_path: Path) -> None:
    assert loaded(tmp_path, "nats: { embedded: {} }").nats.embedded == EmbeddedConfig()
    assert loaded(tmp_path, "nats: { embedded: { port: 1, store: /s } }").nats.embedded == (
        EmbeddedConfig(port=1, store="/s")
    )


def test_a_nats_elsewhere_and_one_of_our_own_exclude_each_other(tmp_path: Path) -> None:
    assert sentences(tmp_path, "nats: { url: wss://h, embedded: {} }") == [
        "1:33: nats.embedded: does not go with `url`: NATS is there, or it runs here"
    ]


def test_a_size_may_come_from_a_reference(tmp_path: Path) -> None:
    content = 'servers: { a: { command: [x], limits: { line_bytes: "${env:N}MiB" } } }'

    assert loaded(tmp_path, content, N="2").servers["a"].limits.line_bytes == 2 * 1024 * 1024


def test_servers_may_share_keys_by_an_anchor(tmp_path: Path) -> None:
    content = """\
servers:
  a: &a { command: [x], start: eager, cwd: /a }
  b: { <<: *a, cwd: /b }
  c: &c { <<: [*a, { era: modern, cwd: /c }] }
  d: { <<: *c, start: lazy }
"""
    servers = loaded(tmp_path, content).servers

    assert servers["b"] == ServerConfig(name="b", command=("x",), start=Start.EAGER, cwd="/b")
    assert servers["c"].cwd == "/a"
    assert servers["c"].era is EraChoice.MODERN
    assert servers["d"] == ServerConfig(name="d", command=("x",), cwd="/a", era=EraChoice.MODERN)


def test_a_fault_is_a_config_error_and_names_file_line_column_and_key(tmp_path: Path) -> None:
    path = written(tmp_path, "servers:\n  files:\n    command: [a]\n    comand: [a]\n")

    with pytest.raises(ConfigError) as raised:
        load(path, {})

    assert str(raised.value) == (
        f'{path}:4:5: servers.files.comand: unknown key; did you mean "command"?'
    )


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = """\
nam: x
nats: { user: bob, token: "${env:NOPE}" }
servers:
  a: { command: x, start: later }
  a: { command: [y] }
endpoints:
  - { unix: /s, server: a }
  - { unix: /s, server: b }
"""
    places = [":".join(found.split(": ")[:2]) for found in sentences(tmp_path, content)]

    assert places == [
        "1:1:nam",
        "2:9:nats.user",
        "2:27:nats.token",
        "4:17:servers.a.command",
        "4:27:servers.a.start",
        "5:3:servers.a",
        "8:13:endpoints[1].unix",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", " is empty; for example: servers:"),
        ("# nothing\n", " is empty; for example: servers:"),
        ("---\n", " is empty; for example: servers:"),
        ("~", " is empty; for example: servers:"),
        ("- a\n", "1:1: expected keys at the top, such as servers"),
        ("just text", "1:1: expected keys at the top, such as servers"),
        (b"name: a\n# \xc3\xa9\xff\n", "2:4: not UTF-8 text; save the file as UTF-8"),
        ("name: a\n# \x01\n", "2:3: U+0001 cannot stand in YAML; remove it"),
        ("name:\n\tx: 1\n", "2:1: a tab; YAML wants spaces to indent with"),
        ("a: [1\nb: 2\n", "2:2: not YAML: "),
        ("name: a: b\n", "1:8: not YAML: "),
        ("name: 'a\n", "2:1: not YAML: "),
        ("name: *a\n", "1:7: not YAML: found undefined alias"),
        ("nats: { token: ${env:X} }\n", "1:17: not YAML: "),
        ("name: a\n---\nname: b\n", '2:1: a second document; remove the "---"'),
        ("a: " + "[" * 100_000 + "]" * 100_000, "1:35: nested too deep"),
        ("- " * 100_000, "1:65: nested too deep"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_a_file_without_a_tree_earns_one_sentence(
    tmp_path: Path, content: str | bytes, sentence: str
) -> None:
    [found] = sentences(tmp_path, content)

    assert found.startswith(sentence)


def test_an_unquoted_reference_in_braces_earns_a_hint(tmp_path: Path) -> None:
    [found] = sentences(tmp_path, "nats: { token: ${env:X} }\n")

    assert found.endswith("inside { } and [ ], quote a text with ${...}")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: a\nname: b", "2:1: name: written twice; the first is at line 1, column 1"),
        (
            "servers: { a: &x { command: [*x] } }",
            "1:15: servers.a.command[0]: holds an alias of itself; remove it",
        ),
        ("servers: !foo {}", "1:10: servers: a YAML tag does not belong here; remove it"),
        ("name: !foo x", "1:7: name: cannot be read as what it looks like; quote it"),
        ("name: 2024-13-45", "1:7: name: cannot be read as what it looks like; quote it"),
        ("? [a]\n: b", "1:3: a key is a word, not a list or a mapping"),
        ("nats: { <<: 1 }", '1:13: nats: "<<" wants the alias of a mapping'),
        ("nats: &a { <<: *a }", '1:7: nats: "<<" wants the alias of a mapping elsewhere'),
        ("nats: &a { tls: { <<: *a } }", '1:7: nats.tls: "<<" wants the alias of a mapping'),
        ("nats: { prefix: .inf }", "1:17: nats.prefix: expected a finite number"),
        (
            "nats: { token: '${env:X} ${file:/no/such}' }",
            "1:16: nats.token: ${env:X} is not set; set X in the daemon's environment",
        ),
        (
            "nats: { token: '${credential:t}' }",
            "1:16: nats.token: ${credential:t} needs systemd",
        ),
        ("nats: { token: '${X}' }", "1:16: nats.token: ${X} does not say where to look"),
    ],
)
def test_a_value_that_cannot_be_known_earns_a_sentence(
    tmp_path: Path, content: str, sentence: str
) -> None:
    assert sentences(tmp_path, content)[0].startswith(sentence)


def test_aliases_can_nest_too_deep_as_well(tmp_path: Path) -> None:
    """Each line is flat; what it stands for is not."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 40))]

    assert any("nested too deep" in found for found in sentences(tmp_path, "\n".join(lines)))


def test_each_reference_of_a_text_earns_its_own_sentence(tmp_path: Path) -> None:
    assert len(sentences(tmp_path, "nats: { token: '${env:X} ${file:/no/such}' }")) == 2


def test_nothing_more_is_said_of_a_value_that_cannot_be_known(tmp_path: Path) -> None:
    assert len(sentences(tmp_path, "nats: { prefix: '${env:X}' }")) == 1


def test_what_a_reference_stands_for_is_never_told(tmp_path: Path) -> None:
    """Each place here refuses the value."""
    content = """\
name: ${env:S}
nats: { url: "${env:S}", prefix: "${env:S}", tls: { ca: "${env:S}", first: "${env:S}" } }
servers:
  a:
    command: ${env:S}
    env: ${env:S}
    start: ${env:S}
    limits: { line_bytes: "${env:S}", call_timeout: "${env:S}", concurrency: "${env:S}" }
    tools: { allow: "${env:S}" }
endpoints:
  - { unix: "${env:S}", server: "${env:S}", mode: "${env:S}" }
  - ${env:S}
"""
    found = sentences(tmp_path, content, S="hush hush")

    assert len(found) == 16
    assert "hush" not in "\n".join(found)
    assert found[0].startswith(
        "1:7: name: expected one token of letters, digits, _ and -, at most 64 long, "
        'not "${env:S}" (with its references replaced)'
    )


def test_a_name_with_a_newline_at_its_end_is_not_a_name(tmp_path: Path) -> None:
    """It would be a token of a subject; Python's `$` lets it through."""
    assert len(sentences(tmp_path, '"name": "a\\n"')) == 1
    assert len(sentences(tmp_path, 'servers: { "a\\n": { command: [x] } }')) == 1
    assert len(sentences(tmp_path, 'nats: { prefix: "a\\n" }')) == 1


KEYS = sorted(set(re.findall(r"[a-z_]+(?=:)", EVERYTHING)) | {"unix", "embedded", "port", "x y"})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["auto", "8MiB", "${env:X}", "${", "/run/a", "nats://h", "0600", "lazy"]),
)
TREES = st.recursive(
    SCALARS,
    lambda values: st.one_of(
        st.lists(values, max_size=4), st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
    ),
)


def outcome(path: Path) -> Config | list[str]:
    try:
        return load(path, {"X": "hush"})
    except ConfigFaults as faults:
        return list(faults.sentences)


@given(st.dictionaries(st.sampled_from(KEYS), TREES, min_size=1))
def test_any_tree_is_either_a_configuration_or_full_of_faults(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    path = written(tmp_path_factory.getbasetemp(), json.dumps(tree))

    match outcome(path):
        case Config():
            pass
        case [*found]:
            assert found
            assert all(sentence.startswith(f"{path}:1:") for sentence in found)


@given(st.text())
def test_any_text_is_either_a_configuration_or_full_of_faults(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = written(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"))

    with contextlib.suppress(ConfigFaults):
        assert isinstance(load(path, {}), Config)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nope.yaml"

    with pytest.raises(ConfigFaults) as raised:
        load(path, {})
    assert str(raised.value) == f"{path}: there is no such file; name yours with --config"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults) as raised:
        load(tmp_path, {})
    assert str(raised.value) == f"{tmp_path}: this is a folder; name the file in it"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """A loop of links fails for every user; permissions do not stop root."""
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)

    with pytest.raises(ConfigFaults, match="cannot be read: too many levels"):
        load(path, {})


@pytest.mark.parametrize("key", ["nkey", "credentials"])
def test_a_secret_that_is_none_of_ours_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "s").write_text("-----BEGIN USER NKEY SEED-----\nSECRET\n")

    (said,) = sentences(tmp_path, f"nats: {{ {key}: '${{file:{tmp_path}/s}}' }}")

    assert f"nats.{key}: is neither" in said
    assert "SECRET" not in said
