"""The sentences for what the schema refuses, with their places."""

from pathlib import Path

import pytest

from mcpnatsd.config.faults import MOST_QUOTED, Fault, Place, closest, dotted, quoted
from mcpnatsd.config.load import ConfigFaults, load


def only_sentence(folder: Path, content: str) -> str:
    path = folder / "m.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigFaults) as raised:
        load(path, {})
    [sentence] = raised.value.sentences
    return sentence.removeprefix(f"{path}:")


def server(keys: str) -> str:
    return f"servers:\n  a:\n    command: [x]\n    {keys}\n"


SERVER = 'for example a: { command: [npx, -y, "@modelcontextprotocol/server-everything"] }'
FLOATS = "a number, or with a unit: 500ms, 30s, 10m, 2h, 7d"

FILES = {
    "unknown at the top": ("server: {}", '1:1: server: unknown key; did you mean "servers"?'),
    "unknown and like nothing": (
        "hub: {}",
        "1:1: hub: unknown key; allowed here: name, log, nats, servers, endpoints, metrics",
    ),
    "unknown below": (
        server("limits: { line_byte: 1MiB }"),
        '4:15: servers.a.limits.line_byte: unknown key; did you mean "line_bytes"?',
    ),
    "unknown in another case": (
        "Name: x",
        '1:1: Name: unknown key; did you mean "name"?',
    ),
    "a program and a URL": (
        server("url: http://h/mcp"),
        "3:14: servers.a.command: does not go with `url`: it runs here, or it listens there",
    ),
    "neither a program nor a URL": (
        "servers:\n  a: { cwd: /a }",
        (
            '2:6: servers.a: "command" or "url" is missing; '
            "for example command: [npx, -y, some-server]"
        ),
    ),
    "headers for a program": (
        server("headers: { A: b }"),
        "4:14: servers.a.headers: does not go with `command`",
    ),
    "a folder for a URL": (
        "servers:\n  a: { url: 'http://h/mcp', cwd: /a }",
        "2:34: servers.a.cwd: does not go with `url`",
    ),
    "a URL with a password is not repeated": (
        "servers:\n  a: { url: 'http://me:hush@h/mcp' }",
        (
            "2:13: servers.a.url: expected a URL that starts with http:// or https://, with a host "
            "and a port that can be, without a user; a secret goes into `headers`; "
            'for example "http://127.0.0.1:8000/mcp"'
        ),
    ),
    **{
        f"a URL with {what}": (
            f"servers:\n  a: {{ url: 'http://{host}/mcp' }}",
            (
                "2:13: servers.a.url: expected a URL that starts with http:// or https://, with a "
                "host and a port that can be, without a user; a secret goes into `headers`; "
                'for example "http://127.0.0.1:8000/mcp"'
            ),
        )
        for what, host in (
            ("an empty label", "a..b"),
            ("an empty label first", ".a"),
            ("a label of 64 bytes", "a" * 64 + ".example"),
            ("a port that is none", "h:65536"),
        )
    },
    "a header that is two": (
        'servers:\n  a: { url: "http://h/mcp", headers: { A: "b\\nHost: hush" } }',
        (
            "2:43: servers.a.headers.A: expected printable ASCII on one line, without blanks at "
            'its ends; for example "Bearer ${file:/run/secrets/token}"'
        ),
    ),
    "an empty server": ("servers:\n  a:", f"2:5: servers.a: has no value; {SERVER}"),
    "a shell line": (
        "servers: { a: { command: npx -y 'my server' --on on } }",
        (
            "1:26: servers.a.command: expected a list, never a shell line; "
            'write command: [npx, -y, "my server", --on, "on"]'
        ),
    ),
    "a shell line that no shell reads": (
        'servers: { a: { command: "it\'s here" } }',
        (
            "1:26: servers.a.command: expected a list, never a shell line; "
            'write command: ["it\'s", here]'
        ),
    ),
    "an empty command": (
        "servers: { a: { command: [] } }",
        (
            "1:26: servers.a.command: is empty; for example "
            'command: [npx, -y, "@modelcontextprotocol/server-everything"]'
        ),
    ),
    "an argument that is a number": (
        "servers: { a: { command: [x, 0x10] } }",
        '1:30: servers.a.command[1]: expected text, not a number; quote it: "0x10"',
    ),
    "an argument that is a yes": (
        "servers: { a: { command: [x, yes] } }",
        '1:30: servers.a.command[1]: expected text, not true or false; quote it: "yes"',
    ),
    "an argument that is a date": (
        "servers: { a: { command: [x, 2024-01-31] } }",
        '1:30: servers.a.command[1]: expected text, not a date; quote it: "2024-01-31"',
    ),
    "an argument with a NUL": (
        'servers: { a: { command: [x, "\\0"] } }',
        (
            "1:30: servers.a.command[1]: expected text without NUL bytes, "
            'not "\\u0000"; for example -y'
        ),
    ),
    "an environment that is a number": (
        server("env: { PORT: 8080 }"),
        "4:18: servers.a.env.PORT: expected text, not a number; quote it",
    ),
    "an environment that is a yes": (
        server("env: { DEBUG: true }"),
        "4:19: servers.a.env.DEBUG: expected text, not true or false; quote it",
    ),
    "an environment without a value": (
        server("env: { PORT: ~ }"),
        '4:18: servers.a.env.PORT: has no value; for example PORT: "8080"',
    ),
    "an environment's name": (
        server("env: { my-port: '1' }"),
        (
            "4:12: servers.a.env.my-port: this key is no name: "
            "expected a variable's name: letters, digits and _, no digit first"
        ),
    ),
    "an environment as a list": (
        server("env: [PORT=8080]"),
        (
            "4:10: servers.a.env: expected a mapping, not a list; "
            'for example env: { API_TOKEN: "${file:/run/secrets/token}" }'
        ),
    ),
    "a server's name": (
        "servers: { a.b: { command: [x] } }",
        (
            '1:12: servers."a.b": this key is no name: '
            "expected one token of letters, digits, _ and -, at most 64 long"
        ),
    ),
    "a word": (
        server("isolation: share"),
        (
            '4:16: servers.a.isolation: expected one of auto, shared, session, not "share"; '
            'did you mean "shared"?'
        ),
    ),
    "a word that is like none": (
        server("era: 2025"),
        "4:10: servers.a.era: expected one of auto, modern, legacy, not 2025",
    ),
    "a size": (
        server("limits: { line_bytes: 8M }"),
        (
            "4:27: servers.a.limits.line_bytes: expected bytes as a number, "
            'or with a unit: 512KiB, 8MiB, 1MB, not "8M"; for example 8MiB'
        ),
    ),
    "a size too small": (
        server("limits: { line_bytes: 10 }"),
        "4:27: servers.a.limits.line_bytes: expected at least 1KiB, not 10",
    ),
    "a size too large": (
        server("limits: { line_bytes: 2GiB }"),
        '4:27: servers.a.limits.line_bytes: expected at most 1GiB, not "2GiB"',
    ),
    "a size that is a yes": (
        server("limits: { line_bytes: yes }"),
        (
            "4:27: servers.a.limits.line_bytes: expected a whole number or text, not true or "
            "false; for example line_bytes: 8MiB"
        ),
    ),
    "a duration": (
        server("limits: { call_timeout: 1 week }"),
        (
            f'4:29: servers.a.limits.call_timeout: expected seconds as {FLOATS}, not "1 week"; '
            "for example 10m"
        ),
    ),
    "a duration of nothing": (
        server("limits: { call_timeout: 0s }"),
        '4:29: servers.a.limits.call_timeout: expected more than 0s, not "0s"',
    ),
    "a duration below nothing": (
        server("limits: { idle_timeout: -1 }"),
        "4:29: servers.a.limits.idle_timeout: expected at least 0s, not -1",
    ),
    "a count": (
        server("limits: { concurrency: 1.5 }"),
        (
            "4:28: servers.a.limits.concurrency: expected a whole number, not a number; "
            "for example concurrency: 64"
        ),
    ),
    "a count in quotes": (
        server("limits: { concurrency: '5' }"),
        (
            "4:28: servers.a.limits.concurrency: expected a whole number, not text; "
            "for example concurrency: 64"
        ),
    ),
    "a list that is a text": (
        server("tools: { deny: delete_all }"),
        "4:20: servers.a.tools.deny: expected a list, not text; write [delete_all]",
    ),
    "an empty pattern": (
        server("tools: { deny: [''] }"),
        '4:21: servers.a.tools.deny[0]: is empty; for example "read_*"',
    ),
    "a relative path": (
        server("cwd: src"),
        (
            "4:10: servers.a.cwd: expected a whole path that starts with /, "
            'not "src"; for example /srv/files'
        ),
    ),
    "a URL": (
        "nats: { url: 'http://bob:hush@h' }",
        (
            "1:14: nats.url: expected a URL that starts with nats://, tls://, ws:// or wss://; "
            'for example "nats://127.0.0.1:4222"'
        ),
    ),
    "a URL in a list": (
        "nats: { url: [nats://a, b] }",
        (
            "1:25: nats.url[1]: expected a URL that starts with nats://, tls://, ws:// or wss://; "
            'for example "nats://127.0.0.1:4222"'
        ),
    ),
    "no URL at all": (
        "nats: { url: [] }",
        '1:14: nats.url: is empty; for example url: "nats://127.0.0.1:4222"',
    ),
    "embedded without a value": (
        "nats:\n  embedded:\n",
        "2:12: nats.embedded: has no value; for example embedded: {}",
    ),
    "a prefix with a space": (
        "nats: { prefix: 'a b' }",
        (
            "1:17: nats.prefix: expected tokens of letters, digits, _ and - (or {account}, {user}) "
            'with dots between them, not "a b"; for example "mcp.{user}"'
        ),
    ),
    "a prefix with half a placeholder": (
        "nats: { prefix: 'mcp.x{user}' }",
        (
            "1:17: nats.prefix: expected tokens of letters, digits, _ and - (or {account}, {user}) "
            'with dots between them, not "mcp.x{user}"; for example "mcp.{user}"'
        ),
    ),
    "a very long prefix": (
        f"nats: {{ prefix: {'x' * 129} }}",
        f'1:17: nats.prefix: expected a length of at most 128, not "{"x" * 55}...',
    ),
    "a secret that is a number": (
        "nats: { token: 12345 }",
        "1:16: nats.token: expected text, not a number; quote it",
    ),
    "an empty secret": (
        "nats: { token: '' }",
        (
            "1:16: nats.token: expected text that is not empty and has no NUL bytes; "
            'for example "${env:NATS_TOKEN}"'
        ),
    ),
    "a secret that can be guessed": (
        "endpoints: [{ http: '127.0.0.1:1', secret: hush }]",
        (
            "1:44: endpoints[0].secret: expected at least 16 characters that nobody can guess, "
            "such as `openssl rand -hex 32` makes; "
            'for example "${file:/etc/mcpnatsd/http-secret}"'
        ),
    ),
    "a user alone": (
        "nats: { user: bob }",
        (
            '1:9: nats.user: needs "password" beside it; '
            'for example password: "${file:/run/secrets/nats-password}"'
        ),
    ),
    "a password alone": (
        "nats: { password: hush }",
        '1:9: nats.password: needs "user" beside it; for example user: mcpnatsd',
    ),
    "a certificate alone": (
        "nats: { tls: { cert: /c.pem } }",
        '1:16: nats.tls.cert: needs "key" beside it; for example key: /etc/mcpnatsd/key.pem',
    ),
    "a yes in quotes": (
        "nats: { tls: { first: 'yes' } }",
        "1:23: nats.tls.first: expected true or false, not text; for example first: true",
    ),
    "endpoints as a mapping": (
        "endpoints: { unix: /s, server: a }",
        (
            "1:12: endpoints: expected a list, not a mapping; "
            "for example endpoints: [{ unix: /run/mcpnatsd/github.sock, server: github }]"
        ),
    ),
    "an endpoint as text": (
        "endpoints: [/s]",
        (
            "1:13: endpoints[0]: expected a mapping, not text; "
            "for example { unix: /run/mcpnatsd/github.sock, server: github }"
        ),
    ),
    "an endpoint without a server": (
        "endpoints:\n  - unix: /s",
        '2:5: endpoints[0]: "server" is missing; for example server: github',
    ),
    "a mode without quotes": (
        "endpoints:\n  - { unix: /s, server: a, mode: 0660 }",
        ('2:34: endpoints[0].mode: expected text, not a number; quote it, in octal: mode: "0600"'),
    ),
    "a mode that is not octal": (
        "endpoints:\n  - { unix: /s, server: a, mode: '0888' }",
        (
            "2:34: endpoints[0].mode: expected three octal digits in quotes, "
            'not "0888"; for example "0600"'
        ),
    ),
}


@pytest.mark.parametrize(("content", "sentence"), FILES.values(), ids=FILES)
def test_a_fault_is_one_sentence_with_its_place(
    tmp_path: Path, content: str, sentence: str
) -> None:
    assert only_sentence(tmp_path, content) == sentence


def test_a_place_is_left_out_where_there_is_none() -> None:
    assert Fault("is empty").sentence("f") == "f: is empty"
    assert Fault("no", (), Place(1, 2)).sentence("f") == "f:1:2: no"
    assert Fault("no", ("a", 0), Place(1, 2)).sentence("f") == "f:1:2: a[0]: no"


def test_a_path_reads_as_people_write_it() -> None:
    assert dotted(("endpoints", 0, "unix")) == "endpoints[0].unix"
    assert dotted(("servers", "a.b\n", "env")) == 'servers."a.b\\n".env'


def test_a_quoted_value_is_one_short_line() -> None:
    assert quoted("a\nb") == '"a\\nb"'
    assert len(quoted("x" * 1000)) < MOST_QUOTED


def test_only_a_close_word_is_asked_about() -> None:
    assert closest("comand", ["command", "env"]) == 'did you mean "command"?'
    assert closest("xyz", ["command", "env"]) == ""
