"""The house rules a machine can check."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client as NatsClient
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mcpnatsd"
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.stem != "__init__"
)
PURE_ROOMS = ("protocol", "config")
MAX_LINES = 400

# Words with a better name in the glossary of ARCHITECTURE.md.
BANNED = {"topic", "worker", "child", "upstream", "downstream"}
POOR = {"manager", "helper", "helpers", "util", "utils", "misc", "common"}
POOR_STARTS = ("handle_", "process_", "do_")
THEIRS = {*dir(NatsClient), *dir(WebSocketsSansIOProtocol)}  # we override some, as they are named

# Each has a bracket, so that this file is not found itself.
ELSEWHERE = [
    "/wor[k]/(main|shared|steering|[.])",
    "/far[m]/",
    "/roo[t]/[.]pyenv",
    "/tm[p]/(bash_jobs|brief)",
    "registry[.]npmj[s]",
    "pythonhoste[d]",
    "pyp[i][.]org/simple",
    "deb[.]debia[n]",
    "proxy[.]golan[g]",
]


def source(module: Path) -> str:
    return (PACKAGE / module).read_text(encoding="utf-8")


def identifiers(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source(module))):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case _:
                pass


def defined(module: Path) -> Iterator[str]:
    """Yield the names that are ours: an attribute may be somebody else's."""
    for node in ast.walk(ast.parse(source(module))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case _:
                pass


def words(name: str) -> list[str]:
    return [word.lower() for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", name)]


def test_the_code_map_names_every_module_and_no_other() -> None:
    text = source(Path("ARCHITECTURE.md"))

    assert sorted(re.findall(r"^\| `(.+\.py)` \|", text, re.MULTILINE)) == sorted(map(str, MODULES))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_fits_in_one_head(module: Path) -> None:
    assert len(source(module).splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_says_what_it_is(module: Path) -> None:
    said = ast.get_docstring(ast.parse(source(module)))

    assert said
    assert said.splitlines()[0].endswith(".")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_one_word_for_one_thing(module: Path) -> None:
    assert not {word for name in identifiers(module) for word in words(name)} & BANNED


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_name_is_poor(module: Path) -> None:
    assert module.stem not in POOR
    poor = {
        name
        for name in set(defined(module)) - THEIRS
        if POOR.intersection(words(name)) or name.lstrip("_").startswith(POOR_STARTS)
    }
    assert not poor


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module.parts[0] in PURE_ROOMS], ids=str
)
def test_a_pure_module_has_its_test_file(module: Path) -> None:
    assert (ROOT / "tests" / "unit" / module.parent / f"test_{module.name}").is_file()


def test_a_name_has_one_address() -> None:
    """An `__init__.py` that imports would give it a second one.

    Programs of other people import from the Python transport: there the short name is the address.
    """
    filled = [path for path in PACKAGE.rglob("__init__.py") if path.stat().st_size]

    assert filled == [PACKAGE / "transport" / "__init__.py"]


def test_what_the_transport_offers_is_all_that_its_room_names() -> None:
    """Nothing but imports and `__all__`: a definition there would have two addresses."""
    body = ast.parse(source(Path("transport/__init__.py"))).body

    assert ast.get_docstring(ast.Module(body, []))
    kinds = [type(node) for node in body[1:]]
    assert set(kinds[:-1]) == {ast.ImportFrom}
    assert kinds[-1] is ast.Assign


def test_nothing_names_the_machine_it_was_written_on() -> None:
    found = subprocess.run(
        ["git", "grep", "--untracked", "-nIE", "|".join(ELSEWHERE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.stdout, found.stderr) == ("", "")
