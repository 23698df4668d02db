"""Who may come in over HTTP: names and origins, bearer tokens, how much at once."""

import hashlib
import logging
from pathlib import Path
from typing import Final, Protocol

from mcpnatsd.config.model import HttpEndpoint
from mcpnatsd.errors import ConfigError, HttpRefused
from mcpnatsd.frontends.gateway.http_request import HttpHead
from mcpnatsd.protocol.http_rules import Visitors

log = logging.getLogger(__name__)

ANYBODY: Final = ""
"""Who comes where no token is asked for."""

_LOOPBACK: Final = ("127.", "[::1]", "localhost")


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
        self._metadata = endpoint.jwt.audience if endpoint.jwt else ""
        if self.open and not local:
            log.warning("anybody who reaches this listener may use it: give it `tokens` or `jwt`")

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
        return self._unauthorized("this token is not known here", ', error="invalid_token"')

    def _unauthorized(self, text: str, error: str) -> HttpRefused:
        place = ""
        if self._metadata:
            url = f"{self._metadata.rstrip('/')}/.well-known/oauth-protected-resource"
            place = f' resource_metadata="{url}"'
        return HttpRefused(401, text, {"www-authenticate": f"Bearer{place}{error}".strip(",")})


class TokenFile:
    """Static tokens: a line each, `who token`. It is read again when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = (0, 0)
        self._principals: dict[bytes, str] = {}
        self.read()

    def read(self) -> None:
        """Read the file.

        Raises:
            ConfigError: It cannot be read, or holds something else.
        """
        try:
            found = self._path.stat()
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"tokens of {self._path} cannot be read: {error}") from None
        self._principals = self._entries(text)
        self._read_at = (found.st_mtime_ns, found.st_size)

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
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_size) != self._read_at:
                self.read()
                log.info("tokens read again", extra={"path": str(self._path)})
        except (OSError, ConfigError) as fault:
            # Who was let in stays in: half a file must not lock everybody out.
            facts = {"path": str(self._path), "error": str(fault)}
            log.error("tokens not read", extra=facts)  # noqa: TRY400


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
