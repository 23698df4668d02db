"""Bearer tokens that an authorization server signed: JWT, checked against its published keys.

2026-07-28, Basic, Authorization: a server checks that a token was issued for it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final
from urllib.request import urlopen

import jwt
import msgspec
from jwt import PyJWK, PyJWKSet

from mcpnatsd.config.model import JwtConfig

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""No symmetric ones: what is published would be the key to sign with."""

KEYS_FOR: Final = 300.0
"""Seconds until the keys are fetched again."""

FETCH_AGAIN_AFTER: Final = 10.0
"""Seconds between two fetches, however many tokens name keys that nobody knows."""

LONG_SILENCE: Final = 2 * KEYS_FOR
"""Seconds without a fetch after which nobody is let in before the next one."""

FETCH_WITHIN: Final = 5.0
LEEWAY: Final = 10
MOST_TOKEN: Final = 16384
MOST_KEYS_BYTES: Final = 1 << 20


class SignedTokens:
    """Says who sent a token."""

    def __init__(
        self,
        config: JwtConfig,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """`spawn` runs what must be waited for, until the listener ends."""
        self._config = config
        self._spawn = spawn
        self._keys: dict[str | None, PyJWK] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._awaited = False
        """Whether those whose keys are known wait for it too."""

        self._now = asyncio.get_running_loop().time
        self._fetched_at = self._tried_at = -LONG_SILENCE

    async def principal(self, token: str) -> str | None:
        """Return the subject of a token that is right; None for any other."""
        if len(token) > MOST_TOKEN:
            return None
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            log.info("token refused", extra={"error": str(error)})
            return None
        return str(claims["sub"]) or None  # without a name it is nobody's

    async def _key(self, kid: str | None) -> PyJWK | None:
        self._fetch_if_due(kid)
        if self._fetching is not None and (self._awaited or kid not in self._keys):
            left = self._tried_at + FETCH_WITHIN - self._now()
            await asyncio.wait({self._fetching}, timeout=max(left, 0))
        return self._keys.get(kid)

    def _fetch_if_due(self, kid: str | None) -> None:
        now = self._now()
        wanted = kid not in self._keys or now - self._fetched_at >= KEYS_FOR
        silence = now - self._tried_at
        if wanted and self._fetching is None and silence >= FETCH_AGAIN_AFTER:
            # Meanwhile a key may have been withdrawn.
            self._awaited = silence >= LONG_SILENCE
            self._tried_at = now
            self._fetching = self._spawn(self._fetch())

    async def _fetch(self) -> None:
        """Fetch the keys. When that fails, those that are known go on."""
        try:
            body = await asyncio.to_thread(_read, self._config.jwks)
            found = PyJWKSet.from_dict(msgspec.json.decode(body, type=dict[str, object]))
        except Exception as error:  # noqa: BLE001  (whatever is published, the listener goes on)
            log.warning("keys not fetched", extra={"jwks": self._config.jwks, "error": str(error)})
        else:
            self._keys = {key.key_id: key for key in found.keys}
            if len(found.keys) == 1:
                self._keys[None] = found.keys[0]
            self._fetched_at = self._now()
        finally:
            self._fetching = None


def _read(url: str) -> bytes:
    """Return what is there. One that sends a byte now and then is not waited for any longer."""
    until = monotonic() + FETCH_WITHIN
    found = b""
    with urlopen(url, timeout=FETCH_WITHIN) as answer:  # noqa: S310  (the schema wants http or https)
        while len(found) < MOST_KEYS_BYTES and (more := answer.read1(MOST_KEYS_BYTES)):
            found += more
            if monotonic() > until:
                raise TimeoutError("the keys did not arrive in time")
    return found
