"""Takes symbols and debug sections out of an ELF file, of any architecture.

Those are the sections that are never loaded, and they stand behind all that are. So cutting them
off moves nothing, and the result depends on no version of anybody's strip.
"""

import struct
from dataclasses import dataclass, replace
from typing import Final

MAGIC: Final = b"\x7fELF\x02\x01"  # 64 bits, little-endian

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_ALLOCATED: Final = 2
_LINKED: Final = 0x40  # SHF_INFO_LINK: `info` is the number of a section
_STRINGS: Final = 3
_NO_BITS: Final = 8
_RELOCATIONS: Final = (4, 9)


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


def stripped(content: bytes) -> bytes:
    """Return the file without what is not loaded; one that is no such ELF file stays as it is."""
    if not content.startswith(MAGIC):
        return content
    header = list(_HEADER.unpack_from(content))
    sections = [
        _Section(*_SECTION.unpack_from(content, header[6] + at * _SECTION.size))
        for at in range(header[12])
    ]
    kept = [at for at, one in enumerate(sections) if at == 0 or one.flags & _ALLOCATED]
    body = content[: _loaded_bytes(content, header, sections)]
    names = sections[header[13]]
    table = _Names(content[names.offset : names.offset + names.size])
    numbers = {old: new for new, old in enumerate(kept)}
    moved = [_moved(sections[at], numbers, table) for at in kept]
    strings = _Section(table.add(".shstrtab"), _STRINGS, 0, 0, len(body), 0, 0, 0, 1, 0)
    moved.append(replace(strings, size=len(table.text)))
    tail = bytes(table.text)
    tail += bytes(-(len(body) + len(tail)) % 8)
    header[6], header[12], header[13] = len(body) + len(tail), len(moved), len(moved) - 1
    rows = b"".join(_SECTION.pack(*_fields(one)) for one in moved)
    return _HEADER.pack(*header) + (body + tail)[_HEADER.size :] + rows


class _Names:
    """The table of section names: the old one is read, the new one written."""

    def __init__(self, old: bytes) -> None:
        self.text = bytearray(b"\0")
        self._old = old

    def move(self, at: int) -> int:
        return self.add(self._old[at : self._old.index(b"\0", at)].decode()) if at else 0

    def add(self, name: str) -> int:
        at = len(self.text)
        self.text += name.encode() + b"\0"
        return at


def _loaded_bytes(content: bytes, header: list[int], sections: list[_Section]) -> int:
    """Return where the last byte is that somebody loads: everything behind it goes."""
    ends = [_HEADER.size, header[5] + header[10] * _PROGRAM.size]
    for at in range(header[10]):
        fields = _PROGRAM.unpack_from(content, header[5] + at * _PROGRAM.size)
        ends.append(fields[2] + fields[5])
    ends += [
        one.offset + one.size for one in sections if one.flags & _ALLOCATED and one.kind != _NO_BITS
    ]
    return max(ends)


def _moved(section: _Section, numbers: dict[int, int], names: _Names) -> _Section:
    info = section.info
    if section.kind in _RELOCATIONS or section.flags & _LINKED:
        info = numbers.get(info, 0)
    return replace(
        section, name=names.move(section.name), link=numbers.get(section.link, 0), info=info
    )


def _fields(section: _Section) -> tuple[int, ...]:
    return tuple(getattr(section, name) for name in _Section.__slots__)
