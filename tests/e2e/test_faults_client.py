"""What clients do wrong, and what they may do: vanish, not read, cancel, ask too much."""

import asyncio
import os
import signal
import socket as sockets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.connections import plain
from tests.e2e.clients import (
    BOTH_ERAS,
    ask,
    cancel,
    client,
    introduce,
    pid_of_server,
    refusal,
    socket,
    status_of,
    works,
)
from tests.processes import gone, resident_bytes, state
from tests.running import META, daemon, encoded, server, shim, text_of
from tests.waiting import until

THIN = {"thin": server("thin")}
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a unix socket reaches `thin`, in a daemon that has this endpoint."""
    return tmp_path / "thin.sock"


def endpoints(path: Path) -> list[dict[str, str]]:
    return [{"unix": str(path), "server": "thin"}]


# Vanishing.


async def test_who_vanishes_is_noticed_within_a_minute_and_who_only_waits_stays(
    tmp_path: Path,
) -> None:
    """One test for both eras, since it must sit out the 45 seconds."""
    async with (
        daemon(tmp_path, {**THIN, "full": server("thin")}),
        await shim(tmp_path, "thin") as modern,
        await shim(tmp_path, "thin") as legacy,
        client(tmp_path, "full", "legacy") as held,
    ):
        ask(modern, "modern", "sleep", seconds=600)
        await introduce(legacy, "legacy")
        session = await pid_of_server(legacy, "legacy")
        ask(legacy, "legacy", "sleep", seconds=600)
        await status_of(tmp_path, "thin", in_flight=2, sessions=1)
        frozen = await pid_of_server(held, "legacy")
        os.kill(frozen, signal.SIGSTOP)
        await until(lambda: state(frozen) == "T")
        waiting = [ask(held, "legacy", "echo", text="x" * 2_000_000) for _ in range(5)]

        modern.kill()
        legacy.kill()

        await gone(session, bound=75.0)
        await status_of(tmp_path, "thin", bound=30.0, in_flight=0, sessions=0)
        os.kill(frozen, signal.SIGCONT)
        for id in waiting:
            assert len(text_of(await held.answer(id))) == 2_000_000
        assert await pid_of_server(held, "legacy") == frozen


async def test_a_socket_that_is_torn_down_takes_its_calls_and_its_session_along(
    tmp_path: Path, path: Path
) -> None:
    async with daemon(tmp_path, THIN, endpoints=endpoints(path)):
        async with socket(path) as modern, socket(path, "legacy") as legacy:
            session = await pid_of_server(legacy, "legacy")
            ask(modern, "modern", "sleep", seconds=600)
            ask(legacy, "legacy", "sleep", seconds=600)
            await status_of(tmp_path, "thin", in_flight=2, sessions=1)

        await gone(session)
        await status_of(tmp_path, "thin", in_flight=0, sessions=0)
        async with socket(path) as next_one:
            await works(next_one, "modern")


@BOTH_ERAS
async def test_a_shim_whose_host_closes_its_end_leaves_nothing_behind(
    tmp_path: Path, era: str
) -> None:
    async with daemon(tmp_path, THIN), await shim(tmp_path, "thin") as one:
        await introduce(one, era)
        ask(one, era, "sleep", seconds=600)
        await status_of(tmp_path, "thin", in_flight=1)

        one.process.terminate()

        assert await one.ended() == 0
        await status_of(tmp_path, "thin", in_flight=0, sessions=0)


# Reading slowly.


class Deaf:
    """A client that sends, and reads only when it is told to."""

    def __init__(self, path: Path) -> None:
        self._socket = sockets.socket(sockets.AF_UNIX)
        self._socket.settimeout(30.0)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def ask(self, id: int, method: str, **params: Any) -> None:
        self.write({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def write(self, message: dict[str, Any]) -> None:
        self._socket.sendall(encoded(message))

    async def read(self) -> bytes:
        return await asyncio.to_thread(self._file.readline)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def deaf(path: Path) -> Iterator[Deaf]:
    opened = Deaf(path)
    try:
        yield opened
    finally:
        opened.close()


async def test_a_modern_client_that_does_not_read_loses_what_is_over_32_mib(
    tmp_path: Path, path: Path
) -> None:
    async with daemon(tmp_path, THIN, endpoints=endpoints(path)) as running:
        with deaf(path) as slow:
            for id in range(10):
                arguments = {"bytes": 8 * MIB}
                slow.ask(id, "tools/call", name="big", arguments=arguments, _meta=META)
            async with socket(path) as other:
                await works(other, "modern")
                await status_of(tmp_path, "thin", in_flight=0)
                await works(other, "modern")
                assert resident_bytes(running.pid) < 400 * MIB

            lines = [await slow.read() for _ in range(10)]

        refused = [line for line in lines if b"-31007" in line]
        answers = [line for line in lines if b'"result"' in line]
        assert len(refused) + len(answers) == 10
        assert len(answers) <= 6
        assert b"does not read its answers" in refused[0]


async def test_a_legacy_client_that_does_not_read_makes_its_own_server_wait(
    tmp_path: Path, path: Path
) -> None:
    async with daemon(tmp_path, THIN, endpoints=endpoints(path)) as running:
        with deaf(path) as slow:
            handshake = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
            slow.ask(0, "initialize", **handshake)
            for id in range(1, 11):
                slow.ask(id, "tools/call", name="big", arguments={"bytes": 8 * MIB})
            async with socket(path, "legacy") as other:
                for _ in range(10):
                    await works(other, "legacy")
                assert resident_bytes(running.pid) < 400 * MIB

            lines = [await slow.read() for _ in range(11)]

        assert all(b'"result"' in line for line in lines)
        assert sum(map(len, lines)) > 10 * 8 * MIB


# Cancelling.


@BOTH_ERAS
async def test_a_cancel_reaches_the_server_and_its_late_answer_nobody(
    tmp_path: Path, era: str
) -> None:
    async with (
        daemon(tmp_path, {"late": server("answers_cancelled")}),
        client(tmp_path, "late", era) as one,
    ):
        hangs = [ask(one, era, "hang") for _ in range(3)]
        await status_of(tmp_path, "late", in_flight=3)

        for id in (hangs[1], hangs[1], 4711, "4711", hangs[0]):
            cancel(one, id)

        assert text_of(await one.call("cancels", era=era)) == "2"
        await works(one, era)
        await status_of(tmp_path, "late", in_flight=1)


async def test_a_client_cannot_cancel_what_is_another_ones(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, {"late": server("answers_cancelled")}),
        client(tmp_path, "late") as one,
        client(tmp_path, "late") as other,
    ):
        hang = one.modern("tools/call", id=7, name="hang", arguments={})
        await status_of(tmp_path, "late", in_flight=1)

        cancel(other, hang)

        assert text_of(await other.call("cancels")) == "0"
        cancel(one, hang)
        assert text_of(await one.call("cancels")) == "1"


# Asking too much.


async def test_what_is_over_the_concurrency_waits_for_its_turn(tmp_path: Path) -> None:
    config = {"command": server("thin"), "limits": {"concurrency": 2}}
    async with (
        daemon(tmp_path, {"thin": config}),
        client(tmp_path, "thin") as one,
        client(tmp_path, "thin") as other,
    ):
        first = [ask(one, "modern", "sleep", seconds=600) for _ in range(2)]
        await status_of(tmp_path, "thin", in_flight=2)
        later = [ask(other, "modern", "sleep", seconds=0.1) for _ in range(8)]
        await status_of(tmp_path, "thin", in_flight=2, queue=8)

        cancel(one, first[0])

        for id in later:
            assert text_of(await other.answer(id)) == "slept"
        await status_of(tmp_path, "thin", in_flight=1, queue=0)


async def test_a_full_queue_is_busy(tmp_path: Path) -> None:
    config = {"command": server("thin"), "limits": {"concurrency": 1}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin") as one:
        first = ask(one, "modern", "sleep", seconds=600)
        await status_of(tmp_path, "thin", in_flight=1)
        waiting = [ask(one, "modern", "echo", text="x") for _ in range(1024)]

        await refusal(one, ask(one, "modern", "echo"), -31007, "1024 requests waiting")

        cancel(one, first)
        for id in waiting:
            assert text_of(await one.answer(id)) == "x"
        await works(one, "modern")


async def test_the_queue_goes_on_when_the_call_before_it_was_answered_too_largely(
    tmp_path: Path,
) -> None:
    config = {
        "command": server("thin"),
        "limits": {"concurrency": 1, "output_line_bytes": "64KiB"},
    }
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin") as one:
        await works(one, "modern")
        big = ask(one, "modern", "big", bytes=100_000)
        waiting = [ask(one, "modern", "echo", text="x") for _ in range(3)]

        await refusal(one, big, -31003, "output_line_bytes")

        for id in waiting:
            assert text_of(await one.answer(id)) == "x"


# What a client may not do.


@BOTH_ERAS
async def test_a_denied_tool_can_be_neither_seen_nor_called(tmp_path: Path, era: str) -> None:
    config = {"command": server("thin"), "tools": {"deny": ["delete_*", "s*", "exit"]}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        listed = await one.answer(
            one.modern("tools/list") if era == "modern" else one.legacy("tools/list")
        )
        names = {tool["name"] for tool in listed["result"]["tools"]}
        assert names == {"echo", "progress", "big", "pid", "env"}

        for name in ("delete_repo", "delete_", "sleep", "stderr", "exit"):
            await refusal(one, ask(one, era, name), -31002, name, "tools: allow/deny")
        for name in ("=64elete_repo", "=73leep", "Sleep"):  # other tools, which there are not
            await refusal(one, ask(one, era, name), -32602, f"no tool {name}")
        await works(one, era)


@pytest.mark.parametrize("kind", ["both", "legacy"])
async def test_a_denied_tool_cannot_be_called_by_another_spelling_of_its_subject(
    tmp_path: Path, nats_url: str, prefix: str, kind: str
) -> None:
    config = {"command": server("thin", kind), "tools": {"deny": ["sleep"]}}
    call = {"name": "sleep", "arguments": {"seconds": 0}, "_meta": META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    named = {"Mcp-Name": "sleep"}
    async with (
        daemon(tmp_path, {"thin": config}, nats={"url": nats_url, "prefix": prefix}),
        plain(nats_url) as connection,
    ):
        for tail in ("=73leep", "sleep", "sleep.", "%73leep", "=73=6C=65=65=70"):
            subject = f"{prefix}.req.thin.tools.call.{tail}".rstrip(".")
            for body in (encoded(message), b'{"seconds": 0}'):
                for headers in (None, named):
                    reply = await connection.request(subject, body, 20.0, headers=headers)
                    said = reply.data + str(reply.headers).encode()
                    assert b"slept" not in said
                    assert any(code in said for code in (b"-31002", b"-32020", b"-32600")), said
        echo = await connection.request(f"{prefix}.req.thin.tools.call.echo", b'{"text":"x"}', 20.0)
        assert b'"x"' in echo.data


SECRETS = {
    "MCPNATSD_TOKEN": "secret",
    "NOTIFY_SOCKET": "/nowhere",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "NATS_CREDS": "secret",
}
PASSED = {"https_proxy": "http://proxy:1", "NO_PROXY": "localhost"}


@BOTH_ERAS
async def test_a_server_sees_what_it_was_given_and_no_secret_of_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, era: str
) -> None:
    for name, value in {**SECRETS, **PASSED}.items():
        monkeypatch.setenv(name, value)
    config = {"command": server("thin"), "env": {"GIVEN": "it is", "LANG": "C"}}
    async with (
        daemon(tmp_path, {"thin": config}, variables=SECRETS),
        client(tmp_path, "thin", era) as one,
    ):
        expected = {**dict.fromkeys(SECRETS, "(not set)"), **PASSED, "GIVEN": "it is", "LANG": "C"}
        for name, value in expected.items():
            assert text_of(await one.call("env", era=era, name=name)) == value, name
