"""Entries of the journal, as journald gets them."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpnatsd import journal
from mcpnatsd.journal import Journal, encode


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture
def ours(path: str) -> Iterator[Journal]:
    ours = Journal(path)
    yield ours
    ours.close()


@pytest.fixture
def journald(path: str) -> Iterator[socket.socket]:
    """The other end, where journald would be."""
    with listening(path) as end:
        yield end


def listening(path: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(path)
    end.settimeout(5)
    return end


def test_a_field_is_one_line() -> None:
    assert encode({"MESSAGE": "hello", "PRIORITY": 6}) == b"MESSAGE=hello\nPRIORITY=6\n"


def test_a_value_of_several_lines_comes_with_its_length() -> None:
    assert encode({"MESSAGE": "a\nb"}) == b"MESSAGE\n" + struct.pack("<Q", 3) + b"a\nb\n"


def test_a_value_makes_no_field_of_its_own() -> None:
    entry = encode({"MCP_TOOL": "x\nPRIORITY=0"})

    assert entry == b"MCP_TOOL\n" + struct.pack("<Q", 12) + b"x\nPRIORITY=0\n"


@pytest.mark.parametrize("name", ["", "_PID", "1ST", "lower", "A B", "A=B", "A\nB", "A" * 65])
def test_a_name_that_journald_would_refuse_is_left_out(name: str) -> None:
    assert encode({name: "x", "MESSAGE": "hello"}) == b"MESSAGE=hello\n"


def test_a_lone_surrogate_can_be_sent() -> None:
    assert encode({"MESSAGE": "\ud800"}) == b"MESSAGE=\\ud800\n"


def test_an_entry_is_one_datagram(ours: Journal, journald: socket.socket) -> None:
    assert ours.send({"MESSAGE": "hello"})

    assert journald.recv(4096) == b"MESSAGE=hello\n"


def test_an_entry_that_no_datagram_holds_comes_as_memory_that_nobody_changes(
    ours: Journal, journald: socket.socket
) -> None:
    text = "x" * (20 << 20)
    assert ours.send({"MESSAGE": text})

    message, descriptors, _, _ = socket.recv_fds(journald, 4096, 1)
    try:
        assert message == b""
        assert os.pread(descriptors[0], 1 << 25, 0) == f"MESSAGE={text}\n".encode()
        with pytest.raises(PermissionError):
            os.pwrite(descriptors[0], b"!", 0)
    finally:
        os.close(descriptors[0])


def test_a_journal_that_came_back_gets_what_comes_next(ours: Journal, path: str) -> None:
    with listening(path):
        assert ours.send({"MESSAGE": "one"})
    Path(path).unlink()
    with listening(path) as again:
        assert ours.send({"MESSAGE": "two"})
        assert again.recv(4096) == b"MESSAGE=two\n"


def test_a_journal_that_is_not_there_is_an_error(ours: Journal) -> None:
    with pytest.raises(FileNotFoundError):
        ours.send({"MESSAGE": "hello"})


def test_a_journal_that_does_not_keep_up_costs_entries_and_no_time(
    ours: Journal, journald: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEND_TIMEOUT", 0.01)
    monkeypatch.setattr(journal, "PAUSE", 3600.0)
    taken = 0
    while ours.send({"MESSAGE": "x" * 1000}):  # until the kernel's queue is full
        taken += 1
    for _ in range(9):
        assert not ours.send({"MESSAGE": "lost"})

    assert ours.take_dropped() == 10
    assert ours.take_dropped() == 0
    received = [journald.recv(4096) for _ in range(taken)]
    assert not any(b"lost" in entry for entry in received)
