"""Header blocks of a server's frames."""

import pytest

from mcpnatsd.protocol import frames, headers
from mcpnatsd.protocol.frames import Blocks, Frame

BLOCKS = Blocks("inst1")


def test_the_only_frame_of_an_exchange_is_no_kind_of_frame() -> None:
    """WIRE.md, "Frames": such a call is one message, and reads well in `nats req`."""
    assert headers.parse(BLOCKS.final(1)) == {"Mcp-Instance": "inst1"}


def test_the_block_of_an_only_frame_is_made_once() -> None:
    assert BLOCKS.final(1) is BLOCKS.final(1)


def test_a_final_frame_after_others_is_numbered() -> None:
    assert headers.parse(BLOCKS.final(4)) == {"Mcp-Instance": "inst1", "Mcp-Seq": "4"}


def test_every_frame_but_the_final_one_names_its_kind() -> None:
    assert headers.parse(BLOCKS.note(1)) == {
        "Mcp-Instance": "inst1",
        "Mcp-Seq": "1",
        "Mcp-Frame": "note",
    }
    assert headers.parse(BLOCKS.part(2, "3/7")) == {
        "Mcp-Instance": "inst1",
        "Mcp-Seq": "2",
        "Mcp-Frame": "part",
        "Mcp-Part": "3/7",
    }
    assert headers.parse(BLOCKS.running(5))["Mcp-Frame"] == "running"


def test_the_last_piece_of_a_frame_says_that_it_is_one() -> None:
    """A caller that lost an earlier piece must not take it for the whole answer."""
    assert headers.parse(BLOCKS.final(1, "1/1"))["Mcp-Part"] == "1/1"
    assert headers.parse(BLOCKS.note(7, "7/7"))["Mcp-Part"] == "7/7"


def test_a_pinning_instance_says_so_with_each_answer_until_it_leaves() -> None:
    blocks = Blocks("inst1")
    blocks.pin(yes=True)
    assert [headers.parse(blocks.final(seq))["Mcp-Pin"] for seq in (1, 2)] == ["1", "1"]

    blocks.pin(yes=False)
    assert "Mcp-Pin" not in headers.parse(blocks.final(1))


def test_a_plain_frame_is_not_numbered_and_may_say_more() -> None:
    block = BLOCKS.plain(Frame.UPLOAD, (headers.SUBJECT, "a.b"))

    assert headers.parse(block) == {
        "Mcp-Frame": "upload",
        "Mcp-Instance": "inst1",
        "Mcp-Subject": "a.b",
    }


def test_keep_alives_come_well_before_nats_ends_a_reply_path() -> None:
    """WIRE.md, "Frames": two NATS defaults end it after two minutes of silence."""
    assert frames.ALIVE_AFTER < 60
    assert frames.LOST_AFTER >= 3 * frames.ALIVE_AFTER
    assert frames.KEEP_FINALS > frames.LOST_AFTER


@pytest.mark.parametrize("text", ["a", "446b-_Z9", "x" * 64])
def test_an_instance_is_one_token(text: str) -> None:
    assert frames.is_instance(text)


@pytest.mark.parametrize("text", ["", "a.b", "*", ">", "a b", "x" * 65, "a\n", "\u0661", "a\r\n"])
def test_anything_else_is_no_instance(text: str) -> None:
    assert not frames.is_instance(text)
