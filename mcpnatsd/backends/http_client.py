"""HTTP requests to one server: its connections, our headers, what can go wrong.

Of httpcore2, the part of the SDK's HTTP client that speaks HTTP and does nothing else: it follows
no redirect, keeps no cookie, and reads no proxy out of the environment by itself.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2

from mcpnatsd.backends.http_network import Network
from mcpnatsd.backends.presence import BROKEN, UNREACHABLE
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.errors import ProcessDied, RemoteProtocolError

CONNECT_TIMEOUT: Final = 10.0
WRITE_TIMEOUT: Final = 60.0
"""Seconds in which a server takes the next piece of a request's body."""

REUSE_FOR: Final = 4.0
"""Seconds for which an idle connection is kept: usual servers close one after five."""

CHECK_EVERY: Final = 5.0
"""Seconds for which the answer to "is it there?" is good."""

_TIMEOUTS: Final = {"connect": CONNECT_TIMEOUT, "write": WRITE_TIMEOUT, "pool": CONNECT_TIMEOUT}
_PORTS: Final = {"http": 80, "https": 443}
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
)
"""A stream may be silent for hours: this is how a host that vanished is told from one."""


Headers = Iterable[tuple[str, str]]


class Unreachable(ProcessDied):
    """No connection could be opened, so the request never left."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose body is still to be read."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""

    chunks: AsyncGenerator[bytes]

    @property
    def ok(self) -> bool:
        return self.status // 100 == 2  # noqa: PLR2004

    @property
    def kind(self) -> str:
        """The media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpClient:
    """Connections to one server, shared by all who speak to it."""

    def __init__(self, config: ServerConfig) -> None:
        self.url = config.url or ""
        self._url = urlsplit(self.url)
        self._headers = {name.lower(): value for name, value in config.headers.items()}
        self._proxy = _proxy_for(self._url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        # A pool looks at all its connections for each request: a thousand streams cost a call
        # more than its answer. So they have a pool of their own.
        self._calls, self._streams = self._pool(), self._pool()
        self._now = asyncio.get_running_loop().time
        self._checking = asyncio.Lock()
        self._checked_at = self._now() - CHECK_EVERY

    @property
    def where(self) -> str:
        """The URL as a log may show it: a query may hold a secret."""
        return masked(self._url)

    @property
    def is_proxied(self) -> bool:
        return self._proxy is not None

    def within(self, reference: str) -> str:
        """Return the URL that a server refers to.

        Raises:
            RemoteProtocolError: It is on another host: our headers are not for that.
        """
        url = urlsplit(urljoin(self.url, reference))
        if _origin(url) != _origin(self._url):
            raise RemoteProtocolError(f"sends us to another origin, {masked(url)}")
        return url.geturl()

    @asynccontextmanager
    async def post(
        self, body: bytes, headers: Headers, url: str = "", *, lasting: bool = False
    ) -> AsyncIterator[Answer]:
        """Send a message; what comes back is open until the block ends, which may be for ever.

        Raises:
            Unreachable: There is nobody.
            ProcessDied: The connection broke.
        """
        ours = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        pool = self._streams if lasting else self._calls
        async with self._open(pool, "POST", url, [*ours, *headers], body) as answer:
            yield answer

    @asynccontextmanager
    async def get(self, headers: Headers) -> AsyncIterator[Answer]:
        """Open an event stream. Raises as `post` does."""
        ours = [("accept", "text/event-stream"), ("cache-control", "no-store")]
        async with self._open(self._streams, "GET", "", [*ours, *headers]) as answer:
            yield answer

    async def delete(self, headers: Headers) -> None:
        """Say that a session is over. Raises as `post` does."""
        async with self._open(self._calls, "DELETE", "", headers):
            pass

    async def check(self, *, within: float = CHECK_EVERY) -> None:
        """Find out whether anybody listens there, without a request.

        An answer is good for so many seconds. What is behind a proxy cannot be asked so.

        Raises:
            Unreachable: There is nobody.
        """
        async with self._checking:
            if self.is_proxied or self._now() - self._checked_at < within:
                return
            host, port = _origin(self._url)[1:]
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    _, writer = await asyncio.open_connection(host, port)
            except (OSError, TimeoutError, UnicodeError) as error:
                raise self._unreachable(error) from None
            self._checked_at = self._now()
            writer.transport.abort()

    async def close(self) -> None:
        await self._calls.aclose()
        await self._streams.aclose()
        await asyncio.sleep(0)  # for the transports to see it

    def _pool(self) -> httpcore2.AsyncConnectionPool:
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._tls,
            proxy=None if self._proxy is None else _proxy(self._proxy),
            max_connections=None,
            keepalive_expiry=REUSE_FOR,
            socket_options=_KEEPALIVE,
            network_backend=Network(),
        )

    @asynccontextmanager
    async def _open(
        self,
        pool: httpcore2.AsyncConnectionPool,
        method: str,
        url: str,
        headers: Headers,
        body: bytes = b"",
    ) -> AsyncIterator[Answer]:
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    pool.stream(
                        method,
                        _bare(url or self.url),
                        headers=self._encoded(headers),
                        content=body or None,
                        extensions={"timeout": _TIMEOUTS},
                    )
                )
            except _NEVER_SENT as error:
                raise self._unreachable(error) from None
            except _BROKEN as error:
                raise self._broken(error) from None
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            yield Answer(response.status, found, self._chunks(response))

    async def _chunks(self, response: httpcore2.Response) -> AsyncGenerator[bytes]:
        try:
            async for chunk in response.aiter_stream():
                yield chunk
        except _BROKEN as error:
            raise self._broken(error) from None

    def _encoded(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Return all headers of a request. The operator's win over ours, but not over MCP's."""
        host = self._url.netloc
        every = {
            "host": host,
            "user-agent": "mcpnatsd",
            "accept-encoding": "identity",
            **self._headers,
        }
        every.update((name.lower(), value) for name, value in headers)
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in every.items()]

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"{UNREACHABLE} {self.where}: {_reason(error)}")

    def _broken(self, error: BaseException) -> ProcessDied:
        return ProcessDied(f"{BROKEN} {self.where}: {_reason(error)}")


_NEVER_SENT: Final = (
    httpcore2.ConnectError,
    httpcore2.ConnectTimeout,
    httpcore2.PoolTimeout,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)
_BROKEN: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


def masked(url: SplitResult) -> str:
    """Return a URL without what may be a secret."""
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _bare(url: str) -> str:
    return urlsplit(url)._replace(fragment="").geturl()


def _origin(url: SplitResult) -> tuple[str, str, int]:
    scheme = url.scheme.lower()
    return scheme, url.hostname or "", url.port or _PORTS.get(scheme, 0)


def _reason(error: BaseException) -> str:
    """Return what the system says, without the wrapping."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]  # one for each address
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, socket.gaierror):
            return "its name is not known"
        if isinstance(cause, UnicodeError):
            return "its name is none that a host can have"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error) or "it did not answer in time"


def _proxy_for(url: SplitResult) -> str | None:
    """Return the proxy that the environment names for a URL. This machine is never behind one."""
    host = url.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    found = getproxies()
    return found.get(url.scheme) or found.get("all")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy(url: str) -> httpcore2.Proxy:
    split = urlsplit(url if "://" in url else f"http://{url}")
    auth = None if split.username is None else (split.username, split.password or "")
    host = split.netloc.rpartition("@")[2]
    return httpcore2.Proxy(url=f"{split.scheme}://{host}", auth=auth)
