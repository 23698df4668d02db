"""Drop-ins: one configuration in several files.

Those of `/etc/mcpnatsd.yaml` are `/etc/mcpnatsd/conf.d/*.yaml`: the folder is named as the file is,
without its suffix. Servers and endpoints add up; any other section stands in one of the files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcpnatsd.config.faults import Fault, Place, Written
from mcpnatsd.config.schema import KeyPath
from mcpnatsd.errors import ConfigError

FOLDER: Final = "conf.d"
SUFFIX: Final = ".yaml"

MOST: Final = 10_000
"""Drop-ins of one daemon: more are a mistake."""


class Piece(NamedTuple):
    """One file that keeps the schema."""

    file: str
    root: dict[str, Any]
    written: Written


class _Claim(NamedTuple):
    """Something that only one file may say."""

    what: tuple[str, ...]
    path: KeyPath
    place: Place | None


def folder_of(path: Path) -> Path:
    """Return where the drop-ins of a configuration file are. It need not be there."""
    return path.with_suffix("") / FOLDER


def drop_ins(path: Path) -> list[Path]:
    """Return the drop-ins of a configuration file, by name; what editors leave there is none.

    Raises:
        ConfigError: Their folder cannot be read, or holds what only looks like one.
    """
    folder = folder_of(path)
    try:
        names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{folder} cannot be read: {reason}") from None
    seen = [name for name in names if not name.startswith(".")]
    if wrong := [name for name in seen if name.endswith(".yml")]:
        raise ConfigError(f"{folder / wrong[0]}: the name of a drop-in ends in .yaml; rename it")
    found = [folder / name for name in seen if name.endswith(SUFFIX)]
    if dangling := [one for one in found if one.is_symlink() and not one.exists()]:
        raise ConfigError(f"{dangling[0]} is a link to a file that is not there; remove the link")
    if len(found) > MOST:
        raise ConfigError(f"{folder} holds {len(found)} files; {MOST} are the most")
    return found


def merged(pieces: list[Piece]) -> tuple[dict[str, Any], list[str]]:
    """Put files together; return the whole, and a sentence for each thing that two of them say."""
    tree: dict[str, Any] = {}
    sentences = []
    first: dict[tuple[str, ...], str] = {}
    for piece in pieces:
        for claim in _claims(piece):
            if claim.what in first:
                text = f"stands in {first[claim.what]} already; keep one of the two"
                sentences.append(Fault(text, claim.path, claim.place).sentence(piece.file))
            else:
                first[claim.what] = _where(piece.file, claim.place)
        _add(tree, piece.root)
    return tree, sentences


def _where(file: str, place: Place | None) -> str:
    return f"{file}:{place.line}:{place.column}" if place else file


def _claims(piece: Piece) -> Iterator[_Claim]:
    keys, places = piece.written.keys, piece.written.places
    for key, value in piece.root.items():
        if key == "servers":
            for name in value or ():
                path: KeyPath = (key, name)
                yield _Claim((key, name), path, keys.get(path))
        elif key == "endpoints":
            for index, endpoint in enumerate(value or ()):
                for kind, address in _addresses(endpoint):
                    path = (key, index, kind)
                    yield _Claim((kind, address), path, places.get(path))
        else:
            yield _Claim((key,), (key,), keys.get((key,)))


def _addresses(endpoint: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return where an endpoint is; of free ports there are many."""
    for kind in ("unix", "http"):
        address = str(endpoint.get(kind, ":0"))
        if not address.endswith(":0"):
            yield kind, address


def _add(tree: dict[str, Any], root: dict[str, Any]) -> None:
    for key, value in root.items():
        match value:
            case dict() if key == "servers":
                tree[key] = {**(tree.get(key) or {}), **value}
            case list() if key == "endpoints":
                tree[key] = [*(tree.get(key) or ()), *value]
            case _:
                tree.setdefault(key, value)
