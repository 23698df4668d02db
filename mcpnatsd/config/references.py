"""References in a configuration's text: `${env:X}`, `${file:/path}`, `${credential:name}`.

`expand` is the grammar and reads nothing; `Sources` is where the values come from. What a
reference stands for may be a secret, so no sentence made here ever holds a value.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from mcpnatsd.errors import ConfigError

MOST_BYTES: Final = 1024 * 1024
"""Of a referenced file: more is a mistake, and /dev/zero has no end."""

_MARK = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"(?!\.{1,2}$)[^/\0]+")

NO_CREDENTIALS: Final = "needs systemd, which sets CREDENTIALS_DIRECTORY"
"""Said of a credential where nobody handed any over."""


class BadReference(ConfigError):
    """A reference that cannot be replaced; the text says why, and what to do."""


class Kind(StrEnum):
    """Where a reference points."""

    ENV = "env"
    FILE = "file"
    CREDENTIAL = "credential"


class Reference(NamedTuple):
    """One `${kind:name}`."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


Lookup = Callable[[Reference], str]
"""Returns what a reference stands for, or raises BadReference."""


class Expanded(NamedTuple):
    """A text with its references replaced, and a sentence for each that could not be."""

    text: str
    faults: tuple[str, ...]


def expand(text: str, lookup: Lookup) -> Expanded:
    """Replace every reference in a text; `$${` is a literal `${`, and values are not read again."""
    faults: list[str] = []

    def replaced(mark: re.Match[str]) -> str:
        if mark[0] == "$${":
            return "${"
        try:
            return lookup(_parse(mark))
        except BadReference as fault:
            faults.append(str(fault))
            return ""

    expanded = _MARK.sub(replaced, text)
    return Expanded(expanded, tuple(dict.fromkeys(faults)))


def _parse(mark: re.Match[str]) -> Reference:
    inside: str | None = mark[1]
    if inside is None:
        raise BadReference('"${" without its "}"; for a literal "${" write "$${"')
    kind, colon, name = inside.partition(":")
    if not colon:
        raise BadReference(_without_kind(inside))
    if kind not in set(Kind):
        raise BadReference(_unknown_kind(kind, name))
    if not name:
        raise BadReference(f"${{{kind}:}} names nothing; {_HINTS[Kind(kind)]}")
    return Reference(Kind(kind), name)


def _without_kind(inside: str) -> str:
    if _VARIABLE.fullmatch(inside):
        hint = f"write ${{env:{inside}}} for the environment variable"
    else:
        hint = "write ${env:NAME}, ${file:/path} or ${credential:name}"
    return f'${{{inside}}} does not say where to look; {hint}, or "$${{" for a literal "${{"'


def _unknown_kind(kind: str, name: str) -> str:
    if close := get_close_matches(kind, list(Kind), n=1):
        return f"${{{kind}:{name}}} is of no known kind; did you mean ${{{close[0]}:{name}}}?"
    return (
        f"${{{kind}:{name}}} is of no known kind; there are env, file and credential, "
        'and "$${" is a literal "${"'
    )


_HINTS: Final[Mapping[Kind, str]] = {
    Kind.ENV: "write ${env:NAME}",
    Kind.FILE: "write ${file:/path}",
    Kind.CREDENTIAL: "write ${credential:name}",
}


class Sources:
    """The environment, the files and systemd's credentials: a `Lookup`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.files: set[Path] = set()
        """Those that were looked for."""

    def __call__(self, reference: Reference) -> str:
        """Return what a reference stands for.

        Raises:
            BadReference: There is no such thing, or it cannot be read.
        """
        match reference.kind:
            case Kind.ENV:
                return self._variable(reference)
            case Kind.FILE:
                return self._file(reference)
            case Kind.CREDENTIAL:
                return self._credential(reference)

    def _variable(self, reference: Reference) -> str:
        if not _VARIABLE.fullmatch(reference.name):
            raise BadReference(f"{reference} is not a name that a variable can have")
        try:
            return self._environ[reference.name]
        except KeyError:
            raise BadReference(
                f"{reference} is not set; set {reference.name} in the daemon's environment"
            ) from None

    def _file(self, reference: Reference) -> str:
        if not reference.name.startswith("/"):
            raise BadReference(f"{reference} is a relative path; write the whole path from /")
        return self._read(reference, Path(reference.name), "create it, or correct the path")

    def _credential(self, reference: Reference) -> str:
        if not _CREDENTIAL.fullmatch(reference.name):
            raise BadReference(f"{reference} is a path; write a credential's bare name")
        unit_line = f"LoadCredential={reference.name}:/path/of/it"
        if not (folder := self._environ.get("CREDENTIALS_DIRECTORY")):
            raise BadReference(f"{reference} {NO_CREDENTIALS} for a unit with {unit_line}")
        # A folder NAME:… gives NAME_file each; `ImportCredential=mcpnatsd.*` keeps its whole name.
        names = (reference.name, f"mcpnatsd_{reference.name}", f"mcpnatsd.{reference.name}")
        paths = [Path(folder, name) for name in names]
        path = next((one for one in paths if one.exists()), paths[0])
        return self._read(
            reference, path, f"put it into /etc/mcpnatsd/credentials/, or give the unit {unit_line}"
        )

    def _read(self, reference: Reference, path: Path, remedy: str) -> str:
        self.files.add(path)
        return _read(reference, path, remedy)


def _read(reference: Reference, path: Path, remedy: str) -> str:
    try:
        content = _bounded(reference, path)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise BadReference(f"{reference} does not exist; {remedy}") from None
    except (OSError, ValueError) as error:
        raise BadReference(f"{reference} cannot be read: {_reason(error)}") from None
    return re.sub(r"\r?\n\Z", "", text)


def _bounded(reference: Reference, path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise BadReference(f"{reference} is not a plain file; name one that holds the value")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadReference(f"{reference} is larger than 1 MiB; name a file that holds one value")
    return content


def _reason(error: OSError | ValueError) -> str:
    match error:
        case OSError(strerror=str() as strerror):
            return strerror.lower()
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
        case _:
            return "its path is not valid"
