"""What servers do wrong, seen by their clients: told once, never hanging, and served again."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import (
    BOTH_ERAS,
    ask,
    cancel,
    client,
    pid_of_server,
    refusal,
    status_of,
    works,
)
from tests.processes import descendants, gone, state
from tests.running import daemon, server, shim, text_of
from tests.waiting import until

THIN = {"thin": server("thin")}


# Ends.


@BOTH_ERAS
async def test_a_kill_in_the_midst_of_calls_is_told_to_each_with_the_last_words(
    tmp_path: Path, era: str
) -> None:
    async with daemon(tmp_path, THIN), client(tmp_path, "thin", era) as one:
        pid = await pid_of_server(one, era)
        await one.call("stderr", era=era, lines=3)
        asked = [ask(one, era, "sleep", seconds=600) for _ in range(3)]
        await status_of(tmp_path, "thin", in_flight=3)

        os.kill(pid, signal.SIGKILL)

        for id in asked:
            await refusal(one, id, -31004, "SIGKILL", "stderr line 2")
        assert await pid_of_server(one, era) != pid
        await works(one, era)
        assert one.notes == []


async def test_each_client_of_a_shared_process_is_told_of_its_end(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, THIN),
        client(tmp_path, "thin") as one,
        client(tmp_path, "thin") as other,
    ):
        pid = await pid_of_server(one, "modern")
        assert await pid_of_server(other, "modern") == pid
        asked = [ask(each, "modern", "sleep", seconds=600) for each in (one, other)]
        await status_of(tmp_path, "thin", in_flight=2)

        os.kill(pid, signal.SIGKILL)

        for each, id in zip((one, other), asked, strict=True):
            await refusal(each, id, -31004, "SIGKILL")
            await works(each, "modern")


@BOTH_ERAS
async def test_a_server_that_dies_of_a_call_is_there_for_the_next(tmp_path: Path, era: str) -> None:
    async with (
        daemon(tmp_path, {"frail": server("dies_on_call")}),
        client(tmp_path, "frail", era) as one,
    ):
        for _ in range(2):
            error = (await one.call("die", era=era))["error"]
            assert error["code"] == -31004
            assert "exited with status 3" in error["message"]
            assert "Traceback: it was | the tool | die" in error["message"]
            await works(one, era)


@BOTH_ERAS
async def test_a_server_that_ends_after_its_handshake_is_not_started_over_and_over(
    tmp_path: Path, era: str
) -> None:
    marks = tmp_path / "starts"
    script = f"echo start >> {marks}; head -n 1 | {' '.join(server('thin'))}"
    async with daemon(tmp_path, {"brief": ["/bin/sh", "-c", script]}) as running:
        async with client(tmp_path, "brief", era) as one:
            error = (await one.call("echo", era=era, text="x", bound=60))["error"]
            assert error["code"] == -31004
        assert len(marks.read_text().splitlines()) < 6
        await running.stop()


def curable(cure: Path) -> list[str]:
    """Return the command of a server that cannot start before a file is there."""
    script = f"test -e {cure} || {{ echo no luck >&2; exit 7; }}; exec {' '.join(server('thin'))}"
    return ["/bin/sh", "-c", script]


NO_LUCK = 'exited with status 7; its last words: "no luck"'


async def test_a_server_that_cannot_start_is_tried_again_after_growing_pauses(
    tmp_path: Path,
) -> None:
    cure = tmp_path / "cure"
    async with daemon(tmp_path, {"sick": curable(cure)}) as running, client(tmp_path, "sick") as one:
        for failures in (1, 2):
            await refusal(one, ask(one, "modern", "echo"), -31004, NO_LUCK)
            await running.said(f"failures={failures}")

        cure.touch()

        await works(one, "modern")


async def test_a_client_may_initialize_again_after_a_failed_start(tmp_path: Path) -> None:
    cure = tmp_path / "cure"
    async with daemon(tmp_path, {"sick": curable(cure)}), await shim(tmp_path, "sick") as one:
        for _ in range(2):
            error = (await one.initialize())["error"]
            assert error["code"] == -31004
            assert NO_LUCK in error["message"]

        cure.touch()

        assert "result" in await one.initialize()
        await works(one, "legacy")
