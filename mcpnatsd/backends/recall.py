"""What was learnt of servers in earlier runs: their eras, and their tools.

A file per server in the state directory. It is a cache: a file that cannot be read or written
costs a probe, never a request.
"""

import json
import logging
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from mcpnatsd.config.model import ServerConfig
from mcpnatsd.protocol.eras import Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one server."""

    verdict: Verdict = field(default_factory=Verdict)
    tools: tuple[str, ...] | None = None
    """Names, in the server's order; None when it was never asked."""


class Recall:
    """Remembers by command, arguments and folder: another command is another server."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._complained = False

    def recall(self, config: ServerConfig) -> Known:
        """Return what is known; nothing when it was never learnt, or cannot be read."""
        path = self._path(config)
        if path is None:
            return Known()
        try:
            return _known(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Known()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug(
                "what was learnt of a server cannot be read",
                extra={"server": config.name, "error": str(error)},
            )
            return Known()

    def keep(self, config: ServerConfig, known: Known) -> None:
        path = self._path(config)
        if path is None:
            return
        stored = asdict(known)
        for result in ("discovered", "initialized"):
            stored["verdict"][result] = stored["verdict"][result].decode("utf-8", "replace")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(stored), encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            level = logging.DEBUG if self._complained else logging.WARNING
            self._complained = True
            facts = {"folder": str(path.parent), "error": str(error)}
            log.log(
                level, "what was learnt of servers cannot be kept for the next run", extra=facts
            )

    def _path(self, config: ServerConfig) -> Path | None:
        if self._folder is None:
            return None
        known = [config.command, config.cwd] if config.url is None else [config.url]
        key = json.dumps(known).encode()
        return self._folder / "servers" / f"{sha256(key).hexdigest()[:32]}.json"


def _known(stored: dict[str, object]) -> Known:
    raw, tools = stored["verdict"], stored["tools"]
    if not isinstance(raw, dict) or not isinstance(tools, list | None):
        raise TypeError("not what was kept")
    verdict = Verdict(
        modern=raw["modern"],
        legacy=raw["legacy"],
        revisions=tuple(map(str, raw["revisions"])),
        discovered=str(raw["discovered"]).encode(),
        initialized=str(raw["initialized"]).encode(),
        server_name=str(raw["server_name"]),
        server_version=str(raw["server_version"]),
    )
    return Known(verdict=verdict, tools=None if tools is None else tuple(map(str, tools)))
