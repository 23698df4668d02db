"""What a configuration names and this machine lacks: programs, folders, files."""

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mcpnatsd.backends.environment import server_environment
from mcpnatsd.config.files import named_files, refuse_unreadable
from mcpnatsd.config.model import Config, HttpEndpoint, ServerConfig
from mcpnatsd.errors import ConfigError

log = logging.getLogger(__name__)


def faults(config: Config) -> list[str]:
    """Return what is wrong: files that cannot be read, and folders that are not there."""
    tokens = [one.tokens for one in config.endpoints if isinstance(one, HttpEndpoint)]
    files = [*named_files(config), *(file for file in tokens if file is not None)]
    found = [_fault(partial(refuse_unreadable, [file])) for file in files]
    found += [_fault(partial(_refuse_folder, one)) for one in config.servers.values()]
    return [one for one in found if one is not None]


def doubts(config: Config) -> list[str]:
    """Return which programs are not there; on another PATH, or later, they may be."""
    found = [_fault(partial(_refuse_program, one)) for one in config.servers.values()]
    return [one for one in found if one is not None]


def warn(config: Config) -> None:
    """Log all of it: a daemon starts without, as it may come."""
    for one in (*faults(config), *doubts(config)):
        log.warning("this machine lacks what the configuration names", extra={"error": one})


def refuse_missing(config: ServerConfig) -> None:
    """See that a server's program and folder are there.

    Raises:
        ConfigError: One is not.
    """
    _refuse_folder(config)
    _refuse_program(config)


def _refuse_folder(config: ServerConfig) -> None:
    if config.cwd is not None and not Path(config.cwd).is_dir():
        raise ConfigError(f"server {config.name}: there is no folder {config.cwd}")


def _refuse_program(config: ServerConfig) -> None:
    if config.url is not None:
        return
    program = config.command[0]
    path = server_environment(os.environ, config.env).get("PATH")
    within = Path(config.cwd or ".", program) if "/" in program else program
    if shutil.which(within, path=path) is None:
        hint = "" if "/" in program else "; it is on no folder of the PATH that servers get"
        raise ConfigError(f"server {config.name}: there is no program {program}{hint}")


def _fault(refuse: Callable[[], None]) -> str | None:
    try:
        refuse()
    except ConfigError as fault:
        return str(fault)
    return None
