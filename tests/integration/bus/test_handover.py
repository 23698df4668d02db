"""A connection that moves to another NATS server, or comes as another user, under traffic."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpnatsd.bus import handover
from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.handover import Handover
from mcpnatsd.config.model import NatsConfig
from mcpnatsd.errors import BrokerAway, Forbidden
from tests.connections import Inbox, opened
from tests.natsd import NatsServer
from tests.waiting import until

NOBODY = "nats://127.0.0.1:1"
MOVES = 10


def at(url: str, **more: str) -> NatsConfig:
    return NatsConfig(urls=(url,), **more)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[NatsServer, NatsServer]]:
    """Two servers of one NATS."""
    text = 'cluster {{ name: c, listen: "127.0.0.1:-1", routes: [{}] }}'
    with (
        NatsServer(tmp_path / "one", text.format("")) as one,
        NatsServer(tmp_path / "two", text.format(f'"{one.cluster_url}"')) as two,
    ):
        yield one, two


async def test_a_nats_that_is_not_there_changes_nothing(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        inbox = Inbox()
        connection.subscribe("a", inbox)

        with pytest.raises(BrokerAway):
            await connection.move(at(NOBODY))

        connection.publish("a", b"still here")
        await until(lambda: inbox.bodies == [b"still here"])
        assert connection.url == natsd.url


async def test_credentials_that_are_refused_change_nothing(natsd: NatsServer) -> None:
    natsd.reload("authorization { user: ann, password: right }")
    async with opened(natsd.url, user="ann", password="right") as connection:
        inbox = Inbox()
        connection.subscribe("a", inbox)

        with pytest.raises(Forbidden):
            await connection.move(at(natsd.url, user="ann", password="wrong"))

        connection.publish("a", b"still here")
        await until(lambda: inbox.bodies == [b"still here"])


class Traffic:
    """Numbered messages to a plain subject and to a queue group, from elsewhere."""

    def __init__(self, sender: Connection) -> None:
        self.sent = 0
        self._sender = sender
        self._stop = False

    async def run(self) -> None:
        for number in itertools.count():
            if self._stop:
                return
            for subject in ("plain", "queued"):
                self._sender.publish(subject, b"%d" % number)
            self.sent = number + 1
            if number % 20 == 0:
                await asyncio.sleep(0)
                await self._sender.flush()

    def stop(self) -> None:
        self._stop = True


async def moved_to_and_fro(sender: str, *urls: str) -> tuple[int, Inbox, Inbox]:
    """Move under traffic; return how many messages were sent, and what arrived."""
    plain, queued = Inbox(), Inbox()
    async with opened(sender) as other, opened(urls[0]) as connection:
        connection.subscribe("plain", plain)
        connection.subscribe("queued", queued, "group")
        await connection.flush()
        traffic = Traffic(other)
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            await until(lambda: plain.bodies)
            for url in [*urls[1:], *urls[:1]] * MOVES:
                await connection.move(at(url))
                seen = traffic.sent
                await until(lambda seen=seen: traffic.sent > seen + 100)
            traffic.stop()
        await other.flush()
        await until(lambda: len(plain.bodies) >= traffic.sent)
        await until(lambda: len(queued.bodies) >= traffic.sent)
        await connection.flush()
        return traffic.sent, plain, queued


async def test_every_message_arrives_once_and_in_order_at_one_server(natsd: NatsServer) -> None:
    sent, plain, queued = await moved_to_and_fro(natsd.url, natsd.url)

    assert plain.bodies == [b"%d" % number for number in range(sent)]
    assert sorted(queued.bodies, key=int) == plain.bodies


async def test_every_message_arrives_once_between_two_servers_of_a_cluster(
    cluster: tuple[NatsServer, NatsServer],
) -> None:
    one, two = cluster
    sent, plain, queued = await moved_to_and_fro(one.url, one.url, two.url)

    assert sorted(plain.bodies, key=int) == [b"%d" % number for number in range(sent)]
    assert sorted(queued.bodies, key=int) == [b"%d" % number for number in range(sent)]


async def test_what_is_published_keeps_its_order(natsd: NatsServer) -> None:
    inbox = Inbox()
    async with opened(natsd.url) as reader, opened(natsd.url) as connection:
        reader.subscribe("a", inbox)
        await reader.flush()
        moving = asyncio.create_task(connection.move(at(natsd.url)))
        sent = 0
        while not moving.done():
            connection.publish("a", b"%d" % sent)
            sent += 1
            await asyncio.sleep(0)
        await moving
        await connection.flush()
        await until(lambda: len(inbox.bodies) == sent)

    assert inbox.bodies == [b"%d" % number for number in range(sent)]


async def test_subscriptions_are_made_and_ended_as_before(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        gone, kept, fresh = Inbox(), Inbox(), Inbox()
        number = connection.subscribe("a", gone)
        connection.subscribe("a", kept)
        await connection.move(at(natsd.url))
        connection.unsubscribe(number)
        connection.subscribe("a", fresh)
        connection.publish("a", b"x")

        await until(lambda: kept.bodies and fresh.bodies)
        assert gone.bodies == []


async def test_one_that_was_away_tells_that_it_is_up(natsd: NatsServer) -> None:
    ups = []
    async with opened(NOBODY, wait=False) as connection:
        inbox = Inbox()
        connection.subscribe("a", inbox)
        connection.watch(on_up=lambda: ups.append(connection.connected), on_down=lambda: None)
        await connection.move(at(natsd.url))

        assert ups == [True]
        assert connection.up
        connection.publish("a", b"x")
        await until(lambda: inbox.bodies)


async def test_it_comes_back_by_itself_afterwards(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        inbox = Inbox()
        connection.subscribe("a", inbox)
        await connection.move(at(natsd.url))
        before = connection.connects
        natsd.restart()
        await until(lambda: connection.connects > before)

        connection.publish("a", b"x")
        await until(lambda: inbox.bodies)


async def test_the_one_before_is_closed(natsd: NatsServer) -> None:
    async with opened(natsd.url) as connection:
        opened_before = sockets()
        for _ in range(MOVES):
            await connection.move(at(natsd.url))

        await until(lambda: sockets() == opened_before)


def sockets() -> int:
    """Count the sockets that this process has open."""
    targets = (str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
    return sum(target.startswith("socket:") for target in targets)


async def test_a_move_waits_for_the_end_of_the_one_before(
    natsd: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    run, end = Handover.run, Handover._end

    async def noted_run(self: Handover, flip: Callable[[], None]) -> bool:
        steps.append("begun")
        # One that never comes to the successor: it is waited for.
        self._seen[b"late"] = 1
        return await run(self, flip)

    def noted_end(self: Handover) -> None:
        steps.append("over")
        end(self)

    monkeypatch.setattr(Handover, "run", noted_run)
    monkeypatch.setattr(Handover, "_end", noted_end)
    async with opened(natsd.url) as connection:
        connection.subscribe("a", Inbox())
        await connection.move(at(natsd.url))
        await connection.move(at(natsd.url))

    assert steps[:3] == ["begun", "over", "begun"]


async def test_what_is_beyond_the_bound_comes_once_at_most_and_everybody_asks(
    natsd: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MOST_SEEN", 10)
    inbox = Inbox()
    async with opened(natsd.url) as other, opened(natsd.url) as connection:
        connection.subscribe("plain", inbox)
        await connection.flush()
        before = connection.connects
        traffic = Traffic(other)
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            await until(lambda: inbox.bodies)
            await connection.move(at(natsd.url))
            traffic.stop()
        await other.flush()
        await connection.flush()

        assert connection.connects > before
        assert len(set(inbox.bodies)) == len(inbox.bodies)
