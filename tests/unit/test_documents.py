"""What the documents say, held against the code."""

import json
import os
import re
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mcpnatsd import cli, errors
from mcpnatsd.config import sizes
from mcpnatsd.config.load import load
from mcpnatsd.protocol import headers, subjects
from mcpnatsd.protocol.frames import Frame

ROOT = Path(__file__).parents[2]
WIRE = (ROOT / "mcpnatsd/protocol/WIRE.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "mcpnatsd").rglob("*.md"),
        *ROOT.glob("tests/**/*.md"),
    )
)


def rows(text: str, columns: int) -> list[list[str]]:
    """Return the cells of each table row of that width, without their backticks."""
    found = (line.strip().strip("|").split("|") for line in text.splitlines() if line[:1] == "|")
    return [[cell.strip().strip("`") for cell in row] for row in found if len(row) == columns]


def section(title: str) -> str:
    return WIRE.split(f" {title}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def codes() -> set[int]:
    classes = (value for value in vars(errors).values() if isinstance(value, type))
    return {one.jsonrpc_code for one in classes if issubclass(one, errors.McpnatsdError)}


def header_names() -> set[str]:
    elsewhere = {"WIRE_VERSION", "NO_RESPONDERS"}
    names = {name for name in vars(headers) if name.isupper()} - elsewhere
    return {text for name in names if isinstance(text := getattr(headers, name), str)}


def constant(module: str, name: str) -> Any:
    path = f"mcpnatsd.{module.removesuffix('.py').replace('/', '.')}"
    return getattr(import_module(path), name)


def number(text: str) -> float:
    """Read `15 s`, `128 KiB` or `1024`."""
    amount, _, unit = text.partition(" ")
    if not unit:
        return float(amount)
    read = sizes.parse_seconds if unit == "s" else sizes.parse_bytes
    return read(amount + unit)


@pytest.mark.parametrize("code", sorted(codes()), ids=str)
def test_the_wire_explains_each_code(code: int) -> None:
    assert str(code) in [row[0] for row in rows(section("15. Errors of ours"), 3)]


@pytest.mark.parametrize("name", sorted(header_names()))
def test_the_wire_explains_each_header(name: str) -> None:
    assert any(f"`{name}`" in line.split("|")[1] for line in section("5. Headers").splitlines()[4:]
               if line.startswith("| `"))  # fmt: skip


@pytest.mark.parametrize("frame", list(Frame))
def test_the_wire_explains_each_frame(frame: StrEnum) -> None:
    assert f"\n| `{frame}` |" in section("6. Frames")


def test_the_wire_encodes_as_the_code_does() -> None:
    examples = [row for row in rows(section("Encoding"), 3) if "/" in row[0]]

    assert len(examples) == 10
    for method, name, tail in examples:
        said = "x" * 201 if name == "x` 201 times" else name
        assert subjects.tail(method, said or None) == tail


@pytest.mark.parametrize(
    ("name", "value", "module"),
    [row[:3] for row in rows(section("16. Constants"), 4) if row[2].endswith(".py")],
)
def test_the_wire_gives_each_constant_its_value(name: str, value: str, module: str) -> None:
    own = constant(module, name)

    assert own == (value if isinstance(own, str) else number(value))


def test_the_readme_shows_a_configuration_that_is_valid(tmp_path: Path) -> None:
    examples = blocks(README, "yaml")

    assert examples
    for number_of, text in enumerate(examples):
        path = tmp_path / f"{number_of}.yaml"
        path.write_text(text, encoding="utf-8")
        load(path, os.environ)


def test_the_readme_shows_snippets_of_a_host_that_the_command_line_takes() -> None:
    examples = [json.loads(text) for text in blocks(README, "json")]

    assert examples
    for example in examples:
        for host in example["mcpServers"].values():
            assert host["command"] == "mcpnatsd"
            cli._parser().parse_args(host["args"])


def test_the_readme_names_each_verb_and_no_other() -> None:
    verbs = re.findall(r"^\| `mcpnatsd (\w+)", README, re.MULTILINE)

    assert sorted(verbs) == sorted(cli._VERBS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", text)

    missing = [path for path, _ in links if path and not (ROOT / document.parent / path).exists()]
    assert missing == []


def test_sections_that_are_linked_exist() -> None:
    titles = re.findall(r"^#+ (.*)$", WIRE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    assert set(re.findall(r"\]\(#([^)]*)\)", WIRE)) <= anchors
