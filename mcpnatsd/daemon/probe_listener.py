"""A small HTTP listener for probes: short questions, short answers, one a connection.

It is no gateway: no bodies, no keep-alive, no TLS. So a sidecar needs no HTTP server for it.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from mcpnatsd.errors import ConfigError

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 64
"""At the same time; and as many whose answers are waited for. The oldest makes room for the next:
who connects and is silent must not keep a kubelet from asking whether we live."""

MOST_HEAD_BYTES: Final = 8192
HEAD_TIMEOUT: Final = 5.0
WRITE_TIMEOUT: Final = 10.0

LAST_PORT: Final = 65535

LINGER: Final = 1.0
MOST_REFUSED_READS: Final = 16
"""Seconds, and pieces, that are read of what was refused."""

PLAIN: Final = "text/plain; charset=utf-8"

Peer = IPv4Address | IPv6Address


class Question(NamedTuple):
    """One HTTP request, as far as it matters here."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By their names in lower case."""

    peer: Peer


class Reply(NamedTuple):
    """What it is answered."""

    status: HTTPStatus
    text: str
    kind: str = PLAIN


Answer = Callable[[Question], Awaitable[Reply]]

_Held = dict[asyncio.Task[None], None]
"""Connections, the oldest first."""


class ProbeListener:
    """One address, open until it is closed."""

    def __init__(self, address: str, answer: Answer, waits: Collection[str] = ()) -> None:
        """Take where to listen; `answer` is asked for each question.

        Of the paths in `waits` the answers may take long: those who ask are counted for themselves.
        """
        self.address = address
        self._answer = answer
        self._waits = waits
        self._server: asyncio.Server | None = None
        self._unread: _Held = {}
        """Those that have not said yet what they want."""

        self._asking: _Held = {}
        self._waiting: _Held = {}

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address cannot be had.
        """
        listening = _bound(self.address)
        port = listening.getsockname()[1]  # the file may say 0: any free one
        self.address = f"{self.address.rpartition(':')[0]}:{port}"
        self._server = await asyncio.start_server(
            self._serve, sock=listening, limit=MOST_HEAD_BYTES
        )
        log.info("metrics listener open", extra={"http": f"http://{self.address}"})

    def close(self) -> None:
        """Stop listening, and let go of who still waits."""
        if self._server is not None:
            self._server.close()
        for task in (*self._unread, *self._asking, *self._waiting):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = _own_task()
        _make_room(self._unread, self._asking)
        self._unread[task] = None
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, EOFError, asyncio.CancelledError) as error:
            log.debug("probe not answered", extra={"error": repr(error)})
            writer.transport.abort()  # a close would wait until what was written is read
        finally:
            for held in (self._unread, self._asking, self._waiting):
                held.pop(task, None)
            writer.close()

    def _has_asked(self, path: str) -> None:
        """Count this connection by what it wants."""
        task = _own_task()
        self._unread.pop(task, None)
        if path in self._waits:
            _make_room(self._waiting)
            self._waiting[task] = None
        else:
            self._asking[task] = None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            reply = Reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
            await _refuse(reader, writer, reply)
            return
        question = _question(head.decode("latin-1"), writer)
        if question is None:
            await _refuse(reader, writer, Reply(HTTPStatus.BAD_REQUEST, "this is not HTTP/1"))
        elif _has_body(question):
            reply = Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no body is taken here")
            await _refuse(reader, writer, reply)
        else:
            self._has_asked(question.path)
            await _write(writer, await self._reply_to(question), question.method)

    async def _reply_to(self, question: Question) -> Reply:
        try:
            return await self._answer(question)
        except Exception:
            log.exception("a probe failed", extra={"path": question.path})
            return Reply(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed: see the log")


def _own_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # for the type: asyncio runs each connection in one
    return task


def _make_room(*holds: _Held) -> None:
    """End the oldest connection of the first hold that has one, when together they are full."""
    if sum(map(len, holds)) >= MOST_CONNECTIONS:
        fullest = next(held for held in holds if held)
        oldest = next(iter(fullest))
        del fullest[oldest]
        oldest.cancel()


def _bound(address: str) -> socket.socket:
    """Return a socket that listens; `[::]` is for IPv4 too, where the system can."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if int(port) > LAST_PORT:
        raise _not_had(address, f"a port is at most {LAST_PORT}")
    try:
        return _listening(host, int(port))
    except OSError as error:
        if host == "::" and error.errno == errno.EAFNOSUPPORT:
            # "All addresses", and this system has none of IPv6.
            return _bound(f"0.0.0.0:{port}")
        raise _not_had(address, str(error)) from None


def _listening(host: str, port: int) -> socket.socket:
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


def _not_had(address: str, reason: str) -> ConfigError:
    return ConfigError(f"metrics.listen: {address} cannot be listened on: {reason}")


def _question(head: str, writer: asyncio.StreamWriter) -> Question | None:
    first, *lines = head.split("\r\n")
    pieces = first.split(" ")
    if len(pieces) != 3 or not pieces[2].startswith("HTTP/1."):  # noqa: PLR2004
        return None
    method, target, _ = pieces
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Question(method, target.partition("?")[0], headers, _peer(writer))


def _has_body(question: Question) -> bool:
    length = question.headers.get("content-length", "0")
    return "transfer-encoding" in question.headers or bool(length.strip("0"))


def _peer(writer: asyncio.StreamWriter) -> Peer:
    """Return who asks; a listener for both families shows IPv4 inside of IPv6."""
    found = ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Answer before all was read, and read a little on: else the answer is lost in a reset."""
    await _write(writer, reply, "GET")
    writer.write_eof()
    async with asyncio.timeout(LINGER):
        for _ in range(MOST_REFUSED_READS):
            if not await reader.read(MOST_HEAD_BYTES):
                return


async def _write(writer: asyncio.StreamWriter, reply: Reply, method: str) -> None:
    body = f"{reply.text.rstrip()}\n".encode()
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        f"Content-Type: {reply.kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + (b"" if method == "HEAD" else body))
    async with asyncio.timeout(WRITE_TIMEOUT):
        await writer.drain()
