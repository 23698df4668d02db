"""Bearer tokens that an authorization server signed: JWT, checked against its published keys.

2026-07-28, Basic, Authorization: a server checks that a token was issued for it.
"""

import asyncio
import logging
from typing import Final
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

FETCH_WITHIN: Final = 5.0
LEEWAY: Final = 10
MOST_TOKEN: Final = 16384
MOST_KEYS_BYTES: Final = 1 << 20


class SignedTokens:
    """Says who sent a token."""

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._keys: dict[str | None, PyJWK] = {}
        self._fetching = asyncio.Lock()
        self._now = asyncio.get_running_loop().time
        self._fetched_at = self._tried_at = -KEYS_FOR

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
        now = self._now()
        stale = now - self._fetched_at >= KEYS_FOR
        if (stale or kid not in self._keys) and now - self._tried_at >= FETCH_AGAIN_AFTER:
            async with self._fetching:
                if self._now() - self._tried_at >= FETCH_AGAIN_AFTER:
                    await self._fetch()
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        """Fetch the keys. When that fails, those that are known go on."""
        try:
            body = await asyncio.to_thread(_read, self._config.jwks)
            found = PyJWKSet.from_dict(msgspec.json.decode(body, type=dict[str, object]))
        except (OSError, ValueError, jwt.PyJWTError) as error:
            log.warning("keys not fetched", extra={"jwks": self._config.jwks, "error": str(error)})
        else:
            self._keys = {key.key_id: key for key in found.keys}
            if len(found.keys) == 1:
                self._keys[None] = found.keys[0]
            self._fetched_at = self._now()
        self._tried_at = self._now()


def _read(url: str) -> bytes:
    with urlopen(url, timeout=FETCH_WITHIN) as answer:  # noqa: S310  (the schema wants http or https)
        body: bytes = answer.read(MOST_KEYS_BYTES)
        return body
