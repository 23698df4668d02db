"""The modern side of one server: who answers a request, and whether the server can at all.

The first request probes with `server/discover`. A modern server's process then serves everybody,
or with `isolation: session` each client has its own; a legacy server's is ended, and its requests
are translated.
"""

import asyncio
import logging
from typing import Final

from msgspec import Raw

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.shared import Shared
from mcpnatsd.backends.translator import DISCOVER_WITHIN, Translator
from mcpnatsd.backends.translator import Owner as TranslatorOwner
from mcpnatsd.config.model import EraChoice, Isolation, ServerConfig
from mcpnatsd.errors import Busy, McpnatsdError, ProcessDied
from mcpnatsd.protocol import eras, jsonrpc, to_legacy, tool_rules
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.lifecycle import State
from mcpnatsd.protocol.parked import Seal

log = logging.getLogger(__name__)

MOST_SESSIONS: Final = 64
"""Processes of one server with `isolation: session`, one a client. More are refused as busy."""

MOST_PAGES: Final = 100
"""Of `tools/list`: a server that never stops is not asked for ever."""


_ALL: Final = ("", "")
"""Whose process it is that all clients share."""


class Modern:
    """Modern requests of one server."""

    def __init__(  # noqa: PLR0913
        self,
        config: ServerConfig,
        launcher: Launcher,
        catalogue: Catalogue,
        owner: TranslatorOwner,
        version: str,
        *,
        seal: Seal,
        seats: Launcher | None = None,
    ) -> None:
        """Take what answers; `seats` is where translated clients get another kind of process."""
        self.settled = asyncio.Event()
        """Set once the first start has come to something."""

        self._config = config
        self._launcher = launcher
        self._catalogue = catalogue
        self._owner = owner
        self._version = version
        self._shared: dict[tuple[str, str], Shared] = {}
        """By user and client, where each client has its own."""

        self._discovers: list[Caller] = []
        self._probed = False
        self._probe_died = False
        """Whether a process ended upon `server/discover`, before anybody knew what it is."""

        self.translator = Translator(
            config, seats or launcher, catalogue, owner, seal=seal, version=version
        )

    @property
    def shared(self) -> list[Shared]:
        return list(self._shared.values())

    def receive(self, caller: Caller) -> None:
        """Take a request."""
        try:
            self._receive(caller)
        except Busy as fault:
            caller.fail(fault)

    def _receive(self, caller: Caller) -> None:
        verdict = self._catalogue.verdict
        if not self._is_permitted(caller) or self._is_resumed(caller, verdict):
            return
        if caller.asked.request.method == eras.DISCOVER:
            self._receive_discover(caller, verdict)
        elif self._is_translated(verdict):
            self.translator.receive(caller)
        else:
            self._shared_of(caller).receive(caller)

    def notify(self, line: bytes) -> None:
        """Pass a notification on that belongs to no exchange; with sessions, nobody knows whose."""
        if self._is_translated(self._catalogue.verdict):
            log.debug("notification dropped", extra={"server": self._config.name})
            return
        for shared in self._shared.values():
            shared.notify(line)

    def client_left(self, user: str, client: str) -> None:
        """End the processes that only this client used."""
        self.translator.client_left(user, client)
        own = self._shared.get((user, client)) if client else None
        if own is not None:
            own.leave()

    def want(self) -> None:
        """Have a process started, whoever it is for."""
        self._shared_for(_ALL).want()

    def tick(self, now: float) -> None:
        """Answer who asked what the server is and has waited long enough."""
        for caller in list(self._discovers):
            if now - caller.opened_at >= DISCOVER_WITHIN:
                self._discovers.remove(caller)
                caller.fail(self.translator.no_discover())
        self.translator.tick(now)

    def _is_resumed(self, caller: Caller, verdict: Verdict) -> bool:
        """Say whether a request is the retry of a parked call, which is then seen to.

        A modern server's own state may look like ours: it can be a bridge itself.
        """
        retried = to_legacy.STATE in caller.asked.params and not verdict.modern
        return retried and self.translator.takes(caller)

    def _is_translated(self, verdict: Verdict) -> bool:
        """Say whether the server is legacy, as it said, or showed when a probe ended it."""
        if verdict.modern is None and verdict.legacy:
            return self._probe_died
        return verdict.modern is False and self._is_sure

    @property
    def _is_sure(self) -> bool:
        """Whether a verdict of "legacy" may refuse a request: one of an earlier run may be old."""
        return self._probed or self._config.era is not EraChoice.AUTO

    # Requests.

    def _is_permitted(self, caller: Caller) -> bool:
        """Say whether a request may be made at all; answer it if it may not."""
        name = caller.asked.name
        if caller.asked.request.method == eras.CALL_TOOL and name is not None:
            try:
                self._catalogue.rules.check(name)
            except McpnatsdError as fault:
                caller.fail(fault)
                return False
        return True

    def _receive_discover(self, caller: Caller, verdict: Verdict) -> None:
        ordinary = _revision_of(caller) in (None, *eras.MODERN_REVISIONS)
        if verdict.modern is False or self._is_translated(verdict):
            self.translator.discover(caller)
        elif verdict.modern and verdict.discovered and ordinary:
            caller.finish(jsonrpc.result(caller.asked.request.id, Raw(verdict.discovered)))
        elif verdict.modern:
            self._shared_of(caller).receive(caller)
        else:
            shared = self._shared_of(caller)
            self._discovers.append(caller)
            shared.want()

    # Processes.

    def _shared_of(self, caller: Caller) -> Shared:
        """Return the process for a client: one for all, or with `isolation: session` its own.

        Raises:
            Busy: As many clients as may have one have one.
        """
        if self._config.isolation is not Isolation.SESSION or not caller.edge:
            return self._shared_for(_ALL)
        return self._shared_for((caller.user.decode("latin-1"), caller.edge))

    def _shared_for(self, own: tuple[str, str]) -> Shared:
        shared = self._shared.get(own)
        if shared is None:
            if own != _ALL and len(self._shared) >= MOST_SESSIONS:
                raise Busy(f"{MOST_SESSIONS} clients have a process of {self._config.name!r} each")
            shared = self._shared[own] = self._make(many_clients=own == _ALL)
            self._owner.spawn(self._run(own, shared))
        return shared

    def _make(self, *, many_clients: bool) -> Shared:
        return Shared(
            self._config,
            self._launcher,
            version=self._version,
            many_clients=many_clients,
            on_verdict=self._learn,
            on_ready=self._greet,
            on_tools=self._catalogue.learn_page,
            on_hint=self._receive_hint,
            on_failed=self._start_failed,
        )

    async def _run(self, own: tuple[str, str], shared: Shared) -> None:
        """Run a process; one that belongs to a single client is forgotten when it ends."""
        try:
            await (shared.run() if own == _ALL else shared.run_once())
        finally:
            self._shared.pop(own, None)

    def _learn(self, verdict: Verdict) -> bool:
        """Learn what `server/discover` was answered; say whether that process is of use."""
        self._probed = True
        self._catalogue.learn_verdict(verdict)
        usable = bool(self._catalogue.verdict.modern)
        discovers, self._discovers = self._discovers, []
        for caller in discovers:
            self.receive(caller)
        if not usable:
            self._owner.modern_ready()  # it is there, and it answers
            self.settled.set()
            for shared in self._shared.values():
                for caller in shared.take_waiting():
                    self.translator.receive(caller)
        return usable

    def _greet(self, shared: Shared) -> None:
        """Learn the tools of a process that has just started."""
        self._owner.modern_ready()
        self._owner.spawn(self._list_tools(shared))

    async def _list_tools(self, shared: Shared) -> None:
        params: dict[str, object] = {}
        try:
            for _ in range(MOST_PAGES):
                own = shared.request(eras.LIST_TOOLS, **params)
                response = await own.answer(self._config.limits.call_timeout)
                cursor = tool_rules.cursor_in(response)
                if cursor is None:
                    break
                params = {"cursor": cursor}
        except (McpnatsdError, TimeoutError) as error:
            facts = {"server": self._config.name, "error": str(error)}
            log.debug("tools not listed", extra=facts)
        self.settled.set()

    def _receive_hint(self, method: str) -> None:
        what = method.split("/")[1]
        self._owner.list_changed(what)
        if what == "tools":
            for shared in self._shared.values():
                if shared.lifecycle.state is State.READY:
                    self._owner.spawn(self._list_tools(shared))

    def _start_failed(self, failures: int, fault: McpnatsdError) -> None:
        self.settled.set()
        self._probe_died = isinstance(fault, ProcessDied)
        discovers, self._discovers = self._discovers, []
        for caller in discovers:
            caller.fail(fault)
        self._owner.start_failed(failures, fault)


def _revision_of(caller: Caller) -> str | None:
    return eras.requested_revision(jsonrpc.object_of(caller.asked.params, eras.META))
