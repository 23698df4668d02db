"""`mcpnatsd check`: whether a configuration file is right."""

from collections.abc import Mapping
from pathlib import Path

from mcpnatsd.config.load import ConfigFaults, load
from mcpnatsd.verbs.terminal import complain, say


def check(path: Path, environ: Mapping[str, str]) -> int:
    """Say that a file is right, or all that is wrong with it: one fault a line."""
    try:
        config = load(path, environ)
    except ConfigFaults as faults:
        complain("\n".join(faults.sentences))
        return faults.exit_code
    servers, endpoints = len(config.servers), len(config.endpoints)
    say(f"{path} is valid: {_many(servers, 'server')}, {_many(endpoints, 'endpoint')}")
    return 0


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
