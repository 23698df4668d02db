"""Files without symbols, and still whole."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import uvloop.loop as extension

from linux_packages.elf import MAGIC, stripped

EXTENSION = Path(extension.__file__)
CODE = b"code" * 4
NAMES = b"\0.text\0.debug_info\0.shstrtab\0"


def program() -> bytes:
    """Make an ELF file: code that is loaded, then something to debug it with, then the table."""
    loaded = 64 + 56 + len(CODE)
    debug = b"debug" * 50
    names_at = loaded + len(debug)
    table_at = names_at + len(NAMES)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", MAGIC, 3, 62, 1, 0, 64, table_at, 0, 64, 56, 1, 64, 4, 3
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, loaded, loaded, 4096)
    sections = (
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (NAMES.index(b".text"), 1, 6, 120, 120, len(CODE), 0, 0, 4, 0),
        (NAMES.index(b".debug"), 1, 0, 0, loaded, len(debug), 0, 0, 1, 0),
        (NAMES.index(b".shstr"), 3, 0, 0, names_at, len(NAMES), 0, 0, 1, 0),
    )
    rows = b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in sections)
    return head + load + CODE + debug + NAMES + rows


def sections(content: bytes) -> dict[str, bytes]:
    """Read the sections of an ELF file, by name."""
    table_at = struct.unpack_from("<Q", content, 40)[0]
    count, names_number = struct.unpack_from("<HH", content, 60)
    rows = [struct.unpack_from("<IIQQQQIIQQ", content, table_at + 64 * at) for at in range(count)]
    names_at = rows[names_number][4]
    found = {}
    for name, _, _, _, offset, size, *_ in rows:
        end = content.index(b"\0", names_at + name)
        found[content[names_at + name : end].decode()] = content[offset : offset + size]
    return found


def test_what_is_no_elf_file_stays_as_it_is() -> None:
    assert stripped(b"#!/bin/sh\n") == b"#!/bin/sh\n"
    assert stripped(b"") == b""


def test_only_what_is_loaded_is_left() -> None:
    before, after = sections(program()), sections(stripped(program()))

    assert set(before) == {"", ".text", ".debug_info", ".shstrtab"}
    assert set(after) == {"", ".text", ".shstrtab"}
    assert after[".text"] == before[".text"] == CODE


def test_stripping_again_changes_nothing() -> None:
    once = stripped(program())

    assert len(once) < len(program())
    assert stripped(once) == once


def test_an_extension_module_is_imported_and_works_without_its_symbols(tmp_path: Path) -> None:
    module = tmp_path / "uvloop" / EXTENSION.name
    shutil.copytree(EXTENSION.parent, module.parent)
    module.write_bytes(stripped(EXTENSION.read_bytes()))

    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import asyncio, uvloop\n"
        "print(uvloop.loop.__file__, uvloop.run(asyncio.sleep(0, 'works')))"
    )
    argv = [sys.executable, "-I", "-S", "-c", code]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (said.stdout, said.stderr) == (f"{module} works\n", "")
