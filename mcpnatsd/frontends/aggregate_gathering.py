"""What is asked of all servers at once: who they are, and what they list.

One that fails or is slow is left out, once with a word in the log; its answer, when it comes after
all, is told as a change of the list.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Raw

from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import BrokerAway, CallTimeout, McpnatsdError, Reported
from mcpnatsd.frontends.aggregate_members import Members
from mcpnatsd.frontends.asking import ask
from mcpnatsd.protocol import aggregate_results as results
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.aggregate import page_request
from mcpnatsd.protocol.jsonrpc import Members as Object
from mcpnatsd.protocol.outgoing import Outgoing

log = logging.getLogger(__name__)

WITHIN: Final = 10.0
"""Seconds in which a server must answer to be in a list."""

DISCOVER_WITHIN: Final = 9.0
"""Likewise for `server/discover`: instances take up to 8 s, Python clients give up after 10."""

ABSENT_WITHIN: Final = 2.0
"""Likewise for one that did not answer discovery: it is gone, or slow."""

LATE: Final = 120.0
"""Seconds after which a server that was left out is not waited for any more."""

T = TypeVar("T")


class Gathering:
    """Asks all servers of a session; `on_late` learns of lists that came too late."""

    def __init__(
        self, requester: Requester, members: Members, on_late: Callable[[str], None]
    ) -> None:
        self._requester = requester
        self._members = members
        self._on_late = on_late
        self._late: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._clashes: set[str] = set()

    async def answer(
        self, asked: Outgoing, edge: str, version: str, group: asyncio.TaskGroup
    ) -> bytes:
        """Return the response of all servers to `server/discover`, or to a list.

        Raises:
            McpnatsdError: Not one of them answered.
        """
        if asked.method == eras.DISCOVER:
            one = partial(self._discover, asked, edge)
            found = await self._from_all(one, asked.method, group, DISCOVER_WITHIN)
            fields = results.discovered(found, whole=self._members.complete)
            return results.complete(asked.id, version, fields)
        pages = partial(self._pages, asked, edge)
        lists = await self._from_all(pages, asked.method, group, WITHIN)
        return results.complete(
            asked.id, version, {results.LISTS[asked.method]: self._merged(asked.method, lists)}
        )

    async def learn_names(self, server: str, asked: Outgoing, edge: str) -> None:
        """Ask one server for a list of what has names, so that shortened ones are known.

        Raises:
            McpnatsdError: It does not say.
        """
        items = await self._pages(asked, edge, server)
        results.named({server: items}, self._members.shown, self._members.names)

    async def capabilities(self, server: str, asked: Outgoing, edge: str) -> Object:
        """Return what a server offers; `asked` is the `server/discover` to ask with.

        Raises:
            McpnatsdError: It does not say.
        """
        if server not in self._members.capabilities:
            await self._discover(asked, edge, server)
        return self._members.capabilities[server]

    def _merged(self, method: str, lists: Mapping[str, list[Raw]]) -> list[Raw]:
        if method in (results.RESOURCES, results.TEMPLATES):
            listed = results.located(method, lists, self._members.where)
            for clash in listed.clashes:
                self._say_clash(clash)
            return listed.items
        return results.named(lists, self._members.shown, self._members.names)

    def _say_clash(self, clash: results.Clash) -> None:
        if clash.uri not in self._clashes and len(self._clashes) < results.MOST_ITEMS:
            self._clashes.add(clash.uri)
            facts = {"uri": clash.uri, "kept": clash.kept, "left_out": clash.left_out}
            log.warning("two servers have the same resource", extra=facts)

    # Of one server.

    async def _discover(self, asked: Outgoing, edge: str, server: str) -> Object:
        line = await ask(self._requester, server, page_request(asked), edge)
        result = results.result_of(line)
        self._members.learn(server, result)
        return result

    async def _pages(self, asked: Outgoing, edge: str, server: str) -> list[Raw]:
        items: list[Raw] = []
        cursor, size = None, 0
        for _ in range(results.MOST_PAGES):
            line = await ask(self._requester, server, page_request(asked, cursor), edge)
            try:
                page = results.page_of(line, asked.method)
            except Reported as fault:
                if fault.jsonrpc_code == jsonrpc.METHOD_NOT_FOUND:
                    return items  # it has nothing of that kind
                raise
            items += page.items
            cursor, size = page.cursor, size + len(line)
            if cursor is None:
                return items
            if len(items) >= results.MOST_ITEMS or size >= results.MOST_LIST_BYTES:
                break
        log.warning("a list is too long", extra={"server": server, "method": asked.method})
        return items[: results.MOST_ITEMS]

    # Of all.

    async def _from_all(
        self,
        one: Callable[[str], Awaitable[T]],
        method: str,
        group: asyncio.TaskGroup,
        within: float,
    ) -> dict[str, T]:
        """Return what each says that answers in time. Servers that are new are asked as well.

        One whose last answer is still awaited is not waited for again.
        """
        tasks: dict[str, asyncio.Task[T | McpnatsdError]] = {}
        deadline = asyncio.get_running_loop().time() + within

        def start(servers: tuple[str, ...]) -> None:
            for server in servers:
                if server not in tasks and (server, method) not in self._late:
                    tasks[server] = group.create_task(_caught(one, server))

        try:
            start(self._members.names)
            await self._look(start, known=bool(tasks))
            await self._wait(tasks, deadline)
        except BaseException:
            for task in tasks.values():
                task.cancel()
            raise
        return self._sorted_out(tasks, method)

    async def _wait(
        self, tasks: Mapping[str, "asyncio.Task[T | McpnatsdError]"], deadline: float
    ) -> None:
        """Wait for all, but not for long for those that discovery found no more."""
        now = asyncio.get_running_loop().time
        absent = {task for server, task in tasks.items() if not self._members.is_there(server)}
        there = set(tasks.values()) - absent
        soon = min(deadline, now() + ABSENT_WITHIN)
        for some, until in ((there, deadline), (absent, soon)):
            if some:
                await asyncio.wait(some, timeout=max(0.0, until - now()))

    async def _look(self, start: Callable[[tuple[str, ...]], None], *, known: bool) -> None:
        try:
            start(await self._members.refresh())
        except McpnatsdError as fault:
            if not known:
                raise
            log.info("new servers were not looked for", extra={"reason": str(fault)})

    def _sorted_out(
        self, tasks: Mapping[str, "asyncio.Task[T | McpnatsdError]"], method: str
    ) -> dict[str, T]:
        found: dict[str, T] = {}
        faults: list[McpnatsdError] = []
        for server, task in tasks.items():
            if not task.done():
                self._wait_on(server, method, task)
                self._members.missed(server, None)
                continue
            said = task.result()
            if isinstance(said, McpnatsdError):
                faults.append(said)
                self._members.missed(server, said)
            else:
                found[server] = said
                self._members.heard(server)
        if self._members.names and not found:
            raise faults[0] if faults else self._silence()
        return found

    def _silence(self) -> McpnatsdError:
        if self._requester.connected:
            return CallTimeout("none of the servers answered in time; some may be starting")
        return BrokerAway("NATS is not reachable; the request was not sent")

    def _wait_on(self, server: str, method: str, task: "asyncio.Task[Any]") -> None:
        """Let one that is late go on: it may be starting for the first time."""
        key = server, method
        if key in self._late:  # two lists were under way at a time
            task.cancel()
            return
        self._late[key] = task
        task.add_done_callback(partial(self._came_late, key))

    def _came_late(self, key: tuple[str, str], task: "asyncio.Task[Any]") -> None:
        del self._late[key]
        if not task.cancelled() and not isinstance(task.result(), McpnatsdError):
            self._on_late(key[1])


async def _caught(one: Callable[[str], Awaitable[T]], server: str) -> T | McpnatsdError:
    """Ask one server. One that is bad spoils nothing for the others."""
    try:
        async with asyncio.timeout(LATE):
            return await one(server)
    except TimeoutError:
        return CallTimeout(f"{server!r} did not answer within {LATE:.0f} s")
    except McpnatsdError as fault:
        return fault
    except Exception as error:  # the session goes on without it
        log.exception("a server was not understood", extra={"server": server})
        return McpnatsdError(f"what {server!r} answered was not understood: {error!r}")
