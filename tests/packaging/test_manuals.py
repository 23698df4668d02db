"""The man pages, held against what the program takes."""

import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from linux_packages import manuals
from mcpnatsd import cli, errors
from mcpnatsd.config.load import load
from mcpnatsd.config.schema import schema_text

REQUEST = re.compile(r"\.(TH|SH|SS|TP|IP|PP|B|I|BR|IR|br|RS|RE|SY|YS|EX|EE)( .*)?")
AT = datetime(2026, 1, 2, tzinfo=UTC)
SHOWN = {r"\-": "-", r"\(aq": "'", r"\(ga": "`", r"\(ti": "~", r"\(ha": "^", r"\e": "\\"}


def shown(page: str) -> str:
    """Return a page as it is read: without the marks of troff."""
    text = re.sub(r"\\f[BIRP]|\\&", "", manuals.manual(page, AT))
    return re.sub(r"\\-|\\\(..|\\e", lambda found: SHOWN[found[0]], text)


def entries(text: str) -> set[str]:
    """Return what the page has a paragraph of its own for."""
    return set(re.findall(r"^\.TP\n(?:\.[BI]R? )?(.*)$", text, re.MULTILINE))


def keys(node: dict[str, Any], schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield each key of the schema, wherever it stands: its names from the top, with dots."""
    if reference := node.get("$ref"):
        yield from keys(schema["$defs"][reference.rpartition("/")[2]], schema, path)
    for name, below in node.get("properties", {}).items():
        yield ".".join((*path, name))
        yield from keys(below, schema, (*path, name))
    for word in ("additionalProperties", "items"):
        if isinstance(below := node.get(word), dict):
            yield from keys(below, schema, path)


def every_key() -> list[str]:
    schema = json.loads(schema_text())
    return sorted(set(keys(schema, schema, ())))


@pytest.mark.parametrize("verb", sorted(cli._VERBS))
def test_the_page_of_the_program_has_each_verb(verb: str) -> None:
    page = shown("mcpnatsd.8")

    assert verb in entries(page)
    assert f"\n.SY mcpnatsd\n{verb}\n" in page


def test_the_page_of_the_program_has_each_flag() -> None:
    flags = set(re.findall(r'"(--[a-z-]+)"', inspect.getsource(cli)))
    said = " ".join(entries(shown("mcpnatsd.8")))

    assert len(flags) > 12
    assert [flag for flag in sorted(flags - {"--version"}) if flag not in said] == []


def test_the_page_of_the_program_has_each_variable() -> None:
    names = {f"MCPNATSD_{flag[2:].upper().replace('-', '_')}" for flag, _, _ in cli._NATS_FLAGS}
    page = shown("mcpnatsd.8")

    known = {"MCPNATSD_NATS_URL" if name == "MCPNATSD_NATS" else name for name in names}
    assert [name for name in sorted(known) if name not in page] == []


def test_the_page_of_the_program_has_each_exit_code() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    codes = {str(one.exit_code) for one in classes if issubclass(one, errors.McpnatsdError)}

    assert codes - entries(shown("mcpnatsd.8")) == set()


@pytest.mark.parametrize("key", every_key())
def test_the_page_of_the_file_has_each_key(key: str) -> None:
    said = {re.sub(r"\[\]|\.NAME(?=\.)", "", entry) for entry in entries(shown("mcpnatsd.yaml.5"))}

    assert key in said


@pytest.mark.parametrize("page", manuals.PAGES)
def test_no_line_of_a_page_is_taken_for_a_request_that_is_none(page: str) -> None:
    text = manuals.manual(page, AT)

    requests = [line for line in text.splitlines() if line[:1] in (".", "'")]
    odd = [line for line in requests if not REQUEST.fullmatch(line)]
    assert odd == []
    assert "@" not in re.sub(r'"@modelcontext|systemctl|mcpnatsd@', "", text)


def test_troff_shows_text_as_it_is() -> None:
    assert (
        manuals.escaped("a-b 'c' `d` \\e\n.f") == r"a\-b \(aqc\(aq \(gad\(ga \ee" + "\n" + r"\&.f"
    )


def test_the_example_of_the_page_is_a_valid_file(tmp_path: Path) -> None:
    example = shown("mcpnatsd.yaml.5").rsplit(".EX\n", 1)[1].split(".EE", 1)[0]
    example = re.sub(r"\$\{(file|credential):.*\}", "secret", example)
    (tmp_path / "example.yaml").write_text(example, encoding="utf-8")

    config = load(tmp_path / "example.yaml", {})

    assert set(config.servers) == {"files", "existing"}
