"""Large messages in both directions, and the limits that say no."""

from pathlib import Path

import pytest

from tests.e2e.clients import BOTH_ERAS, ask, client, refusal, works
from tests.running import META, daemon, encoded, server, text_of

MIB = 1 << 20
THIN = {"thin": server("thin")}


@BOTH_ERAS
async def test_ten_megabytes_pass_either_way(tmp_path: Path, era: str) -> None:
    config = {"command": server("thin"), "limits": {"line_bytes": "16MiB"}}
    text = "0123456789" * 1_000_000
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        assert text_of(await one.call("big", era=era, bytes=10_000_000)) == "x" * 10_000_000
        assert text_of(await one.call("echo", era=era, text=text)) == text
        await works(one, era)


@BOTH_ERAS
async def test_an_argument_over_line_bytes_is_refused_and_the_limit_named(
    tmp_path: Path, era: str
) -> None:
    async with daemon(tmp_path, THIN), client(tmp_path, "thin", era) as one:
        for size in (12 * MIB, 8 * MIB):
            asked = ask(one, era, "echo", text="x" * size)
            await refusal(one, asked, -31003, f"limit of {8 * MIB} bytes", "line_bytes")
            await works(one, era)


@BOTH_ERAS
async def test_a_result_over_output_line_bytes_is_refused_and_the_limit_named(
    tmp_path: Path, era: str
) -> None:
    config = {"command": server("thin"), "limits": {"output_line_bytes": "1MiB"}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        for size in (MIB, 4 * MIB):
            asked = ask(one, era, "big", bytes=size)
            await refusal(one, asked, -31003, f"limit of {MIB}", "output_line_bytes")
            await works(one, era)


@BOTH_ERAS
async def test_nothing_is_special_around_the_size_of_a_nats_message(
    tmp_path: Path, era: str
) -> None:
    """NATS takes 1 MiB with headers: we cut a little earlier, whatever surrounds the text."""
    edges = [MIB, MIB - 4096, 128 * 1024, MIB - 4096 - 128 * 1024]
    offsets = [-4096, -512, -300, -256, -200, -150, -128, -100, -64, -1, 0, 1, 4096]
    async with daemon(tmp_path, THIN), client(tmp_path, "thin", era) as one:
        for edge in edges:
            for offset in offsets:
                size = edge + offset
                answer = text_of(await one.call("big", era=era, bytes=size))
                assert len(answer) == size
        for edge in edges[:2]:
            for offset in offsets:
                text = "y" * (edge + offset)
                assert text_of(await one.call("echo", era=era, text=text)) == text


@pytest.mark.parametrize("exact", [-1, 0, 1])
@BOTH_ERAS
async def test_the_limit_itself_is_allowed(tmp_path: Path, era: str, exact: int) -> None:
    config = {"command": server("thin"), "limits": {"line_bytes": "64KiB"}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        frame = len(line_of(era, ""))
        line = line_of(era, "z" * (65536 + exact - frame))
        assert len(line) == 65536 + exact
        one.write(line + b"\n")

        response = await one.answer("size")

        assert ("error" in response) == (exact > 0), response
        await works(one, era)


def line_of(era: str, text: str) -> bytes:
    """Return a call of `echo`, without its newline."""
    params = {
        "name": "echo",
        "arguments": {"text": text},
        **({"_meta": META} if era == "modern" else {}),
    }
    return encoded({"jsonrpc": "2.0", "id": "size", "method": "tools/call", "params": params})[:-1]
