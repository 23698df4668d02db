"""Speaks to a modern server over HTTP: each request is a POST, and closing it is the cancel.

2026-07-28, Basic, Transports, Streamable HTTP.
"""

import asyncio
from functools import partial
from typing import Final

from mcpnatsd.backends.http_exchange import Asked, Exchanges, Owner, Refusal, key_of
from mcpnatsd.backends.http_faults import is_about_era
from mcpnatsd.backends.http_tools import MirroredTools
from mcpnatsd.errors import Busy
from mcpnatsd.protocol import eras, http_headers, jsonrpc, tool_rules
from mcpnatsd.protocol.headers import VERSION
from mcpnatsd.protocol.jsonrpc import Key, Members, Message, Notification, Request, Response

MOST_OPEN: Final = 4096
"""Requests and subscriptions at a time. More are refused as busy."""

MOST_TELLING: Final = 256
"""Notifications likewise."""

HEADER_MISMATCH: Final = -32020
_MOST_PAGES: Final = 100
_LIST_ID: Final = "mcpnatsd-tools"


class ModernHttp:
    """Requests that each stand for themselves."""

    def __init__(self, owner: Owner, pending_bytes: int) -> None:
        self._owner = owner
        self._pending_bytes = pending_bytes
        self._open = dict[Key, asyncio.Task[None]]()
        self._telling = 0
        self._tools = MirroredTools(owner.config.name)
        self._exchanges = Exchanges(owner, self._intercept)

    @property
    def unwritten_bytes(self) -> int:
        return self._exchanges.unwritten_bytes

    def write(self, message: Message, line: bytes) -> None:
        """Send a message.

        Raises:
            Busy: As much as may be under way is.
        """
        match message:
            case Request():
                self._send(message, line)
            case Notification(method=eras.CANCELLED):
                self._cancel(message)
            case Notification():
                self._spawn_told(message, line)
            case _:
                pass  # 2026-07-28: "The client MUST NOT send JSON-RPC responses"

    async def close(self) -> None:
        """Do nothing: a modern server has no session to end."""

    def _send(self, request: Request, line: bytes) -> None:
        waiting = self.unwritten_bytes
        full = waiting and waiting + len(line) > self._pending_bytes
        if full or len(self._open) >= MOST_OPEN:
            raise Busy(f"server {self._owner.config.name!r} does not keep up with its requests")
        asked = self._exchanges.ask(request, jsonrpc.params_of(request.members), line)
        key = key_of(request.id)
        self._open[key] = task = self._owner.spawn(partial(self._run, asked))
        task.add_done_callback(lambda _: self._end(asked, key))

    def _spawn_told(self, message: Notification, line: bytes) -> None:
        """Send a notification: an extension may have some."""
        if self._telling >= MOST_TELLING:
            raise Busy(f"server {self._owner.config.name!r} does not keep up with notifications")
        self._telling += 1
        self._owner.spawn(partial(self._tell, message, line))

    async def _tell(self, message: Notification, line: bytes) -> None:
        pairs = http_headers.standard(message.method, jsonrpc.params_of(message.members))
        headers = [(VERSION, eras.MODERN_REVISIONS[0]), *pairs]
        refusal = await self._exchanges.tell(line, headers)
        self._telling -= 1
        if refusal is not None:
            self._exchanges.not_told(message, refusal.fault)

    def _cancel(self, notification: Notification) -> None:
        params = jsonrpc.params_of(notification.members)
        task = self._open.pop(key_of(params.get("requestId")), None)
        if task is not None:
            task.cancel()

    def _end(self, asked: Asked, key: Key) -> None:
        self._open.pop(key, None)
        self._exchanges.began(asked)  # cancelled before it was sent

    async def _run(self, asked: Asked) -> None:
        refusal = await self._post(asked)
        if refusal is None or asked.answered:
            return
        if refusal.code == HEADER_MISMATCH and asked.request.method == eras.CALL_TOOL:
            refusal = await self._post_again(asked, refusal)
            if refusal is None or asked.answered:
                return
        self._refused(asked, refusal)

    async def _post(self, asked: Asked) -> Refusal | None:
        return await self._exchanges.post(asked, self._headers(asked))

    def _headers(self, asked: Asked) -> list[tuple[str, str]]:
        method = asked.request.method
        pairs = http_headers.standard(method, asked.params)
        return pairs + self._tools.headers(asked.params) if method == eras.CALL_TOOL else pairs

    async def _post_again(self, asked: Asked, refusal: Refusal) -> Refusal | None:
        """Learn the tools anew and send a call again, which was refused before it ran.

        2026-07-28, Streamable HTTP: "the client SHOULD call tools/list […], then retry".
        """
        before = self._headers(asked)
        await self._list_tools(asked)
        return refusal if self._headers(asked) == before else await self._post(asked)

    async def _list_tools(self, asked: Asked) -> None:
        """List all tools, in the revision and for the client of a call."""
        params: Members = {eras.META: asked.params[eras.META]}
        for _ in range(_MOST_PAGES):
            body = {"jsonrpc": "2.0", "id": _LIST_ID, "method": eras.LIST_TOOLS, "params": params}
            line = jsonrpc.encode(body)
            members = jsonrpc.split(line)
            request = Request(members["id"], eras.LIST_TOOLS, members)
            one = self._exchanges.ask(request, params, line)
            one.is_own = True
            await self._post(one)
            cursor = None if one.own is None else tool_rules.cursor_in(one.own)
            if cursor is None:
                return
            params = {**params, "cursor": cursor}

    def _intercept(self, asked: Asked, response: Response, line: bytes) -> bytes:
        listed = asked.request.method == eras.LIST_TOOLS and not response.is_error
        return self._tools.learn(response, line) if listed else line

    def _refused(self, asked: Asked, refusal: Refusal) -> None:
        """Tell whoever asked; or all, when the server never answered anything."""
        if not self._owner.heard and not is_about_era(refusal.status):
            self._owner.gone(refusal.fault)
        elif refusal.response is not None:
            self._exchanges.answer(asked, *refusal.response)
        else:
            self._exchanges.fail(asked, refusal.fault)
