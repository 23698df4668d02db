"""Keys of an authorization server that is slow, silent or wrong: who is known comes in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mcpnatsd.config.model import JwtConfig
from mcpnatsd.frontends.gateway import signed_tokens
from mcpnatsd.frontends.gateway.signed_tokens import (
    FETCH_AGAIN_AFTER,
    KEYS_FOR,
    LONG_SILENCE,
    SignedTokens,
)
from tests.issuer import Issuer
from tests.waiting import until

BOUND = 30.0


class SlowIssuer(Issuer):
    """It may take its time, or say something else."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = 0
        self.instead = b""
        self.dripping = False
        """Whether a byte follows now and then, until nobody takes it any more."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        await self.answering.wait()
        if not self.instead:
            await super()._answer(reader, writer)
            return
        await reader.readuntil(b"\r\n\r\n")
        try:
            writer.write(self.instead)
            while self.dripping:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            self.dripping = False
        writer.close()


class Clock:
    """The loop's clock, moved on at will."""

    def __init__(self, tokens: SignedTokens) -> None:
        self._ahead = 0.0
        tokens._now = self.now

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self._ahead

    def move(self, seconds: float) -> None:
        self._ahead += seconds


@asynccontextmanager
async def trusting() -> AsyncIterator[tuple[SignedTokens, SlowIssuer, Clock]]:
    """Yield what has fetched the keys once."""
    async with SlowIssuer() as issuer, asyncio.TaskGroup() as group, asyncio.timeout(BOUND):
        config = msgspec.convert(issuer.trust, JwtConfig)
        tokens = SignedTokens(config, group.create_task)
        clock = Clock(tokens)
        assert await tokens.principal(issuer.token()) == "alice"
        try:
            yield tokens, issuer, clock
        finally:
            issuer.answering.set()


async def test_nobody_whose_key_is_known_waits_for_an_issuer_that_does_not_answer() -> None:
    async with trusting() as (tokens, issuer, clock):
        issuer.answering.clear()
        clock.move(KEYS_FOR)
        for _ in range(5):
            assert await tokens.principal(issuer.token()) == "alice"
        await until(lambda: issuer.asked == 2)
        assert await tokens.principal(issuer.token()) == "alice"
        assert issuer.fetched == 1  # it never answered, and everybody was let in

        issuer.answering.set()
        await until(lambda: issuer.fetched == 2)


async def test_somebody_with_an_unknown_key_waits_for_it_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with trusting() as (tokens, issuer, clock):
        monkeypatch.setattr(signed_tokens, "FETCH_WITHIN", 0.1)
        issuer.answering.clear()
        clock.move(FETCH_AGAIN_AFTER)
        assert await tokens.principal(issuer.token(kid="two")) is None
        assert await tokens.principal(issuer.token()) == "alice"
        await until(lambda: issuer.asked == 2)


async def test_after_a_long_silence_nobody_comes_in_with_a_key_that_was_withdrawn() -> None:
    async with trusting() as (tokens, issuer, clock):
        old = issuer.token()
        issuer.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        clock.move(LONG_SILENCE)

        assert await asyncio.gather(*(tokens.principal(old) for _ in range(3))) == [None] * 3
        assert await tokens.principal(issuer.token()) == "alice"


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\n\r\n[1]", b'HTTP/1.1 200 OK\r\n\r\n{"keys":[1]}',
     b'HTTP/1.1 200 OK\r\n\r\n{"keys":{}}', b"HTTP/1.1 500 No\r\n\r\n"],
)  # fmt: skip
async def test_whatever_an_issuer_says_instead_of_keys_those_that_are_known_go_on(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with trusting() as (tokens, issuer, clock):
        issuer.instead = said
        clock.move(LONG_SILENCE)
        assert await tokens.principal(issuer.token()) == "alice"
        assert issuer.asked == 2
        assert "keys not fetched" in caplog.text


async def test_keys_that_come_a_byte_at_a_time_are_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(signed_tokens, "FETCH_WITHIN", 1.0)
    async with trusting() as (tokens, issuer, clock):
        issuer.instead, issuer.dripping = b"HTTP/1.1 200 OK\r\n\r\n", True
        clock.move(FETCH_AGAIN_AFTER)
        assert await tokens.principal(issuer.token(kid="two")) is None
        await until(lambda: "keys not fetched" in caplog.text)
        await until(lambda: not issuer.dripping)
