"""Makes the shell completions, from the parser of the command line."""

import argparse
from typing import Final

import shtab

from linux_packages import interface

SHELLS: Final = ("bash", "zsh", "fish")


def completion(shell: str) -> str:
    """Return the script with which a shell completes verbs, flags and files."""
    parser = interface.parser()
    for verb in _subparsers(parser):
        for action in interface.actions(verb):
            if action.metavar in interface.FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = parser._actions  # noqa: SLF001
    every = [one for one in actions if isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001
    return [verb for one in every for verb in one.choices.values()]
