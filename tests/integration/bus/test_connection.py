"""The connection against a real nats-server."""

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path

import nkeys  # type: ignore[import-untyped]
import pytest
import uvloop

from mcpnatsd.bus.connection import Connection, masked
from mcpnatsd.config.model import TlsConfig
from mcpnatsd.errors import BrokerAway, Forbidden
from tests.connections import Inbox, opened
from tests.natsd import NatsServer
from tests.waiting import until

NOBODY = "nats://127.0.0.1:1"


# Messages


async def test_messages_arrive_in_the_order_of_publishing(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as connection:
        inbox = Inbox()
        connection.subscribe(f"{prefix}.>", inbox)
        for number in range(1000):
            connection.publish(f"{prefix}.{number % 2}", b"%d" % number)
        await until(lambda: len(inbox.bodies) == 1000)
        assert inbox.bodies == [b"%d" % number for number in range(1000)]


async def test_a_message_carries_subject_reply_and_headers(nats_url: str, prefix: str) -> None:
    block = b"NATS/1.0\r\nA: b\r\n\r\n"
    async with opened(nats_url) as connection:
        inbox = Inbox()
        connection.subscribe(prefix, inbox)
        connection.publish(prefix, b"body", reply="back.here", headers=block)
        connection.publish(prefix, b"")
        await until(lambda: len(inbox.bodies) == 2)
        assert inbox.subjects == [prefix.encode()] * 2
        assert inbox.replies == [b"back.here", b""]
        assert inbox.headers == [block, None]
        assert inbox.bodies == [b"body", b""]


@pytest.mark.parametrize("size", [0, 1, 65_536, 900_000])
async def test_bodies_of_any_size_arrive_whole(nats_url: str, prefix: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\r\n"
    async with opened(nats_url) as connection:
        inbox = Inbox()
        connection.subscribe(prefix, inbox)
        connection.publish(prefix, body)
        connection.publish(prefix, b"next")
        await until(lambda: len(inbox.bodies) == 2)
        assert inbox.bodies == [body, b"next"]


async def test_a_queue_group_gets_each_message_once(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as ann, opened(nats_url) as bob:
        inboxes = Inbox(), Inbox()
        ann.subscribe(prefix, inboxes[0], "group")
        bob.subscribe(prefix, inboxes[1], "group")
        await ann.flush()
        await bob.flush()
        for number in range(100):
            ann.publish(prefix, b"%d" % number)
        await until(lambda: sum(len(inbox.bodies) for inbox in inboxes) == 100)
        await ann.flush()
        got = sorted(int(body) for inbox in inboxes for body in inbox.bodies)
        assert got == list(range(100))


async def test_what_is_on_its_way_when_a_subject_is_left_still_arrives(
    nats_url: str, prefix: str
) -> None:
    async with opened(nats_url) as connection, opened(nats_url) as other:
        inbox = Inbox()
        sid = connection.subscribe(prefix, inbox)
        await connection.flush()
        other.publish(prefix, b"before")
        await other.flush()
        connection.leave(sid)
        await connection.flush()
        other.publish(prefix, b"after")
        await other.flush()
        await connection.flush()

        assert inbox.bodies == [b"before"]


async def test_an_unsubscribed_subject_is_silent(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as connection:
        gone, kept = Inbox(), Inbox()
        sid = connection.subscribe(prefix, gone)
        connection.subscribe(prefix, kept)
        connection.unsubscribe(sid)
        connection.unsubscribe(sid)
        connection.publish(prefix, b"x")
        await until(lambda: kept.bodies)
        assert not gone.bodies


async def test_nobody_there_is_told_on_the_reply_subject(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as connection:
        inbox = Inbox()
        connection.subscribe(connection.inbox + "*", inbox)
        connection.publish(prefix, b"", reply=connection.inbox + "1")
        await until(lambda: inbox.bodies)
        [headers] = inbox.headers
        assert headers is not None
        assert headers.startswith(b"NATS/1.0 503")
        assert inbox.subjects == [f"{connection.inbox}1".encode()]


async def test_a_flush_comes_after_what_was_published(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as ann, opened(nats_url) as bob:
        inbox = Inbox()
        bob.subscribe(prefix, inbox)
        await bob.flush()
        ann.publish(prefix, b"x")
        await ann.flush()
        await bob.flush()
        assert inbox.bodies == [b"x"]


async def test_closing_sends_what_is_pending(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as bob:
        inbox = Inbox()
        bob.subscribe(prefix, inbox)
        await bob.flush()
        async with opened(nats_url) as ann:
            ann.publish(prefix, b"last")
        await until(lambda: inbox.bodies == [b"last"])
        await ann.close()
        with pytest.raises(BrokerAway):
            ann.publish(prefix, b"too late")


async def test_the_inbox_is_unguessable_and_under_the_configured_prefix(nats_url: str) -> None:
    async with opened(nats_url, inbox_prefix="_MINE") as ann, opened(nats_url) as bob:
        head, token, tail = ann.inbox.split(".")
        assert (head, len(token), tail) == ("_MINE", 22, "")
        assert bob.inbox.startswith("_INBOX.")
        assert bob.inbox.split(".")[1] != token


# Coming and going


class Watcher:
    """Notes what a connection tells."""

    def __init__(self, connection: Connection) -> None:
        self.told: list[str] = []
        self.unwatch = connection.watch(
            on_up=lambda: self.told.append("up"), on_down=lambda: self.told.append("down")
        )


async def test_a_broker_that_crashed_finds_the_subscriptions_again(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        watcher, inbox = Watcher(connection), Inbox()
        connection.subscribe("before", inbox)
        natsd.kill()
        await until(lambda: watcher.told == ["down"])
        gone = connection.subscribe("gone", Inbox())
        connection.unsubscribe(gone)
        connection.subscribe("while.down", inbox, "group")
        natsd.start()
        await until(lambda: watcher.told == ["down", "up"])
        for subject in ("before", "gone", "while.down"):
            connection.publish(subject, subject.encode())
        await connection.flush()
        assert inbox.bodies == [b"before", b"while.down"]


async def test_up_is_told_once_nats_server_knows_the_subscriptions(natsd: NatsServer) -> None:
    async with opened(natsd.url) as ann, opened(natsd.url) as bob:
        inbox, watcher = Inbox(), Watcher(ann)
        ann.subscribe("s", inbox)
        await ann.flush()
        ann.watch(on_up=lambda: bob.publish("s", b"x"), on_down=lambda: None)
        bob.publish("s", b"before")
        await until(lambda: inbox.bodies)
        await ann._client.force_reconnect()
        await until(lambda: watcher.told == ["down", "up"])
        await until(lambda: inbox.bodies == [b"before", b"x"])


async def test_every_watcher_hears_of_every_change_until_it_stops(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        first, second = Watcher(connection), Watcher(connection)
        natsd.restart()
        await until(lambda: first.told == second.told == ["down", "up"])
        second.unwatch()
        natsd.restart()
        await until(lambda: first.told == ["down", "up"] * 2)
        assert second.told == ["down", "up"]
    assert first.told[-1] == "down"


async def test_instances_are_back_within_seconds_of_a_long_outage(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.kill()
        await until(lambda: connection._client._pause > 1)
        natsd.start()
        await until(lambda: connection.connected, timeout=3)


async def test_what_was_not_sent_is_not_sent_again(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        watcher, inbox = Watcher(connection), Inbox()
        connection.subscribe("s", inbox)
        natsd.freeze()
        connection.publish("s", bytes(500_000))
        await connection._client.force_reconnect()
        connection_lost = list(watcher.told)
        natsd.restart()
        await until(lambda: watcher.told == ["down", "up"])
        connection.publish("s", b"new")
        await until(lambda: b"new" in inbox.bodies)
        assert connection_lost == ["down"]
        assert inbox.bodies == [b"new"]


async def test_a_broker_that_is_late_is_waited_for(
    natsd: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    natsd.kill()
    caplog.set_level(logging.INFO)
    async with opened(natsd.url, wait=False) as connection:
        watcher, inbox = Watcher(connection), Inbox()
        connection.subscribe("early", inbox)
        assert not connection.connected
        with pytest.raises(BrokerAway):
            connection.publish("early", b"")
        await until(lambda: connection._client._pause > 0.1)
        natsd.start()
        await until(lambda: watcher.told == ["up"])
        connection.publish("early", b"x")
        await until(lambda: inbox.bodies == [b"x"])
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "mcpnatsd" in r.name]
    assert said == [("WARNING", "NATS is away"), ("INFO", "NATS is up")]
    facts = vars(caplog.records[0])
    assert (facts["url"], facts["reason"]) == (natsd.url, "connection refused")


async def test_the_other_server_of_the_list_is_used(natsd: NatsServer) -> None:
    async with opened(NOBODY, natsd.url) as connection:
        assert connection.url == natsd.url


async def test_closing_while_nats_is_away_ends_the_attempts() -> None:
    async with opened(NOBODY, wait=False) as connection:
        await until(lambda: connection._client._pause)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks


async def test_closing_a_frozen_connection_is_bounded(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.freeze()
        connection.publish("s", bytes(1 << 20))
        async with asyncio.timeout(4):
            await connection.close()
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_nobody_there_is_an_error_that_names_the_url() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerAway, match=r"NATS is away at nats://127.0.0.1:1: connection refused"):
        async with opened("nats://ann:secret@127.0.0.1:1"):
            pass
    assert time.monotonic() - started < 3


async def test_a_server_that_says_nothing_is_an_error_within_seconds(natsd: NatsServer) -> None:
    natsd.freeze()
    with pytest.raises(BrokerAway, match="no answer"):
        async with asyncio.timeout(5), opened(natsd.url):
            pass


async def test_a_url_that_is_none_is_an_error() -> None:
    with pytest.raises(Exception, match="NATS cannot be connected"):
        async with opened("nats://:99999999"):
            pass


# Who we are


async def test_a_wrong_password_is_forbidden(natsd: NatsServer) -> None:
    natsd.reload("authorization { user: ann, password: right }")
    with pytest.raises(Forbidden, match=r"NATS refuses us at .*: Authorization Violation"):
        async with opened(natsd.url, user="ann", password="wrong"):
            pass
    async with opened(natsd.url, user="ann", password="right") as connection:
        assert connection.connected


async def test_its_trouble_tells_a_refusal_from_an_absence(natsd: NatsServer) -> None:
    natsd.reload("authorization { user: ann, password: right }")
    async with opened(natsd.url, wait=False, user="ann", password="wrong") as connection:
        await until(lambda: connection.trouble is not None)
        assert connection.trouble == "NATS refuses us: Authorization Violation"
        natsd.kill()
        await until(lambda: connection.trouble == "NATS is away: connection refused")
        natsd.start()
        natsd.reload("authorization { user: ann, password: wrong }")
        await until(lambda: connection.connected)
        assert connection.trouble is None


async def test_a_password_in_the_url_is_used_and_never_shown(
    natsd: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    natsd.reload("authorization { user: ann, password: secret }")
    caplog.set_level(logging.DEBUG)
    url = natsd.url.replace("://", "://ann:secret@")
    async with opened(url) as connection:
        assert connection.url == natsd.url
        natsd.restart()
        await until(lambda: not connection.connected)
        await until(lambda: connection.connected)
    shown = "".join(str(vars(record)) for record in caplog.records)
    assert "secret" not in shown
    assert masked("tls://token@host:1") == "tls://host:1"


async def test_a_token_is_used(natsd: NatsServer) -> None:
    natsd.reload("authorization { token: s3cret }")
    async with opened(natsd.url, token="s3cret") as connection:
        assert connection.connected


def seed_and_key() -> tuple[str, str]:
    seed = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


async def test_an_nkey_is_read_anew_for_each_connection(natsd: NatsServer, tmp_path: Path) -> None:
    seed, key = seed_and_key()
    natsd.reload(f"authorization {{ users: [{{ nkey: {key} }}] }}")
    async with opened(natsd.url, nkey=seed) as connection:
        assert connection.connected
    path = tmp_path / "user.nk"
    async with opened(natsd.url, nkey=str(path), wait=False) as connection:
        await until(lambda: connection._client._pause)
        path.write_text("half", encoding="utf-8")
        await until(lambda: "not valid" in connection._client._reason)
        path.write_text(seed + "\n", encoding="utf-8")
        await until(lambda: connection.connected)


async def test_a_creds_file_without_a_user_is_tried_again_not_read_for_ever(
    natsd: NatsServer, tmp_path: Path
) -> None:
    path = tmp_path / "user.creds"
    path.write_text("", encoding="utf-8")
    natsd.reload(f"authorization {{ users: [{{ nkey: {seed_and_key()[1]} }}] }}")
    with pytest.raises(BrokerAway, match="USER NKEY SEED"):
        async with opened(natsd.url, credentials=str(path)):
            pass


async def test_a_file_of_ours_that_is_missing_is_no_absence_of_nats(
    natsd: NatsServer, tmp_path: Path
) -> None:
    path = tmp_path / "user.creds"
    natsd.reload(f"authorization {{ users: [{{ nkey: {seed_and_key()[1]} }}] }}")
    async with opened(natsd.url, credentials=str(path), wait=False) as connection:
        await until(lambda: connection.trouble is not None)
        missing = f"{path} cannot be read: no such file or directory"
        assert connection.trouble == f"we cannot log in to NATS: {missing}"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-keyout", str(key)]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert)]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_tls_is_spoken(tmp_path: Path, scheme: str, *, first: bool) -> None:
    cert, key = certificate(tmp_path)
    config = (
        f'tls {{ cert_file: "{cert}", key_file: "{key}", handshake_first: {str(first).lower()} }}'
    )
    with NatsServer(tmp_path / "natsd", config) as natsd:
        port = natsd.url.rpartition(":")[2]
        url = f"{scheme}://127.0.0.1:{port}"
        async with opened(url, tls=TlsConfig(ca=str(cert), first=first)) as connection:
            inbox = Inbox()
            connection.subscribe("big", inbox)
            connection.publish("big", bytes(900_000))
            await until(lambda: inbox.bodies == [bytes(900_000)])
            natsd.kill()
            await until(lambda: not connection.connected)
            natsd.start()
            await until(lambda: connection.connected)
        with pytest.raises(BrokerAway, match="certificate verify failed"):
            async with opened(url, tls=TlsConfig(first=first)):
                pass


# Beside


async def test_a_websocket_url_without_aiohttp_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(BrokerAway, match=r"mcpnatsd\[websocket\]"):
        async with opened("ws://127.0.0.1:1"):
            pass


def test_loading_the_connection_loads_neither_jetstream_nor_aiohttp() -> None:
    code = """
import sys, mcpnatsd.bus.connection
heavy = {"aiohttp", "email", "importlib.metadata", "nats.js.client", "nats.js.api", "nkeys", "yaml"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
import nats.js
assert nats.js.JetStreamContext.__name__ == "JetStreamContext"
assert "nats.js.client" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_jetstream_of_nats_py_works_on_our_connection(nats_url: str, prefix: str) -> None:
    async with opened(nats_url) as connection:
        stream = connection._client.jetstream()
        await stream.add_stream(name=prefix, subjects=[f"{prefix}.>"], storage="memory")
        for number in range(3):
            await stream.publish(f"{prefix}.a", b"%d" % number)
        reader = await stream.pull_subscribe(f"{prefix}.a", durable="d")
        msgs = await reader.fetch(3, timeout=5)
        assert [msg.data for msg in msgs] == [b"0", b"1", b"2"]
        await connection._client.force_reconnect()
        await until(lambda: connection.connected)
        await msgs[0].ack_sync()
        await stream.delete_stream(prefix)


def test_it_works_on_uvloop(nats_url: str, prefix: str) -> None:
    async def main() -> list[bytes]:
        async with opened(nats_url) as connection:
            inbox = Inbox()
            connection.subscribe(prefix, inbox)
            connection.publish(prefix, bytes(500_000))
            await until(lambda: inbox.bodies)
            await connection._client.force_reconnect()
            await until(lambda: connection.connected)
            connection.publish(prefix, b"again")
            await until(lambda: len(inbox.bodies) == 2)
            return inbox.bodies

    assert uvloop.run(main()) == [bytes(500_000), b"again"]
