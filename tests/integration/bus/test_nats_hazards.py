"""What nats-py does to a daemon in ordinary weather, and that our connection does not.

Each hazard has a pair of tests: `..._as_it_comes` shows nats-py's outcome, so that the day on which
nats-py is mended is noticed here, and `ours_...` shows what we promise instead.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from nats import errors
from nats.aio.client import Client

from mcpnatsd.bus.connection import Connection
from mcpnatsd.errors import BrokerAway, TooLarge
from tests.connections import Inbox, opened, plain
from tests.natsd import NatsServer
from tests.waiting import until

MIB = 1 << 20
WITH_DENIED = """
authorization { users: [{ user: ann, password: old,
  permissions: { publish: { deny: "No.>" }, subscribe: { deny: "No.>" } } }] }
"""
ANN: dict[str, Any] = {"user": "ann", "password": "old"}


async def works(connection: Connection) -> None:
    """Assert that a message makes it through NATS and back."""
    inbox = Inbox()
    sid = connection.subscribe("still.works", inbox)
    connection.publish("still.works", b"yes")
    await until(lambda: inbox.bodies == [b"yes"])
    connection.unsubscribe(sid)


def deaf(client: Client) -> bool:
    """Tell whether nats-py says that it is connected, and reads no more."""
    assert client._reading_task is not None
    return client.is_connected and client._reading_task.done()


# 1: headers count too


async def test_oversized_headers_close_nats_py_as_it_comes(natsd: NatsServer) -> None:
    async with plain(natsd.url) as client:
        await client.publish("big", bytes(MIB - 10), headers={"A": "x" * 100})
        await until(lambda: client.is_closed)


async def test_ours_refuses_a_message_whose_headers_make_it_too_large(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        block = b"NATS/1.0\r\nA: " + b"x" * 100 + b"\r\n\r\n"
        with pytest.raises(TooLarge, match="1048576"):
            connection.publish("big", bytes(MIB - 10), headers=block)
        await works(connection)


async def test_ours_sends_what_just_fits(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        inbox = Inbox()
        connection.subscribe("big", inbox)
        block = b"NATS/1.0\r\nA: " + b"x" * 100 + b"\r\n\r\n"
        connection.publish("big", bytes(MIB - len(block)), headers=block)
        await until(lambda: inbox.headers == [block])
        assert connection.connected


# 2: a flush that gave up


async def test_a_late_pong_deafens_nats_py_as_it_comes(natsd: NatsServer) -> None:
    async with plain(natsd.url) as client:
        natsd.freeze()
        with pytest.raises(errors.FlushTimeoutError):
            await client.flush(timeout=0.1)  # type: ignore[arg-type]
        natsd.thaw()
        await until(lambda: deaf(client))


async def test_ours_survives_a_late_pong(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.freeze()
        with pytest.raises(BrokerAway, match="did not answer"):
            await connection.flush(timeout=0.1)
        natsd.thaw()
        await connection.flush()
        await works(connection)


async def test_ours_survives_a_cancelled_flush(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        flush = asyncio.create_task(connection.flush())
        await asyncio.sleep(0)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        await works(connection)


# 3: a callback that raises


async def test_a_raising_callback_deafens_nats_py_as_it_comes(natsd: NatsServer) -> None:
    async def broken(_: Exception) -> None:
        raise ValueError("broken")

    natsd.reload(WITH_DENIED)
    async with plain(natsd.url, error_cb=broken, **ANN) as client:
        await client.publish("No.Way", b"")
        await until(lambda: deaf(client))


async def test_ours_survives_raising_callbacks(natsd: NatsServer) -> None:
    natsd.reload(WITH_DENIED)
    async with opened(natsd.url, **ANN) as connection:
        told: list[tuple[str, str]] = []

        def broken(kind: str, subject: str) -> None:
            told.append((kind, subject))
            raise ValueError("broken")

        connection.watch_denied(broken)
        connection.publish("No.Way", b"")
        connection.subscribe("No.Entry", Inbox())
        await until(lambda: len(told) == 2)
        assert told == [("publish", "No.Way"), ("subscribe", "No.Entry")]
        await works(connection)


async def test_ours_survives_a_raising_subscriber_and_logs_it_once(
    natsd: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    async with opened(natsd.url) as connection:
        connection.subscribe("broken", broken)
        for _ in range(3):
            connection.publish("broken", b"")
        await works(connection)
    faults = [r for r in caplog.records if r.getMessage() == "a message was not understood"]
    assert [fault.levelname for fault in faults].count("ERROR") == 1


# 4: errors of nats-server


async def test_a_new_password_closes_nats_py_as_it_comes(natsd: NatsServer) -> None:
    natsd.reload(WITH_DENIED)
    async with plain(natsd.url, **ANN) as client:
        natsd.reload(WITH_DENIED.replace("old", "new"))
        await until(lambda: client.is_closed)


async def test_ours_comes_back_with_the_new_password(natsd: NatsServer) -> None:
    natsd.reload(WITH_DENIED)
    password = "old"
    secret: dict[str, Any] = {"user": lambda: "ann", "password": lambda: password}
    async with opened(natsd.url, **secret) as connection:
        natsd.reload(WITH_DENIED.replace("old", "new"))
        await until(lambda: not connection.connected)
        await until(lambda: natsd.said("authentication error") >= 2)
        password = "new"
        await until(lambda: connection.connected)
        await works(connection)


async def test_too_many_subscriptions_close_nats_py_as_it_comes(natsd: NatsServer) -> None:
    natsd.stop()
    natsd.write_config("max_subscriptions: 2")
    natsd.start()
    async with plain(natsd.url) as client:
        for number in range(3):
            await client.subscribe(f"s.{number}")
        await until(lambda: client.is_closed)


async def test_ours_survives_too_many_subscriptions(natsd: NatsServer) -> None:
    natsd.stop()
    natsd.write_config("max_subscriptions: 2")
    natsd.start()
    async with opened(natsd.url) as connection:
        inbox = Inbox()
        connection.subscribe("s.0", inbox)
        connection.subscribe("s.1", inbox)
        connection.subscribe("s.2", inbox)
        connection.publish("s.1", b"heard")
        await until(lambda: inbox.bodies == [b"heard"])
        await connection.flush()


# 5: cancelling a publish under back-pressure


async def fill(publish: Callable[[], object], *, times: int = 12) -> int:
    """Publish a MiB at a time into a frozen nats-server; return how often that timed out."""
    timeouts = 0
    for _ in range(times):
        with suppress(TimeoutError, errors.OutboundBufferLimitError):
            async with asyncio.timeout(0.05):
                result = publish()
                if asyncio.iscoroutine(result):
                    await result
                continue
        timeouts += 1
    return timeouts


async def test_a_cancelled_publish_goes_on_in_nats_py_as_it_comes(natsd: NatsServer) -> None:
    async with plain(natsd.url) as client:
        natsd.freeze()
        assert await fill(lambda: client.publish("big", bytes(MIB))) == 0
        assert client.pending_data_size > MIB
        natsd.thaw()


async def test_ours_lets_a_wait_for_a_frozen_broker_be_cancelled(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.freeze()

        async def publish() -> None:
            connection.publish("big", bytes(MIB))
            await asyncio.sleep(0)
            if connection.congested:
                await connection.wait_writable()

        assert await fill(publish) > 0
        assert connection.congested
        natsd.thaw()
        await connection.wait_writable()
        assert not connection.congested
        await works(connection)


async def test_ours_lets_a_publish_of_nats_py_itself_be_cancelled(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.freeze()
        assert await fill(lambda: connection._client.publish("big", bytes(MIB))) > 0
        natsd.thaw()


# 6: a frozen nats-server


async def test_nats_py_waits_for_a_frozen_broker_as_it_comes(natsd: NatsServer) -> None:
    down = asyncio.Event()

    async def on_down() -> None:
        down.set()

    async with plain(
        natsd.url, disconnected_cb=on_down, ping_interval=0.1, max_outstanding_pings=1
    ) as client:
        natsd.freeze()
        await fill(lambda: client.publish("big", bytes(MIB)))
        await until(lambda: client.is_reconnecting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await down.wait()
        natsd.thaw()
        await until(down.is_set)


async def test_ours_leaves_a_frozen_broker_at_once(natsd: NatsServer) -> None:
    ups: list[str] = []
    downs: list[str] = []
    async with opened(natsd.url, ping_interval=0.1) as connection:
        connection.watch(on_up=lambda: ups.append("up"), on_down=lambda: downs.append("down"))
        natsd.freeze()
        await fill(lambda: connection.publish("big", bytes(MIB)), times=4)
        await until(lambda: downs == ["down"], timeout=2)
        natsd.thaw()
        await until(lambda: ups == ["up"])
        await works(connection)


# 7: TLS that was asked for


async def test_nats_py_speaks_in_clear_where_tls_was_asked_for_as_it_comes(
    natsd: NatsServer,
) -> None:
    async with plain(natsd.url.replace("nats://", "tls://")) as client:
        assert client.is_connected


async def test_ours_refuses_to_speak_in_clear_where_tls_was_asked_for(natsd: NatsServer) -> None:
    with pytest.raises(BrokerAway, match="secure connection not available"):
        async with opened(natsd.url.replace("nats://", "tls://")):
            pass


# 8: requests in flight


async def test_requests_of_nats_py_outlive_the_connection_as_it_comes(natsd: NatsServer) -> None:
    async with plain(natsd.url) as client:
        await client.subscribe("mute", cb=_mute)
        request = asyncio.create_task(client.request("mute", b"", timeout=60))
        await until(lambda: client.stats["in_msgs"])
        natsd.kill()
        await until(lambda: client.is_reconnecting)
        natsd.start()
        await until(lambda: client.is_connected)
        assert not request.done()
        request.cancel()


async def test_ours_says_at_once_that_the_connection_is_gone(natsd: NatsServer) -> None:
    downs: list[bool] = []
    async with opened(natsd.url) as connection:
        connection.watch(on_up=lambda: None, on_down=lambda: downs.append(connection.connected))
        natsd.kill()
        await until(lambda: downs, timeout=1)
        assert downs == [False]
        with pytest.raises(BrokerAway):
            connection.publish("gone", b"")
        with pytest.raises(BrokerAway):
            await connection.flush()


async def test_ours_fails_a_flush_when_the_connection_drops(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.freeze()
        flush = asyncio.create_task(connection.flush())
        await asyncio.sleep(0)
        natsd.kill()
        with pytest.raises(BrokerAway):
            await flush


# 16: what nats-server says later


async def test_nats_py_misses_a_new_max_payload_as_it_comes(natsd: NatsServer) -> None:
    lame = asyncio.Event()

    async def on_lame_duck() -> None:
        lame.set()

    async with plain(natsd.url, lame_duck_mode_cb=on_lame_duck) as client:
        natsd.reload("max_payload: 2048")
        natsd.lame_duck()  # nats-server says INFO again
        await until(lame.is_set)
        assert client.max_payload == MIB
    natsd.kill()  # a lame duck takes its time


async def test_ours_learns_a_new_max_payload(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.reload("max_payload: 2048")
        natsd.lame_duck()
        await until(lambda: connection.max_payload == 2048)
        with pytest.raises(TooLarge):
            connection.publish("big", bytes(2049))
        await works(connection)
    natsd.kill()  # a lame duck takes its time


async def test_ours_comes_back_after_a_max_payload_nobody_told_it(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        natsd.reload("max_payload: 2048")
        connection.publish("big", bytes(2049))
        await until(lambda: connection.connected and connection.max_payload == 2048)
        await works(connection)


async def _mute(_: object) -> None:
    """Never answer."""
