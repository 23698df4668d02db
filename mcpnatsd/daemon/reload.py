"""Reloads: what the files say now is read, compared with what runs, and made real or refused.

One runs at a time. Whoever asks meanwhile shares the next one, so no change is missed and no queue
can grow.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from mcpnatsd.config.diff import Diff, Step, between
from mcpnatsd.config.files import digests, located, named_files
from mcpnatsd.config.load import ConfigFaults, Loaded, load_all
from mcpnatsd.daemon.looks import looks_of
from mcpnatsd.errors import BusError, McpnatsdError

log = logging.getLogger(__name__)

FILES: Final = "files changed"
"""Why: nobody asked, so what changes nothing is not worth a line."""

NATS_AGAIN: Final = "NATS did not take it before"
"""Why: likewise."""

AGAIN_AFTER: Final = 30.0
"""Seconds after which a reload that NATS refused, or was away for, is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one reload."""

    why: str
    at: str
    plan: tuple[Step, ...] = ()
    fault: str | None = None

    before: "Verdict | None" = None
    """The last reload that changed something, when this one did not."""

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "ok": self.fault is None,
            "at": self.at,
            "why": self.why,
            "plan": [
                {"sign": one.sign, "what": one.what, "name": one.name, "keys": list(one.keys)}
                for one in self.plan
            ],
            "fault": self.fault,
            "before": self.before and self.before.as_json(),
        }


class Told(Protocol):
    """Whoever wants to know of reloads: systemd, for example."""

    def reloading(self) -> None: ...

    def reloaded(self, verdict: Verdict) -> None: ...


class Reloader:
    """Reads the configuration again when it is asked to. `run` does the work."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        loaded: Loaded,
        apply: Callable[[Diff], Awaitable[None]],
    ) -> None:
        self.loaded = loaded
        """What runs."""

        self.loaded_at = _now()
        self.count = 0
        """Reloads that were applied."""

        self.refused = 0
        self.last: Verdict | None = None
        self.stale: str | None = None
        """Why what the files say is not what runs; None while it is."""

        self.unreadable = False
        """Whether that is a fault of the files: with them no daemon would start."""

        self.watched: frozenset[Path] = _watched(loaded)
        """Files that the configuration was made of, or that it names."""

        self._changed: Verdict | None = None
        self.told: list[Told] = []
        self._path = path
        self._environ = environ
        self._apply = apply
        self._digests = digests(named_files(loaded.config))
        self._looks = looks_of(path, self.watched)
        self._next: asyncio.Future[Verdict] | None = None
        self._whys: list[str] = []
        self._wanted = asyncio.Event()
        self._waits_for_nats = False
        """Whether the last one failed because of NATS: it may work without a file that changes."""

    @property
    def fresh(self) -> bool:
        """Whether the files still look as they did when they were taken over."""
        return self.stale is None and looks_of(self._path, self.watched) == self._looks

    def ask(self, why: str) -> asyncio.Future[Verdict]:
        """Have a reload done, after the one that runs; return what will be its verdict."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if why not in self._whys:
            self._whys.append(why)
        self._wanted.set()
        return self._next

    async def reload(self, why: str) -> Verdict:
        """Reload, and return the verdict."""
        return await asyncio.shield(self.ask(why))

    def nats_is_up(self) -> None:
        """Have what NATS was away for done now."""
        if self._waits_for_nats:
            self.ask(NATS_AGAIN)

    async def run(self) -> None:
        """Do what is asked for, until cancelled. Whoever waits then is told."""
        asked: asyncio.Future[Verdict] | None = None
        try:
            while True:
                await self._wait_wanted()
                self._wanted.clear()
                asked, self._next = self._next, None
                whys, self._whys = self._whys, []
                _settle(asked, await self._reload(", ".join(whys)))
        finally:
            stopped = Verdict(why="", at=_now(), fault="the daemon is stopping")
            _settle(asked, stopped)
            _settle(self._next, stopped)

    async def _wait_wanted(self) -> None:
        try:
            async with asyncio.timeout(AGAIN_AFTER if self._waits_for_nats else None):
                await self._wanted.wait()
        except TimeoutError:
            self.ask(NATS_AGAIN)

    async def _reload(self, why: str) -> Verdict:
        for one in self.told:
            one.reloading()
        self._waits_for_nats = False
        try:
            plan = await self._take_over()
            before = None if plan else self._changed
            verdict = Verdict(why=why, at=_now(), plan=plan, before=before)
        except McpnatsdError as fault:
            self._waits_for_nats = isinstance(fault, BusError)
            verdict = Verdict(why=why, at=_now(), fault=str(fault))
        except Exception as error:
            log.exception("a reload failed")
            verdict = Verdict(why=why, at=_now(), fault=f"{type(error).__name__}: {error}")
        self._note(verdict)
        for one in self.told:
            one.reloaded(verdict)
        return verdict

    async def _take_over(self) -> tuple[Step, ...]:
        """Read, compare and apply; return the plan.

        Raises:
            McpnatsdError: It cannot be done, and nothing was changed.
        """
        self.unreadable = False
        try:
            loaded, fresh = await asyncio.to_thread(self._read)
        except ConfigFaults as faults:
            self.unreadable = True
            self.watched |= faults.referenced
            raise
        self.watched = _watched(loaded) | _watched(self.loaded)
        renewed = frozenset(file for file, one in fresh.items() if self._digests.get(file) != one)
        diff = between(self.loaded.config, loaded.config, renewed)
        if diff:
            await self._apply(diff)
        self.loaded, self._digests, self.watched = loaded, fresh, _watched(loaded)
        self._looks = looks_of(self._path, self.watched)
        return diff.plan

    def _read(self) -> tuple[Loaded, dict[str, str]]:
        loaded = load_all(self._path, self._environ)
        return loaded, digests(named_files(loaded.config))

    def _note(self, verdict: Verdict) -> None:
        """Keep a verdict, and say it once."""
        repeated = verdict.fault is not None and verdict.fault == self.stale
        unasked = verdict.why in (FILES, NATS_AGAIN)
        quiet = unasked and (repeated or not (verdict.plan or verdict.fault))
        if quiet and (repeated or self.stale is None):
            return
        self.last = verdict
        if verdict.fault is not None:
            self.refused += 1
            self.stale = verdict.fault
            facts = {"why": verdict.why, "error": verdict.fault}
            log.error("reload refused; what ran before runs on", extra=facts)
            return
        self.count += 1
        self._changed = verdict if verdict.plan else self._changed
        self.stale, self.loaded_at = None, verdict.at
        plan = "; ".join(map(str, verdict.plan)) or "nothing changed"
        log.info("reloaded", extra={"why": verdict.why, "plan": plan})


def _settle(asked: asyncio.Future[Verdict] | None, verdict: Verdict) -> None:
    if asked is not None and not asked.done():
        asked.set_result(verdict)


def _watched(loaded: Loaded) -> frozenset[Path]:
    named = (located(file) for file in named_files(loaded.config))
    return frozenset((*loaded.files, *loaded.referenced, *named))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
