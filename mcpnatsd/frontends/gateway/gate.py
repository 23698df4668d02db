"""Who may come in over HTTP: names and origins, bearer tokens, how much at once."""

import hashlib
import logging
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from mcpnatsd.config.model import HttpEndpoint
from mcpnatsd.errors import ConfigError, HttpRefused
from mcpnatsd.frontends.gateway.http_request import HttpHead
from mcpnatsd.protocol.http_rules import Visitors

log = logging.getLogger(__name__)

ANYBODY: Final = ""
"""Who comes where no token is asked for."""

METADATA: Final = "/.well-known/oauth-protected-resource"
"""Where a client learns who issues the tokens (RFC 9728)."""

_LOOPBACK: Final = ("127.", "[::1]", "localhost")


Version = tuple[int, int, int]
"""Of a file: when it was changed, in itself and in what is known of it, and its size."""


class Verifier(Protocol):
    """Tells who sent a signed token."""

    async def principal(self, token: str) -> str | None: ...


class Gate:
    """What each request passes first."""

    def __init__(self, endpoint: HttpEndpoint, verifier: Verifier | None) -> None:
        self.open = endpoint.tokens is None and endpoint.jwt is None
        """Whether anybody may come."""

        self._verifier = verifier
        self._tokens = None if endpoint.tokens is None else TokenFile(Path(endpoint.tokens))
        host = endpoint.address.rpartition(":")[0]
        local = host.startswith(_LOOPBACK)
        own = (host.strip("[]"),) if host not in ("0.0.0.0", "[::]") else ()  # noqa: S104
        self._visitors = Visitors(
            hosts=(*endpoint.hosts, *own),
            origins=endpoint.origins,
            any_host=not local and not endpoint.hosts and not own,
        )
        self._metadata = metadata_url(endpoint.jwt.audience) if endpoint.jwt else ""
        if self.open and not local:
            facts = {"listen": endpoint.address}
            text = "anybody who reaches this listener may use it: give it `tokens` or `jwt`"
            log.warning(text, extra=facts)

    def check_place(self, http: HttpHead) -> None:
        """Refuse a request for another name, or of a page that may not come.

        Raises:
            HttpRefused: It is refused.
        """
        self._visitors.check(http.headers)
        origin = http.headers.get("origin")
        if origin:
            http.extra += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", b"Mcp-Session-Id, WWW-Authenticate"),
                (b"vary", b"Origin"),
            ]

    def principal_at_once(self, http: HttpHead) -> str | None:
        """Return the name of who sent a request; None if somebody must be asked for it.

        Raises:
            HttpRefused: Its token is missing, or nobody's.
        """
        if self.open:
            return ANYBODY
        token = self._token(http)
        found = self._tokens.principal(token) if self._tokens is not None else None
        if found is None and self._verifier is None:
            raise self._unknown()
        return found

    async def principal(self, http: HttpHead) -> str:
        """Return the name of who sent a request.

        Raises:
            HttpRefused: Its token is missing, or nobody's.
        """
        found = self.principal_at_once(http)
        if found is None and self._verifier is not None:
            found = await self._verifier.principal(self._token(http))
        if found is None:
            raise self._unknown()
        return found

    def _token(self, http: HttpHead) -> str:
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._unauthorized("send Authorization: Bearer, and a token", "")
        return token.strip()

    def _unknown(self) -> HttpRefused:
        return self._unauthorized("this token is not known here", 'error="invalid_token"')

    def _unauthorized(self, text: str, error: str) -> HttpRefused:
        place = f'resource_metadata="{self._metadata}"' if self._metadata else ""
        parameters = ", ".join(one for one in (place, error) if one)
        return HttpRefused(401, text, {"www-authenticate": f"Bearer {parameters}".rstrip()})


def metadata_url(resource: str) -> str:
    """Return where a client learns who issues the tokens; nothing if the resource is no URL.

    RFC 9728, 3.1: between "the host component and the path and/or query components".
    """
    try:
        url = urlsplit(resource)
    except ValueError:
        return ""
    if url.scheme not in ("http", "https") or not url.netloc or '"' in resource:
        return ""
    path = "" if url.path == "/" else url.path
    return url._replace(path=METADATA + path, fragment="").geturl()


class TokenFile:
    """Static tokens: a line each, `who token`. It is read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: Version | None = None
        self._principals: dict[bytes, str] = {}
        self._said = ""
        """The fault that the log named last, until there is none."""

        self.read()

    def read(self) -> None:
        """Read the file.

        Raises:
            ConfigError: It cannot be read, or holds something else.
        """
        try:
            version = _version_of(self._path)
            data = self._path.read_bytes()
            self._read_at = version  # what is wrong in it will be so until it changes
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"tokens of {self._path} cannot be read: {error}") from None
        self._principals = self._entries(text)

    def _entries(self, text: str) -> dict[bytes, str]:
        entries: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2:  # noqa: PLR2004
                raise ConfigError(f"{self._path}:{number}: expected who it is, and one token")
            name, digest = words[0], _digest(words[1])
            if entries.setdefault(digest, name) != name:
                raise ConfigError(f"{self._path}:{number}: this token is somebody else's already")
        return entries

    def principal(self, token: str) -> str | None:
        """Return whose token it is. What is looked up is its hash: timing tells nothing."""
        self._refresh()
        return self._principals.get(_digest(token.strip()))

    def _refresh(self) -> None:
        try:
            if _version_of(self._path) != self._read_at:
                self.read()
                log.info("tokens read again", extra={"path": str(self._path)})
            self._said = ""
        except (OSError, ConfigError) as fault:
            # Who was let in stays in: half a file must not lock everybody out.
            self._tell(str(fault))

    def _tell(self, fault: str) -> None:
        """Log a fault once, and not with each request."""
        if fault != self._said:
            self._said = fault
            log.error("tokens not read", extra={"path": str(self._path), "error": fault})


def _version_of(path: Path) -> Version:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
