"""References in a text, and where their values come from."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.config.references import (
    MOST_BYTES,
    BadReference,
    Kind,
    Reference,
    Sources,
    expand,
)


def echo(reference: Reference) -> str:
    return f"<{reference.kind} {reference.name}>"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain $HOME $ {x} }", "plain $HOME $ {x} }"),
        ("${env:X}", "<env X>"),
        ("${file:/a b:c}", "<file /a b:c>"),
        ("${credential:n.creds}", "<credential n.creds>"),
        ("a ${env:X}-${env:Y} b", "a <env X>-<env Y> b"),
        ("$${env:X}", "${env:X}"),
        ("$$${env:X}", "$${env:X}"),
        ("${env:X}$${", "<env X>${"),
        ("mcp.{user}", "mcp.{user}"),
    ],
)
def test_references_are_replaced_and_all_else_stays(text: str, expanded: str) -> None:
    assert expand(text, echo) == (expanded, ())


def test_a_value_that_looks_like_a_reference_is_not_read_again() -> None:
    assert expand("${env:X}", lambda _: "${env:Y}") == ("${env:Y}", ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${X}", "write ${env:X} for the environment variable"),
        ("${1}", "write ${env:NAME}, ${file:/path} or ${credential:name}"),
        ("${}", "write ${env:NAME}"),
        ("${X:-default}", "there are env, file and credential"),
        ("${foo:x}", "there are env, file and credential"),
        ("${ENV:x}", "is of no known kind"),
        ("${credentials:x}", "did you mean ${credential:x}?"),
        ("${env:}", "names nothing; write ${env:NAME}"),
        ("${file:}", "names nothing; write ${file:/path}"),
        ("${env:X", 'without its "}"'),
        ("a ${ b", 'for a literal "${" write "$${"'),
    ],
)
def test_what_only_looks_like_a_reference_is_a_fault_with_a_hint(text: str, fault: str) -> None:
    [found] = expand(text, echo).faults

    assert fault in found


def test_each_reference_that_fails_is_named() -> None:
    faults = expand("${env:A} ${env:B} ${env:A}", Sources({})).faults

    assert [fault.split()[0] for fault in faults] == ["${env:A}", "${env:B}"]


@given(st.text())
def test_any_text_without_a_reference_survives(text: str) -> None:
    assert expand(text.replace("${", "$${"), echo) == (text, ())


def sources(tmp_path: Path) -> Sources:
    return Sources({"X": "hush", "EMPTY": "", "CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_variable_is_looked_up_even_when_it_is_empty(tmp_path: Path) -> None:
    assert sources(tmp_path)(Reference(Kind.ENV, "X")) == "hush"
    assert sources(tmp_path)(Reference(Kind.ENV, "EMPTY")) == ""


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"hush", "hush"),
        (b"hush\n", "hush"),
        (b"hush\r\n", "hush"),
        (b"hush\n\n", "hush\n"),
        (b" hush ", " hush "),
        (b"", ""),
    ],
)
def test_a_file_loses_one_trailing_newline(tmp_path: Path, content: bytes, value: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)

    assert sources(tmp_path)(Reference(Kind.FILE, str(path))) == value
    assert sources(tmp_path)(Reference(Kind.CREDENTIAL, "secret")) == value


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (Reference(Kind.ENV, "NOPE"), "${env:NOPE} is not set; set NOPE in the daemon's"),
        (Reference(Kind.ENV, "a-b"), "is not a name that a variable can have"),
        (Reference(Kind.FILE, "secret"), "write the whole path from /"),
        (Reference(Kind.FILE, "/nope/secret"), "${file:/nope/secret} does not exist; create it"),
        (Reference(Kind.FILE, "/"), "is not a plain file"),
        (Reference(Kind.FILE, "/dev/zero"), "is not a plain file"),
        (Reference(Kind.FILE, "/a\0b"), "its path is not valid"),
        (Reference(Kind.CREDENTIAL, "nope"), "give the unit LoadCredential=nope:/path/of/it"),
        (Reference(Kind.CREDENTIAL, "../secret"), "write a credential's bare name"),
        (Reference(Kind.CREDENTIAL, ".."), "write a credential's bare name"),
    ],
)
def test_what_cannot_be_looked_up_says_what_to_do(
    tmp_path: Path, reference: Reference, fault: str
) -> None:
    with pytest.raises(BadReference) as raised:
        sources(tmp_path)(reference)

    assert fault in str(raised.value)


@pytest.mark.parametrize("name", ["nats", "mcpnatsd_nats", "mcpnatsd.nats"])
def test_a_credential_is_found_however_the_unit_came_by_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("secret\n", encoding="utf-8")
    sources = Sources({"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert sources(Reference(Kind.CREDENTIAL, "nats")) == "secret"


def test_a_credential_without_systemd_says_so() -> None:
    with pytest.raises(BadReference, match=r"needs systemd, .* LoadCredential=nats:"):
        Sources({})(Reference(Kind.CREDENTIAL, "nats"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"hush\xff", "it is not UTF-8 text"), (b"x" * (MOST_BYTES + 1), "is larger than 1 MiB")],
)
def test_a_file_that_is_no_value_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)

    with pytest.raises(BadReference, match=fault) as raised:
        sources(tmp_path)(Reference(Kind.FILE, str(path)))
    assert "hush" not in str(raised.value)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    with pytest.raises(BadReference, match="is not a plain file"):
        sources(tmp_path)(Reference(Kind.FILE, str(path)))
