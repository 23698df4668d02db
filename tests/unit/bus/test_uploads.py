"""Requests in parts: announced, taken in, put together."""

import pytest

from mcpnatsd.bus import uploads
from mcpnatsd.bus.uploads import Uploads
from mcpnatsd.errors import Busy, RemoteProtocolError, TooLarge
from mcpnatsd.protocol import headers, incoming
from mcpnatsd.protocol.incoming import PINNED_TOKENS, REQUEST_TOKENS, Incoming
from mcpnatsd.protocol.subjects import Prefix

PREFIX = Prefix.parse("mcp.{user}")
TOKEN = "0123456789abcdef" * 2
OTHER = "f" * 32
MIB = 1024 * 1024


def announcement(text: str, token: str = TOKEN, user: str = "ann") -> Incoming:
    block = headers.encode([("Mcp-Upload", text), ("Mcp-Tunnel", token)])
    subject = f"mcp.{user}.req.git.tools.list".encode()
    return incoming.read(PREFIX, REQUEST_TOKENS, subject, b"r", b"", block)


def part(position: str | None, body: bytes, token: str = TOKEN, user: str = "ann") -> Incoming:
    block = None if position is None else headers.encode([("Mcp-Part", position)])
    subject = f"mcp.{user}.ses.git.inst1.{token}.tools.list".encode()
    return incoming.read(PREFIX, PINNED_TOKENS, subject, b"r", body, block)


def store(line_bytes: int = 100) -> Uploads:
    return Uploads(line_bytes, "git")


def test_an_upload_comes_together() -> None:
    taken = store()

    assert taken.offer(announcement("5, 3"), 0.0) == TOKEN
    taken.receive(part("1/3", b"ab"), 0.0)
    taken.receive(part("2/3", b"cd"), 0.0)

    assert taken.finish(part("3/3", b"e")) == b"abcde"


def test_two_uploads_at_once_do_not_mix() -> None:
    taken = store()
    taken.offer(announcement("4, 2"), 0.0)
    taken.offer(announcement("4, 2", OTHER), 0.0)
    taken.receive(part("1/2", b"ab"), 0.0)
    taken.receive(part("1/2", b"AB", OTHER), 0.0)

    assert taken.finish(part("2/2", b"CD", OTHER)) == b"ABCD"
    assert taken.finish(part("2/2", b"cd")) == b"abcd"


def test_a_request_in_one_message_needs_no_announcement() -> None:
    body = b"x" * 100

    assert store().finish(part(None, body)) is body
    with pytest.raises(TooLarge, match="line_bytes"):
        store().finish(part(None, b"x" * 101))


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.0", "²", "٣", "9" * 5000, ",1", "5 6", "0x10", "1_0", "+5"]
)
def test_a_malformed_size_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="Mcp-Upload"):
        store().offer(announcement(text), 0.0)


@pytest.mark.parametrize(
    "token", ["", "a" * 31, "a" * 33, "é" * 32, "." * 32, "*" * 32, "a b" * 11]
)
def test_a_malformed_id_is_refused(token: str) -> None:
    """It becomes a token of a subject."""
    with pytest.raises(RemoteProtocolError, match="id"):
        store().offer(announcement("5, 1", token), 0.0)


def test_what_the_server_must_not_see_is_refused_before_a_byte_is_sent() -> None:
    taken = store()
    taken.offer(announcement("100, 1"), 0.0)

    with pytest.raises(TooLarge, match=r"101 bytes.*100 bytes.*'git'"):
        taken.offer(announcement("101, 1", OTHER), 0.0)


def test_more_than_was_announced_is_refused() -> None:
    taken = store()
    taken.offer(announcement("3, 2"), 0.0)
    taken.receive(part("1/2", b"abc"), 0.0)

    with pytest.raises(TooLarge):
        taken.receive(part("2/2", b"d"), 0.0)


@pytest.mark.parametrize("last", [b"", b"c", b"cde"])
def test_another_size_than_was_announced_is_refused_and_over(last: bytes) -> None:
    taken = store()
    taken.offer(announcement("4, 2"), 0.0)
    taken.receive(part("1/2", b"ab"), 0.0)

    with pytest.raises((RemoteProtocolError, TooLarge)):
        taken.finish(part("2/2", last))
    with pytest.raises(RemoteProtocolError, match="nobody announced"):
        taken.finish(part("2/2", b"cd"))


def test_a_part_that_was_lost_is_noticed_at_the_end() -> None:
    taken = store()
    taken.offer(announcement("6, 3"), 0.0)
    taken.receive(part("1/3", b"ab"), 0.0)

    with pytest.raises(RemoteProtocolError, match="4 bytes came of 6"):
        taken.finish(part("3/3", b"ef"))


def test_parts_out_of_order_are_refused() -> None:
    taken = store()
    taken.offer(announcement("6, 3"), 0.0)

    with pytest.raises(RemoteProtocolError, match="out of order"):
        taken.receive(part("2/3", b"cd"), 0.0)


def test_what_nobody_announced_is_refused() -> None:
    taken = store()

    with pytest.raises(RemoteProtocolError, match="nobody announced"):
        taken.receive(part("1/2", b"x"), 0.0)
    with pytest.raises(RemoteProtocolError, match="nobody announced"):
        taken.finish(part("2/2", b"x"))


def test_nobody_adds_to_somebody_elses_upload() -> None:
    taken = store()
    taken.offer(announcement("4, 2"), 0.0)
    taken.receive(part("1/2", b"ab"), 0.0)

    for user in ("bob", "=", "ANN"):
        with pytest.raises(RemoteProtocolError, match="nobody announced"):
            taken.receive(part("2/2", b"XX", user=user), 0.0)
        with pytest.raises(RemoteProtocolError, match="nobody announced"):
            taken.finish(part("2/2", b"XX", user=user))

    assert taken.finish(part("2/2", b"cd")) == b"abcd"


def test_an_upload_without_a_part_for_45_seconds_is_forgotten() -> None:
    taken = store()
    taken.offer(announcement("4, 2"), 0.0)
    taken.receive(part("1/2", b"ab"), 40.0)
    taken.expire(84.9)
    assert taken.finish(part("2/2", b"cd")) == b"abcd"

    taken.offer(announcement("4, 2"), 100.0)
    taken.expire(145.0)

    with pytest.raises(RemoteProtocolError, match="took too long"):
        taken.receive(part("1/2", b"ab"), 145.0)


def test_what_is_uploaded_at_once_has_a_bound() -> None:
    taken = store(uploads.MOST_BYTES)
    taken.offer(announcement(f"{uploads.MOST_BYTES - 1}, 9"), 0.0)
    taken.offer(announcement("1, 1", OTHER), 0.0)

    with pytest.raises(Busy, match="try again"):
        taken.offer(announcement("1, 1", "a" * 32), 0.0)

    taken.expire(45.0)
    taken.offer(announcement("1, 1", "a" * 32), 45.0)


def test_so_has_the_number_of_uploads() -> None:
    """Announcements of nothing cost their sender nothing."""
    taken = store()
    for number in range(uploads.MOST_OPEN):
        taken.offer(announcement("0, 1", f"{number:032}"), 0.0)

    with pytest.raises(Busy):
        taken.offer(announcement("0, 1"), 0.0)


def test_what_nobody_can_finish_any_more_is_given_up() -> None:
    taken = store()
    taken.offer(announcement("4, 2"), 0.0)
    assert len(taken) == 1

    taken.forget()

    assert len(taken) == 0
    with pytest.raises(RemoteProtocolError, match="nobody announced"):
        taken.receive(part("1/2", b"ab"), 0.0)
