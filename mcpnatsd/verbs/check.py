"""`mcpnatsd check`: whether a configuration is right."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcpnatsd.config.load import ConfigFaults, Loaded, load_all
from mcpnatsd.config.references import NO_CREDENTIALS
from mcpnatsd.daemon import missing
from mcpnatsd.errors import ConfigError
from mcpnatsd.verbs.terminal import complain, say

CREDENTIALS: Final = Path("/etc/mcpnatsd/credentials")
"""What our units have systemd hand over. Only root reads it."""


def check(path: Path, environ: Mapping[str, str]) -> int:
    """Say that a file is right, or all that is wrong with it: one fault a line."""
    try:
        loaded = load_all(path, _with_credentials(environ))
    except ConfigFaults as faults:
        return _complained(path, faults)
    faulty = missing.faults(loaded.config)
    _complain_of(path, [*faulty, *missing.doubts(loaded.config)])
    return ConfigError.exit_code if faulty else _told(path, loaded)


def _complain_of(path: Path, lacking: list[str]) -> None:
    """Say what is not here. Of a program that is no fault: the daemon's PATH may be another."""
    if lacking:
        complain("\n".join(f"{path}: {one}" for one in lacking))


def _told(path: Path, loaded: Loaded) -> int:
    servers, endpoints = len(loaded.config.servers), len(loaded.config.endpoints)
    others = len(loaded.files) - 1
    files = f"{path} with {_many(others, 'drop-in')}" if others else str(path)
    say(f"{files} is valid: {_many(servers, 'server')}, {_many(endpoints, 'endpoint')}")
    return 0


def _with_credentials(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables a unit would have: a shell has no credentials, but may be root's."""
    if environ.get("CREDENTIALS_DIRECTORY") or not os.access(CREDENTIALS, os.R_OK | os.X_OK):
        return environ
    return {**environ, "CREDENTIALS_DIRECTORY": str(CREDENTIALS)}


def _complained(path: Path, faults: ConfigFaults) -> int:
    """Say what is wrong. That we have none of the credentials here does not make a file wrong."""
    unseen = [one for one in faults.sentences if NO_CREDENTIALS in one]
    wrong = [one for one in faults.sentences if one not in unseen]
    notes = [f"{one.partition(NO_CREDENTIALS)[0]}was not looked into" for one in unseen]
    complain("\n".join([*wrong, *notes]))
    if wrong:
        return faults.exit_code
    say(
        f"nothing else is wrong with {path}; to have all of it looked into, be root, "
        "or set CREDENTIALS_DIRECTORY to a folder with the credentials"
    )
    return 0


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
