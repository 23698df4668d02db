"""Unpacks wheels of several Pythons into one folder, which then serves each of them.

Wheels of one distribution differ in nothing but their extension modules, and those have the Python
in their names. This is checked: two files of one name and other bytes are an error.
"""

import os
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from linux_packages.elf import stripped
from linux_packages.recipe import PYTHONS, ROOT, Architecture, BuildError, version

SITE: Final = PurePosixPath("site")
BIN: Final = PurePosixPath("bin")
LICENCES: Final = PurePosixPath("licenses")

_UNUSED: Final = {"pycparser"}  # cffi wants it for compiling, and nothing here compiles
_LEFT_OUT: Final = (".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".typed")
Owned = dict[str, set[str]]
"""Distributions, each with patterns of the paths that it brought."""

_OURS: Final = (".py", ".json", ".typed")
_SUMMARY: Final = "Puts any MCP server on NATS, and takes any MCP server off it."


def assemble(downloads: Path, architecture: Architecture, out: Path) -> Owned:
    """Make the folder that is installed as /usr/lib/mcpnatsd, with one of licences in it.

    Raises:
        BuildError: Two wheels have other bytes under the same name.
    """
    owned: Owned = {}
    for python in PYTHONS:
        for wheel in sorted((downloads / f"{architecture.machine}-{python}").glob("*.whl")):
            if _distribution(wheel) not in _UNUSED:
                owned.setdefault(_distribution(wheel), set()).update(_place(_of_wheel(wheel), out))
    for source in sorted((downloads / "source").glob("*.tar.gz")):
        owned[_distribution(source)] = _place(_of_source(source), out)
    _place(_own(), out)
    return owned


def settle(out: Path, at: datetime) -> None:
    """Take away what tells one build from another: times, and the builder's umask."""
    for path in (out, *out.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (at.timestamp(), at.timestamp()))


def _distribution(archive: Path) -> str:
    return archive.name.partition("-")[0]


def _place(files: Iterator[tuple[PurePosixPath, bytes]], out: Path) -> set[str]:
    """Write files; return patterns of what they are, for who wants to say whose they are."""
    patterns = set()
    for name, given in files:
        content = stripped(given)
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != content:
            raise BuildError(f"two wheels differ in {name}: they cannot share a folder")
        path.write_bytes(content)
        path.chmod(0o755 if name.parts[0] == BIN.name else 0o644)
        patterns.add(_pattern(name))
    return patterns


def _pattern(name: PurePosixPath) -> str:
    folder = name.parents[-3] if len(name.parents) > 2 else None  # noqa: PLR2004 - site/X/...
    if folder is not None:
        return f"{folder}/*"
    stem, _, python = str(name).partition(".cpython-")
    return f"{stem}.*" if python else str(name)


def _of_wheel(wheel: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                yield from _installed(PurePosixPath(name), archive.read(name))


def _installed(name: PurePosixPath, content: bytes) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Say where a file of a wheel goes, as an installer would, and leave out what nobody runs."""
    top, *rest = name.parts
    if top.endswith(".dist-info"):
        yield from _about(top, PurePosixPath(*rest), content)
    elif top.endswith(".data"):
        yield from _data(top, rest, content)
    elif name.suffix not in _LEFT_OUT and not {"test", "tests"} & set(name.parts):
        yield SITE / name, content


def _about(
    folder: str, name: PurePosixPath, content: bytes
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Keep what describes a distribution, and its licences; an installer's own notes go."""
    distribution = folder.partition("-")[0]
    if name.parts[0] in ("licenses", "sboms"):
        yield LICENCES / distribution / PurePosixPath(*name.parts[1:]), content
    elif name == PurePosixPath("METADATA"):
        yield SITE / folder / name, content


def _data(folder: str, rest: list[str], content: bytes) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Put programs into bin/, and tell importlib.metadata where they are."""
    kind, *name = rest
    if kind == "scripts":
        yield BIN.joinpath(*name), content
        about = folder.replace(".data", ".dist-info")
        yield SITE / about / "RECORD", f"../bin/{'/'.join(name)},,\n".encode()
    elif kind in ("purelib", "platlib"):
        yield from _installed(PurePosixPath(*name), content)
    else:
        raise BuildError(f"{folder} has {kind}, and nothing here knows where that goes")


def _of_source(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Take a pure Python package out of its source distribution."""
    stem = archive.name.removesuffix(".tar.gz")
    distribution = _distribution(archive)
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            name = PurePosixPath(member.name).relative_to(stem)
            file = tar.extractfile(member)
            if file is None:
                continue
            if name.parts[0] == distribution:
                yield SITE / name, file.read()
            elif str(name) == "LICENSE":
                yield LICENCES / distribution / name, file.read()
            elif str(name) == "PKG-INFO":
                yield SITE / f"{stem}.dist-info" / "METADATA", file.read()


def _own() -> Iterator[tuple[PurePosixPath, bytes]]:
    """Take our own package as it stands in this tree."""
    for path in sorted((ROOT / "mcpnatsd").rglob("*")):
        if path.suffix in _OURS and path.is_file():
            yield SITE / PurePosixPath(path.relative_to(ROOT)), path.read_bytes()
    about = (
        "Metadata-Version: 2.4\nName: mcpnatsd\n"
        f"Version: {version()}\nSummary: {_SUMMARY}\nLicense-Expression: Apache-2.0\n"
    )
    yield SITE / f"mcpnatsd-{version()}.dist-info" / "METADATA", about.encode()
