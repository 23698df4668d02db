"""The way of clients that speak HTTP, to the gateway of a daemon."""

import asyncio
import json
import random

import httpx2

from tests.gateways import BOTH, LEGACY, MODERN, events_of
from tests.soak.client import Client

GONE = 404
ACCEPTED = 202
BOUND = 100.0
"""Longer than any call may take: whether one hangs is not judged here."""


class HttpWay:
    """One client, one call at a time."""

    def __init__(self, client: Client, rng: random.Random, http: httpx2.AsyncClient) -> None:
        self.client = client
        self._rng = rng
        self._http = http
        self._path = f"/mcp/{client.who.server.name}"
        self._session = ""
        self._sent: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._leaving = False

    async def run(self) -> None:
        while True:
            self._leaving = False
            self._session = ""
            self._sent = asyncio.Queue(64)
            self.client.connected(self._sent.put_nowait)
            try:
                while not self._leaving:
                    await self._post(await self._sent.get())
            except httpx2.HTTPError as error:
                self.client.cut("left" if self._leaving else "cut")
                _ = error
            else:
                self.client.cut("left")
            await asyncio.sleep(self._rng.uniform(0.2, 0.8))

    def vanish(self) -> None:
        """Leave without a word; the session stays behind."""
        self._leaving = True
        self._sent.put_nowait(b'{"jsonrpc":"2.0","method":"notifications/nothing"}')

    leave = vanish

    async def _post(self, line: bytes) -> None:
        message = json.loads(line)
        if self._leaving:
            return
        response = await self._http.post(
            self._path, content=line, headers=self._headers(message), timeout=BOUND
        )
        if response.status_code == GONE and self._session:
            raise httpx2.HTTPError("the session is gone")
        self._session = response.headers.get("mcp-session-id", self._session)
        if response.status_code == ACCEPTED:
            return
        for found in messages(response):
            self.client.receive(json.dumps(found).encode())

    def _headers(self, message: dict[str, object]) -> dict[str, str]:
        found = {"accept": BOTH, "content-type": "application/json"}
        if self.client.who.era == "modern":
            method = str(message["method"])
            found |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            if method == "tools/call":
                found["mcp-name"] = "echo"
        elif self._session:
            found |= {"mcp-session-id": self._session, "mcp-protocol-version": LEGACY}
        return found


def messages(response: httpx2.Response) -> list[dict[str, object]]:
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        return events_of(response.text)
    return [response.json()]
