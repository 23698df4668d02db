"""Where server processes come from.

Behind it stands one small program (`reaper_main`) that is the parent of them all. It is started
with the first server, and again should it ever die.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from mcpnatsd.backends.pipes import open_pipes
from mcpnatsd.backends.process import Exit, SpawnedProcess, Spec
from mcpnatsd.backends.reaper_link import Order, ReaperLink
from mcpnatsd.errors import ProcessDied
from mcpnatsd.protocol.lines import Oversize

log = logging.getLogger(__name__)

_START_TIMEOUT: Final = 30.0
"""Seconds for fork and exec alone. A program on a network file system may take some."""


@asynccontextmanager
async def open_reaper() -> AsyncIterator["Reaper"]:
    """Open a source of processes. When it closes, all that came from it is killed."""
    reaper = Reaper()
    try:
        yield reaper
    finally:
        await reaper.close()


class Reaper:
    """Starts server processes, and leaves none of them behind."""

    def __init__(self) -> None:
        self._link: ReaperLink | None = None

    @property
    def pid(self) -> int | None:
        """The reaper program's. None: nothing was started yet."""
        return None if self._link is None else self._link.pid

    async def spawn(
        self,
        spec: Spec,
        *,
        on_line: Callable[[bytes], None],
        on_exit: Callable[[Exit], None],
        on_oversize: Callable[[Oversize], None] = lambda _skipped: None,
    ) -> SpawnedProcess:
        r"""Start a server.

        `on_line` gets each line of its stdout that may be a message, without its `\n`; `on_exit`
        its end, once and last; `on_oversize` what is left of a line over `output_line_bytes`, which
        is skipped: whoever waits for an answer may have lost it. None is called before `spawn`
        has returned, and none may raise.

        Raises:
            ProcessDied: It cannot be started; the text says why.
        """
        try:
            pipes = open_pipes()
        except OSError as error:
            raise ProcessDied(f"cannot start {spec.name}: {error.strerror}") from None
        process = SpawnedProcess(
            spec, pipes, on_line=on_line, on_exit=on_exit, on_oversize=on_oversize
        )
        try:
            link, order = self._prepared(spec, pipes.theirs)
            number, started = link.spawn(order, process.exited)
            process.begin(await _pid(spec, started), partial(link.send_signal, number))
        except BaseException:
            process.discard()
            raise
        return process

    async def close(self) -> None:
        """Kill everything that came from here."""
        if self._link is not None:
            await self._link.close()

    def _prepared(self, spec: Spec, theirs: tuple[int, int, int]) -> tuple[ReaperLink, Order]:
        """Return the link to spawn with, and what it needs; it closes `theirs` then."""
        try:
            cwd = spec.cwd or str(Path.cwd())
            link = self._current_link()
        except OSError as error:
            for stream in theirs:
                os.close(stream)
            raise ProcessDied(f"cannot start {spec.name}: {error.strerror}") from None
        return link, Order(command=spec.command, env=spec.env, cwd=cwd, streams=theirs)

    def _current_link(self) -> ReaperLink:
        if self._link is None or self._link.is_lost:
            self._link = ReaperLink()
        return self._link


async def _pid(spec: Spec, started: asyncio.Future[int]) -> int:
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            return await started
    except TimeoutError:
        raise ProcessDied(f"cannot start {spec.name}: it takes too long") from None
    except ProcessDied as error:
        # Its arguments may hold secrets, and this text goes to callers, logs and status.
        raise ProcessDied(
            f"cannot start {spec.name} ({spec.command[0]}): {error}; {_advice(spec, str(error))}"
        ) from None


def _advice(spec: Spec, problem: str) -> str:
    if spec.cwd is not None and problem.endswith(repr(spec.cwd)):
        return "check its cwd"
    if "/" in spec.command[0]:
        return "check its command"
    # The folders of this machine are for its own log: the sentence goes to callers anywhere.
    facts = {"server": spec.name, "command": spec.command[0], "path": spec.env.get("PATH", "")}
    log.warning("the program is looked for in PATH", extra=facts)
    return "check its command, and the PATH that the daemon's log names"
