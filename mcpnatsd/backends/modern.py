"""The modern side of one server: who answers a request, and whether the server can at all.

The first request probes with `server/discover`. A modern server's process then serves everybody,
or with `isolation: session` each client has its own; a legacy server's is ended.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final, Protocol

from msgspec import Raw

from mcpnatsd.backends.caller import Caller
from mcpnatsd.backends.catalogue import Catalogue
from mcpnatsd.backends.house import HouseSession
from mcpnatsd.backends.launch import Launcher
from mcpnatsd.backends.shared import MOST_WAITING, Shared
from mcpnatsd.config.model import EraChoice, Isolation, ServerConfig
from mcpnatsd.errors import Busy, McpnatsdError, Reported
from mcpnatsd.protocol import eras, jsonrpc, tool_rules
from mcpnatsd.protocol.eras import Verdict
from mcpnatsd.protocol.lifecycle import State
from mcpnatsd.protocol.statistics import error_in

log = logging.getLogger(__name__)

DISCOVER_WITHIN: Final = 8.0
"""Seconds in which `server/discover` is answered: Python clients give up after 10."""

MOST_SESSIONS: Final = 64
"""Processes of one server with `isolation: session`, one a client. More are refused as busy."""

MOST_PAGES: Final = 100
"""Of `tools/list`: a server that never stops is not asked for ever."""


class Owner(Protocol):
    """Whoever this side belongs to."""

    def spawn(self, part: Coroutine[None, None, None]) -> None:
        """Run a part in its own guard."""

    def modern_ready(self) -> None:
        """Learn that a process answers."""

    def start_failed(self, failures: int, fault: McpnatsdError) -> None: ...

    def list_changed(self, what: str) -> None: ...


class Modern:
    """Modern requests of one server."""

    def __init__(
        self,
        config: ServerConfig,
        launcher: Launcher,
        catalogue: Catalogue,
        owner: Owner,
        version: str,
    ) -> None:
        self.settled = asyncio.Event()
        """Set once the first start has come to something."""

        self._config = config
        self._launcher = launcher
        self._catalogue = catalogue
        self._owner = owner
        self._version = version
        self._shared: dict[str, Shared] = {}
        self._discovers: list[Caller] = []
        self._probed = False
        self._in_house = 0
        self._turns = asyncio.Semaphore(config.limits.concurrency)

    @property
    def shared(self) -> list[Shared]:
        return list(self._shared.values())

    def receive(self, caller: Caller, edge: str) -> None:
        """Take a request of the client that `edge` names."""
        try:
            self._receive(caller, edge)
        except Busy as fault:
            caller.fail(fault)

    def _receive(self, caller: Caller, edge: str) -> None:
        verdict = self._catalogue.verdict
        if caller.asked.request.method == eras.DISCOVER:
            self._receive_discover(caller, edge, verdict)
        elif verdict.modern is False and self._is_sure:
            self._refuse_era(caller)
        else:
            self._forward(caller, edge)

    def notify(self, line: bytes) -> None:
        for shared in self._shared.values():
            shared.notify(line)

    def want(self) -> None:
        """Have a process started, whoever it is for."""
        self._shared_of("").want()

    def tick(self, now: float) -> None:
        """Answer who asked what the server is and has waited long enough."""
        for caller in list(self._discovers):
            if now - caller.opened_at >= DISCOVER_WITHIN:
                self._discovers.remove(caller)
                caller.fail(self._no_discover())

    @property
    def _is_sure(self) -> bool:
        """Whether a verdict of "legacy" may refuse a request: one of an earlier run may be old."""
        return self._probed or self._config.era is not EraChoice.AUTO

    # Requests.

    def _forward(self, caller: Caller, edge: str) -> None:
        name = caller.asked.name
        if caller.asked.request.method == eras.CALL_TOOL and name is not None:
            try:
                self._catalogue.rules.check(name)
            except McpnatsdError as fault:
                caller.fail(fault)
                return
        self._shared_of(edge).receive(caller)

    def _refuse_era(self, caller: Caller) -> None:
        """Answer a modern request to a legacy server; bare arguments have no era."""
        if caller.asked.bare:
            self._owner.spawn(self._call_in_house(caller))
            return
        requested = _revision_of(caller) or eras.MODERN_REVISIONS[0]
        caller.fail(eras.mismatch(self._config.name, self._catalogue.verdict, requested))

    def _receive_discover(self, caller: Caller, edge: str, verdict: Verdict) -> None:
        ordinary = _revision_of(caller) in (None, *eras.MODERN_REVISIONS)
        if verdict.modern is False:
            caller.fail(self._no_discover())
        elif verdict.modern and verdict.discovered and ordinary:
            caller.finish(jsonrpc.result(caller.asked.request.id, Raw(verdict.discovered)))
        elif verdict.modern:
            self._forward(caller, edge)
        else:
            shared = self._shared_of(edge)
            self._discovers.append(caller)
            shared.want()

    def _no_discover(self) -> Reported:
        text = f"server {self._config.name!r} speaks the handshake era: send initialize"
        data = {"supported": list(self._catalogue.verdict.revisions)}
        return Reported(jsonrpc.METHOD_NOT_FOUND, text, data)

    async def _call_in_house(self, caller: Caller) -> None:
        """Let a call with bare arguments wait for its turn: each has a process of its own."""
        if self._in_house >= MOST_WAITING + self._config.limits.concurrency:
            caller.fail(Busy(f"server {self._config.name!r} has {MOST_WAITING} calls waiting"))
            return
        self._in_house += 1
        try:
            async with self._turns:
                await self._answer_in_house(caller)
        finally:
            self._in_house -= 1

    async def _answer_in_house(self, caller: Caller) -> None:
        """Answer bare arguments from a legacy server, in a session of our own."""
        house = HouseSession(self._config, self._launcher, self._version)
        try:
            name = caller.asked.name or ""
            self._catalogue.rules.check(name)
            self._catalogue.learn_verdict(eras.verdict_of_initialize(await house.open()))
            params = {"name": name, "arguments": caller.asked.params["arguments"]}
            response, line = await house.ask(eras.CALL_TOOL, params)
            caller.error = error_in(eras.CALL_TOOL, response, line)
            caller.finish(response.with_id(caller.asked.request.id))
        except McpnatsdError as fault:
            caller.fail(fault)
        finally:
            await house.close()

    # Processes.

    def _shared_of(self, edge: str) -> Shared:
        """Return the process for a client: one for all, or with `isolation: session` its own.

        Raises:
            Busy: As many clients as may have one have one.
        """
        own = edge if self._config.isolation is Isolation.SESSION else ""
        shared = self._shared.get(own)
        if shared is None:
            if own and len(self._shared) >= MOST_SESSIONS:
                raise Busy(f"{MOST_SESSIONS} clients have a process of {self._config.name!r} each")
            shared = self._shared[own] = self._make(many_clients=not own)
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

    async def _run(self, own: str, shared: Shared) -> None:
        """Run a process; one that belongs to a single client is forgotten when it ends."""
        try:
            await (shared.run_once() if own else shared.run())
        finally:
            self._shared.pop(own, None)

    def _learn(self, verdict: Verdict) -> bool:
        """Learn what `server/discover` was answered; say whether that process is of use."""
        self._probed = True
        self._catalogue.learn_verdict(verdict)
        usable = bool(self._catalogue.verdict.modern)
        discovers, self._discovers = self._discovers, []
        for caller in discovers:
            self._receive_discover(caller, "", self._catalogue.verdict)
        if not usable:
            self.settled.set()
            for shared in self._shared.values():
                for caller in shared.take_waiting():
                    self._refuse_era(caller)
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
        discovers, self._discovers = self._discovers, []
        for caller in discovers:
            caller.fail(fault)
        self._owner.start_failed(failures, fault)


def _revision_of(caller: Caller) -> str | None:
    return eras.requested_revision(jsonrpc.object_of(caller.asked.params, eras.META))
