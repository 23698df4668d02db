"""Watches the files of a configuration, and has it reloaded when they change.

Folders are watched, not files: editors and ConfigMaps put a new file in an old one's place. What
counts is how the files look, so a folder in which much else happens costs next to nothing.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from mcpnatsd.config.dropins import folder_of
from mcpnatsd.daemon.looks import Looks, looks_of
from mcpnatsd.daemon.reload import FILES, Reloader

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
"""Seconds after which it is looked without being told, too: not every file system tells."""

QUIET_FOR: Final = 0.2
"""Seconds without a change before changes count: what is being written gets its end."""

MOST_NOISE: Final = 2.0
"""Seconds for which such a quiet is waited for."""


class FileWatch:
    """Asks for a reload when a file looks other than before."""

    def __init__(self, reloader: Reloader, path: Path) -> None:
        self._reloader = reloader
        self._path = path

    async def run(self) -> None:
        """Watch until cancelled."""
        seen = self._looks()
        while True:
            folders = self._folders()
            async with aclosing(_changes(folders)) as changes:
                async for _ in changes:
                    looks = self._looks()
                    if looks != seen:
                        seen = looks
                        await self._reloader.reload(FILES)
                    if self._folders() != folders:
                        break

    def _looks(self) -> Looks:
        return looks_of(self._path, self._reloader.watched)

    def _folders(self) -> frozenset[Path]:
        named = (self._path, folder_of(self._path) / "any", *self._reloader.watched)
        return frozenset(map(_nearest_folder, named))


async def _changes(folders: Iterable[Path]) -> AsyncGenerator[object, None]:
    """Yield when something changed, and now and then anyway."""
    # The daemon is up before this is needed, and a verb never needs it.
    from watchfiles import awatch  # noqa: PLC0415

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change
    try:
        notices = awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            debounce=round(MOST_NOISE * 1000),
            step=round(QUIET_FOR * 1000),
            rust_timeout=round(LOOK_EVERY * 1000),
            yield_on_timeout=True,
        )
        async for notice in notices:
            yield notice
    except (OSError, RuntimeError) as error:  # of the second kind are the faults of watchfiles
        facts = {"every": f"{LOOK_EVERY:g} s", "error": str(error)}
        log.warning("the system does not watch files for us; they are looked at", extra=facts)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            yield None


def _nearest_folder(path: Path) -> Path:
    """Return the folder that a path is in, or would be in if the folders above it were made."""
    return next((one for one in path.parents if one.is_dir()), Path("/"))
