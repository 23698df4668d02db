"""An authorization server for tests: what it signs, and the keys that say so."""

import asyncio
import json
import time
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://auth.example.com"
AUDIENCE = "https://mcp.example.com"


class Issuer:
    """An authorization server's keys, served over HTTP."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.fetched = 0
        self.port = 0

    @property
    def trust(self) -> dict[str, str]:
        """Return what a gateway is told of it."""
        keys = f"http://127.0.0.1:{self.port}/keys"
        return {"jwks": keys, "issuer": ISSUER, "audience": AUDIENCE}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.fetched += 1
        public = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        body = json.dumps({"keys": [{**public, "kid": "one", "alg": "RS256"}]}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    def token(self, *, key: Any = None, kid: str = "one", **claims: Any) -> str:
        now = int(time.time())
        found = {"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, **claims}
        present = {name: value for name, value in found.items() if value is not None}
        return jwt.encode(present, key or self.key, algorithm="RS256", headers={"kid": kid})
