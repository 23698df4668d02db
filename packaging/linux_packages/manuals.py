"""Makes mcpnatsd(8) and mcpnatsd.yaml(5): our texts, with what parser and schema say in them."""

import argparse
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from linux_packages import interface
from linux_packages.recipe import PACKAGING, version

PAGES: Final = ("mcpnatsd.8", "mcpnatsd.yaml.5")

_SHOWN: Final = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    "\N{HORIZONTAL ELLIPSIS}": "...",
}
"""Characters that troff would take for something else."""


def manual(page: str, at: datetime) -> str:
    """Return one page as troff source."""
    text = (PACKAGING / "man" / f"{page}.in").read_text(encoding="utf-8")
    parts = {
        "DATE": at.strftime("%Y-%m-%d"),
        "VERSION": version(),
        "SYNOPSIS": "\n".join(_synopsis()),
        "VERBS": "\n".join(_verbs()),
        "NATS_FLAGS": "\n".join(_shared_flags()),
        "KEYS": "\n".join(_keys()),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: parts[found[1]], text)


def escaped(text: str) -> str:
    """Return text that troff shows as it is."""
    shown = "".join(_SHOWN.get(char, char) for char in text)
    return re.sub(r"^\.", r"\\&.", shown, flags=re.MULTILINE)


def _prose(text: str) -> Iterator[str]:
    """Yield paragraphs; what stands indented among them is an example."""
    for block in text.strip("\n").split("\n\n"):
        lines = block.splitlines()
        if all(line.startswith("  ") for line in lines):
            yield from (".IP", ".EX", *(escaped(line[2:]) for line in lines), ".EE")
        else:
            yield from (".IP", _marked(" ".join(lines)))


def _marked(text: str) -> str:
    """Show what stands in backticks in bold."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escaped(text)
    return "".join(
        rf"\fB{escaped(part)}\fR" if at % 2 else escaped(part) for at, part in enumerate(parts)
    )


# The page of the program.


def _synopsis() -> Iterator[str]:
    for name, verb in interface.verbs().items():
        yield ".SY mcpnatsd"
        yield rf"\fB{escaped(name)}\fR"
        yield from (_usage(action) for action in _own(verb))
        if _shares(verb):
            yield r"[\fINATS flags\fR]"
        yield ".YS"


def _own(verb: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the flags of this verb alone, and its arguments; shared ones have their section."""
    shared = interface.bus_flags() if _shares(verb) else set()
    return [one for one in interface.actions(verb) if not shared.intersection(one.option_strings)]


def _shares(verb: argparse.ArgumentParser) -> bool:
    return any("--nats" in one.option_strings for one in interface.actions(verb))


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        word = rf"\fI{escaped(str(action.metavar))}\fR"
        return rf"[{word} ...]" if action.nargs == "*" else word
    return f"[{_flag(action)}]"


def _flag(action: argparse.Action) -> str:
    text = ", ".join(rf"\fB{escaped(flag)}\fR" for flag in action.option_strings)
    return text if action.nargs == 0 else rf"{text} \fI{escaped(str(action.metavar))}\fR"


def _verbs() -> Iterator[str]:
    for name, verb in interface.verbs().items():
        yield from (".TP", rf"\fB{escaped(name)}\fR")
        first, _, rest = str(verb.description).partition("\n\n")
        yield _marked(first)
        yield from _prose(rest)
        flags = [one for one in _own(verb) if one.option_strings or one.help]
        if flags:
            yield ".RS"
            yield from _flags(flags)
            yield ".RE"


def _shared_flags() -> Iterator[str]:
    shared = interface.bus_flags()
    verb = interface.verbs()["connect"]
    return _flags(
        [one for one in interface.actions(verb) if shared.intersection(one.option_strings)]
    )


def _flags(actions: list[argparse.Action]) -> Iterator[str]:
    for action in actions:
        yield ".TP"
        yield _flag(action) if action.option_strings else rf"\fI{escaped(str(action.metavar))}\fR"
        yield _marked(_sentence(action.help or ""))


def _sentence(text: str) -> str:
    said = f"{text[:1].upper()}{text[1:]}"
    return said if said.endswith(".") else f"{said}."


# The page of its file.


def _keys() -> Iterator[str]:
    every = list(interface.keys())
    sections = {re.split(r"\.|\[", key.path)[0] for key in every if not key.path.isidentifier()}
    for key in every:
        if key.path in sections:
            yield f".SS {key.path}"
        yield from (".TP", rf"\fB{escaped(key.path)}\fR", _marked(key.description))
        yield from _value(key)


def _value(key: interface.Key) -> Iterator[str]:
    facts = []
    if key.values:
        facts.append(f"One of {', '.join(f'`{one}`' for one in key.values)}.")
    if key.default is not None:
        facts.append(f"Default: `{key.default}`.")
    if key.example is not None and key.example != key.default and not key.values:
        facts.append(f"For example `{key.example}`.")
    if facts:
        yield ".br"
        yield _marked(" ".join(facts))
