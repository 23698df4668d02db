"""The control socket: what `mcpnatsd status` and `reload` ask, also while NATS is away."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

MOST_REQUEST_BYTES: Final = 4096
REQUEST_TIMEOUT: Final = 5.0
ANSWER_TIMEOUT: Final = 300.0
"""Seconds that a verb may take: a reload waits for the one before it."""

Verb = Callable[[], Awaitable[Mapping[str, object]]]


class ControlSocket:
    """Answers one line of JSON with one line of JSON. Only this user can open it."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._answer, str(self._path), limit=MOST_REQUEST_BYTES
        )
        self._path.chmod(0o600)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                line = await reader.readline()
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await self._reply_to(line)
            async with asyncio.timeout(REQUEST_TIMEOUT):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError) as error:
            log.debug("control request failed", extra={"error": str(error)})
        finally:
            writer.close()

    async def _reply_to(self, line: bytes) -> Mapping[str, object]:
        try:
            name = json.loads(line)["verb"]
        except (ValueError, KeyError, TypeError):
            return {"error": 'send {"verb": …} and a newline'}
        verb = self._verbs.get(name) if isinstance(name, str) else None
        if verb is None:
            return {"error": f"unknown verb {name!r}; known: {', '.join(self._verbs)}"}
        return await verb()
