"""Finds out which server a request is for, where only asking can tell."""

import asyncio
import logging
from typing import Final

from mcpnatsd.bus.requester import Requester
from mcpnatsd.errors import McpnatsdError, ProtocolError
from mcpnatsd.frontends.aggregate_gathering import Gathering
from mcpnatsd.frontends.aggregate_members import Members
from mcpnatsd.frontends.aggregate_requests import Asked, OpenRequests
from mcpnatsd.frontends.asking import ask
from mcpnatsd.protocol import aggregate, jsonrpc
from mcpnatsd.protocol.outgoing import Outgoing

log = logging.getLogger(__name__)

SEARCH_WITHIN: Final = 30.0
"""Seconds in which a server must answer whether it has what nobody is known to have."""

MOST_NAMED: Final = 20
"""Servers that an error names."""


READ: Final = "resources/read"


class Finding:
    """Whose a name or a resource is, for the requests of one session."""

    def __init__(
        self,
        requester: Requester,
        opened: OpenRequests,
        members: Members,
        gathering: Gathering,
    ) -> None:
        self._requester = requester
        self._open = opened
        self._members = members
        self._gathering = gathering

    def by_name(self, asked: Asked, name: str, listing: str) -> None:
        """Forward a request by what it names; `listing` is the method that lists such names.

        Raises:
            Busy: Too much is under way.
        """
        shown = self._members.shown
        if not shown.must_be_listed(name):
            place = shown.meant(name, self._members.names)
            if place is not None:
                self._open.forward(asked, place.server, place.name)
                return
        self._open.begin(asked, lambda one: self._find_name(one, name, listing))

    def by_uri(self, asked: Asked, uri: str, server: str | None) -> None:
        """Forward a request to the server that has a resource, or look for it.

        Raises:
            Busy: Too much is under way.
        """
        if server is not None:
            self._open.forward(asked, server)
        else:
            self._open.begin(asked, lambda one: self._search(one, uri))

    async def _find_name(self, asked: Asked, name: str, listing: str) -> None:
        """Look who is there by now, and what a shortened name stands for."""
        shown = self._members.shown
        servers = await self._members.refresh()
        if shown.must_be_listed(name):
            request = aggregate.sibling(asked.outgoing, listing, {})
            for fitting in aggregate.readings(name, servers):
                await self._learn_names(fitting.server, request, asked.edge)
        place = shown.meant(name, servers)
        if place is not None:
            self._open.forward(asked, place.server, place.name)
            return
        text = (
            f"{name[:200]!r} names no server of this session; a name is SERVER__NAME, with one of"
        )
        self._open.refuse(asked, jsonrpc.INVALID_PARAMS, f"{text}: {self._who()}")

    async def _learn_names(self, server: str, listing: Outgoing, edge: str) -> None:
        try:
            async with asyncio.timeout(SEARCH_WITHIN):
                await self._gathering.learn_names(server, listing, edge)
        except (McpnatsdError, TimeoutError) as fault:
            log.info("a list was not seen", extra={"server": server, "reason": str(fault)})

    async def _search(self, asked: Asked, uri: str) -> None:
        """Ask one server after the other who has a resource: reading may be repeated."""
        where, reasons = self._members.where, []
        guesses = where.guesses(uri)
        for server in dict.fromkeys((*guesses, *await self._members.refresh())):
            said = await self._asked_for(asked, server)
            if isinstance(said, bytes):
                if asked.outgoing.method == READ:
                    where.learn(uri, server)
                self._open.answer(asked, said)
                return
            reasons.append(f"{server}: {said[:200]}")
        looked = "; ".join(reasons[:MOST_NAMED]) or "none: nobody is there"
        text = f"no server of this session has {uri[:200]!r}; it was looked for at {looked}"
        self._open.refuse(asked, jsonrpc.INVALID_PARAMS, text)

    async def _asked_for(self, asked: Asked, server: str) -> bytes | str:
        """Return a server's response, or why there is none, or no good one."""
        outgoing = aggregate.for_server(asked.outgoing)
        try:
            async with asyncio.timeout(SEARCH_WITHIN):
                line = await ask(self._requester, server, outgoing, asked.edge, asked.note)
            return str(jsonrpc.reported(line)) if _is_error(line) else line
        except TimeoutError:
            return f"no answer within {SEARCH_WITHIN:.0f} s"
        except McpnatsdError as fault:
            return str(fault)

    def _who(self) -> str:
        names = self._members.names
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return (", ".join(names[:MOST_NAMED]) or "none, as nobody is there") + more


def _is_error(line: bytes) -> bool:
    try:
        return "error" in jsonrpc.split(line)
    except ProtocolError:
        return True
