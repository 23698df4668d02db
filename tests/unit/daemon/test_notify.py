"""What systemd is told, as it receives it."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mcpnatsd.daemon import notify
from mcpnatsd.daemon.notify import Notifier, watchdog_interval


class Manager:
    """The other end, where systemd would be; what a notifier is to say of the daemon."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.text = "serving 1 server"
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.bind("\0" + address[1:] if address.startswith("@") else address)
        self._end.settimeout(5)

    def notifier(self, **environ: str) -> Notifier:
        return Notifier({**self.environ, **environ}, lambda: self.text)

    def told(self) -> list[str]:
        return self._end.recv(4096).decode().split("\n")

    def told_all(self) -> list[list[str]]:
        """Return what was told and not read yet."""
        self._end.settimeout(0)
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.told())
        self._end.settimeout(5)
        return found

    def told_nothing(self) -> bool:
        return not self.told_all()

    def room(self) -> int:
        """Return how many datagrams the kernel keeps at most, and some more."""
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii")) + 5

    def close(self) -> None:
        self._end.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_ready_comes_with_a_status(manager: Manager) -> None:
    manager.notifier().ready()

    assert manager.told() == ["READY=1", "STATUS=serving 1 server"]


def test_a_reload_tells_its_time_in_the_same_datagram_and_ends_with_ready(manager: Manager) -> None:
    ours = manager.notifier()
    ours.ready()
    manager.told()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    ours.reloading()
    first, second, status = manager.told()
    assert (first, status) == ("RELOADING=1", "STATUS=reloading")
    assert second.startswith("MONOTONIC_USEC=")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert before <= int(second.partition("=")[2]) <= after

    ours.reloaded(None)
    assert manager.told() == ["READY=1", "STATUS=serving 1 server"]


def test_a_reload_while_it_starts_or_stops_is_not_told(manager: Manager) -> None:
    ours = manager.notifier()
    ours.reloading()
    ours.reloaded(None)
    assert manager.told_nothing()

    ours.ready()
    ours.stopping()
    manager.told_all()
    ours.reloading()
    ours.reloaded(None)
    assert manager.told_nothing()


def test_a_status_that_cannot_be_had_does_not_look_like_death(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise RuntimeError("a bug")

    ours = Notifier({**manager.environ, "WATCHDOG_USEC": "10"}, broken)
    ours.ready()
    ours.tick()

    assert manager.told_all() == [["READY=1"], ["WATCHDOG=1"]]
    assert caplog.messages == ["there is no status to tell"] * 2


def test_a_status_is_told_when_it_changed(manager: Manager) -> None:
    ours = manager.notifier()
    ours.ready()
    assert manager.told() == ["READY=1", "STATUS=serving 1 server"]
    ours.tick()
    manager.text = "serving 2 servers"
    ours.tick()

    assert manager.told() == ["STATUS=serving 2 servers"]
    assert manager.told_nothing()


def test_a_status_is_one_line_and_makes_no_field_of_its_own(manager: Manager) -> None:
    manager.text = "it failed:\nSTOPPING=1 " + "x" * 1000
    manager.notifier().ready()

    _, line = manager.told()
    assert line.startswith("STATUS=it failed: STOPPING=1 xxx")
    assert len(line) == len("STATUS=") + notify.MOST_CHARS


def test_a_daemon_with_a_watchdog_gives_signs_of_life(manager: Manager) -> None:
    ours = manager.notifier(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    ours.tick()
    assert manager.told_nothing(), "systemd does not wait for it yet"
    ours.ready()
    ours.tick()

    assert manager.told()[0] == "READY=1"
    assert manager.told() == ["WATCHDOG=1"]


async def test_signs_of_life_come_by_themselves(manager: Manager) -> None:
    ours = manager.notifier(WATCHDOG_USEC="20000")
    async with ours.beating():
        ours.ready()
        told = [await asyncio.to_thread(manager.told) for _ in range(3)]

    assert told[1:] == [["WATCHDOG=1"], ["WATCHDOG=1"]]


def test_a_state_that_systemd_has_no_room_for_is_told_later(manager: Manager) -> None:
    ours = manager.notifier(WATCHDOG_USEC="10")
    ours.ready()
    for _ in range(manager.room()):
        ours.tick()
    ours.reloading()
    ours.tick()
    ours.reloaded(None)
    before = manager.told_all()

    ours.tick()

    assert before[0][0] == "READY=1"
    assert [one[0] for one in before[1:]] == ["WATCHDOG=1"] * (len(before) - 1)
    reloading, ready, sign = manager.told_all()
    assert [one.partition("=")[0] for one in reloading] == ["RELOADING", "MONOTONIC_USEC"]
    assert ready == ["READY=1"]
    assert sign == ["WATCHDOG=1", "STATUS=serving 1 server"]


def test_a_stop_asks_for_more_time_as_long_as_it_lives(manager: Manager) -> None:
    ours = manager.notifier()
    ours.stopping()
    more = "EXTEND_TIMEOUT_USEC=15000000"
    assert manager.told() == ["STOPPING=1", more, "STATUS=serving 1 server"]
    ours.tick()

    assert manager.told() == [more]


def test_a_socket_may_be_abstract() -> None:
    manager = Manager(f"@mcpnatsd-test-{os.getpid()}")
    manager.notifier().ready()

    assert manager.told()[0] == "READY=1"
    manager.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_without_a_socket_that_we_know_nothing_is_done(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10"}, lambda: "never asked")
    for tell in (ours.ready, ours.reloading, ours.stopping, ours.tick):
        tell()

    assert not caplog.records


def test_a_manager_that_is_gone_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, lambda: "up")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            ours.ready()

    assert [one.message for one in caplog.records] == ["systemd was not told"]


@pytest.mark.parametrize(
    ("microseconds", "whose", "seconds"),
    [
        ("30000000", "", 15.0),
        ("30000000", "7", 15.0),
        ("30000000", "8", None),
        ("30000000", "x", None),
        ("0", "7", None),
        ("", "7", None),
        ("-1", "7", None),
        ("soon", "7", None),
    ],
)
def test_a_watchdog_counts_when_it_waits_for_this_process(
    microseconds: str, whose: str, seconds: float | None
) -> None:
    environ = {"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": whose}

    assert watchdog_interval(environ, 7) == seconds
