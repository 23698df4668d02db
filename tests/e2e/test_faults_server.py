"""What servers do wrong, seen by their clients: told once, never hanging, and served again."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import (
    BOTH_ERAS,
    ask,
    client,
    pid_of_server,
    refusal,
    status_of,
    without,
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


async def test_a_session_whose_server_ends_after_each_handshake_is_opened_with_pauses(
    tmp_path: Path,
) -> None:
    starts = tmp_path / "starts"
    script = f"date +%s.%N >> {starts}; head -n 1 | {' '.join(server('thin'))}"
    async with (
        daemon(tmp_path, {"brief": ["/bin/sh", "-c", script]}),
        client(tmp_path, "brief", "legacy") as one,
    ):
        await refusal(one, ask(one, "legacy", "echo"), -31004)
        await until(lambda: len(starts.read_text().splitlines()) >= 4, 20.0)

    # Whoever waits for an answer may have had it opened at once, but only once.
    times = list(map(float, starts.read_text().split()))
    assert times[3] - times[2] >= 0.9


def curable(cure: Path) -> list[str]:
    """Return the command of a server that cannot start before a file is there."""
    script = f"test -e {cure} || {{ echo no luck >&2; exit 7; }}; exec {' '.join(server('thin'))}"
    return ["/bin/sh", "-c", script]


NO_LUCK = 'exited with status 7; its last words: "no luck"'


async def test_a_server_that_cannot_start_is_tried_again_after_growing_pauses(
    tmp_path: Path,
) -> None:
    cure = tmp_path / "cure"
    async with (
        daemon(tmp_path, {"sick": curable(cure)}) as running,
        client(tmp_path, "sick") as one,
    ):
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


@BOTH_ERAS
async def test_a_command_that_does_not_exist_is_named(tmp_path: Path, era: str) -> None:
    async with (
        daemon(tmp_path, {"typo": ["no-such-program", "--stdio"], **THIN}),
        await shim(tmp_path, "typo") as one,
        client(tmp_path, "thin", era) as other,
    ):
        for _ in range(2):
            if era == "modern":
                error = (await one.call("echo"))["error"]
            else:
                error = (await one.initialize())["error"]
            assert error["code"] == -31004
            assert "cannot start typo (no-such-program):" in error["message"]
        await works(other, era)


async def test_a_legacy_server_that_exits_on_anything_else_serves_clients_of_both_eras(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path, {"old": server("exits_before_initialize")}):
        async with await shim(tmp_path, "old") as one:
            # A client that probes: it must be told to fall back.
            assert (await one.answer(one.modern("server/discover")))["error"]["code"] == -31004
            assert "result" in await one.initialize()
            await works(one, "legacy")
        async with client(tmp_path, "old") as one:
            await works(one, "modern")  # it is not probed again
        async with client(tmp_path, "old", "legacy") as one:
            await works(one, "legacy")


# Silence.


@BOTH_ERAS
async def test_a_frozen_server_is_replaced_after_the_call_timeout(tmp_path: Path, era: str) -> None:
    config = {"command": server("thin"), "limits": {"call_timeout": 2}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        pid = await pid_of_server(one, era)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: state(pid) == "T")

        await refusal(one, ask(one, era, "echo"), -31008, "within 2 s", "call_timeout")

        await without(tmp_path, "thin", pid)
        await works(one, era)
        assert not state(pid)


@BOTH_ERAS
async def test_a_slow_call_times_out_alone(tmp_path: Path, era: str) -> None:
    config = {"command": server("thin"), "limits": {"call_timeout": 1}}
    async with daemon(tmp_path, {"thin": config}), client(tmp_path, "thin", era) as one:
        pid = await pid_of_server(one, era)
        slow = ask(one, era, "sleep", seconds=600)
        await works(one, era)

        await refusal(one, slow, -31008, "within 1 s")

        assert await pid_of_server(one, era) == pid
        await works(one, era)


@BOTH_ERAS
async def test_a_server_that_never_says_a_word_is_given_up(tmp_path: Path, era: str) -> None:
    config = {
        "command": server("never_reads"),
        "limits": {"start_timeout": 2, "stop_timeout": 0.2},
    }
    async with daemon(tmp_path, {"mute": config}) as running, await shim(tmp_path, "mute") as one:
        asked = one.modern("tools/list") if era == "modern" else one.legacy("initialize")
        await refusal(one, asked, -31008, "within 2 s of its start", "start_timeout")
        await until(lambda: not commands_of(running.pid, "never_reads"), 20.0)


async def test_a_server_that_stops_reading_refuses_what_would_not_fit_and_hurts_nobody_else(
    tmp_path: Path,
) -> None:
    async with (
        daemon(tmp_path, {"full": server("thin"), **THIN}),
        client(tmp_path, "full") as one,
        client(tmp_path, "thin") as other,
    ):
        pid = await pid_of_server(one, "modern")
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: state(pid) == "T")
        asked = [ask(one, "modern", "echo", text="x" * 8_000_000) for _ in range(5)]

        await refusal(one, asked.pop(), -31007, "does not read its stdin")
        await works(other, "modern")

        os.kill(pid, signal.SIGCONT)
        for id in asked:
            assert len(text_of(await one.answer(id))) == 8_000_000
        await works(one, "modern")


async def test_a_session_whose_server_stops_reading_waits_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async with (
        daemon(tmp_path, {"full": server("thin"), **THIN}),
        client(tmp_path, "full", "legacy") as one,
        client(tmp_path, "thin", "legacy") as other,
    ):
        pid = await pid_of_server(one, "legacy")
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: state(pid) == "T")
        asked = [ask(one, "legacy", "echo", text="x" * 2_000_000) for _ in range(20)]
        await works(other, "legacy")

        os.kill(pid, signal.SIGCONT)

        for id in asked:
            assert len(text_of(await one.answer(id))) == 2_000_000
        await works(one, "legacy")


# Noise.


@pytest.mark.parametrize(
    "name", ["flood_stdout", "flood_stderr", "banner", "answers_twice", "unknown_id"]
)
async def test_a_noisy_server_is_understood(tmp_path: Path, name: str) -> None:
    async with (
        daemon(tmp_path, {"noisy": server(name)}),
        client(tmp_path, "noisy") as modern,
        client(tmp_path, "noisy", "legacy") as legacy,
    ):
        for _ in range(3):
            await works(modern, "modern")
            await works(legacy, "legacy")
        assert modern.notes == legacy.notes == []


@pytest.mark.parametrize("speaks", ["modern", "legacy"])
@pytest.mark.parametrize("order", ["first", "last"])
@BOTH_ERAS
async def test_an_answer_that_nobody_can_read_is_told_to_its_caller_alone(
    tmp_path: Path, era: str, speaks: str, order: str
) -> None:
    command = server("unreadable", speaks, order)
    async with daemon(tmp_path, {"odd": command}), client(tmp_path, "odd", era) as one:
        waits = ask(one, era, "sleep", seconds=1)
        for tool in ("nan", "latin1", "lone", "deep"):
            await refusal(one, ask(one, era, tool), -31004, "odd", "nobody can read")
        if order == "first":
            await refusal(one, ask(one, era, "cut"), -31004, "nobody can read")
        assert text_of(await one.answer(waits)) == "slept"
        await works(one, era)


async def test_a_shared_legacy_process_tells_of_answers_that_nobody_can_read(
    tmp_path: Path,
) -> None:
    config = {"command": server("unreadable", "legacy"), "isolation": "shared"}
    async with (
        daemon(tmp_path, {"odd": config}),
        client(tmp_path, "odd", "legacy") as one,
        client(tmp_path, "odd", "legacy") as other,
    ):
        for each in (one, other):
            await refusal(each, ask(each, "legacy", "nan"), -31004, "nobody can read")
            await works(each, "legacy")


# What stays behind.


@BOTH_ERAS
async def test_what_holds_the_stdout_of_a_server_that_exited_holds_up_nobody(
    tmp_path: Path, nats_url: str, prefix: str, era: str
) -> None:
    nats = {"url": nats_url, "prefix": prefix}
    async with daemon(tmp_path, {"left": server("holds_stdout")}, nats=nats) as running:
        async with await shim(tmp_path, "left") as one:
            if era == "modern":
                assert "error" in await one.call("echo")
            else:
                assert text_of(await one.initialize()) == "last words"
                await refusal(one, ask(one, era, "echo"), -31004)
        await until(lambda: not commands_of(running.pid, "sleep"), 20.0)


@pytest.mark.parametrize("arguments", [(), ("bare",)], ids=["marked", "bare"])
@BOTH_ERAS
async def test_a_server_that_is_not_used_any_more_goes_with_its_whole_family(
    tmp_path: Path, era: str, arguments: tuple[str, ...]
) -> None:
    config = {
        "command": server("grandchildren", *arguments),
        "limits": {"idle_timeout": 1, "stop_timeout": 0.5},
    }
    async with daemon(tmp_path, {"big": config}):
        for _ in range(2):
            async with client(tmp_path, "big", era) as one:
                family = family_in(await one.call("family", era=era))
                assert all(map(state, family))
                if era == "modern":
                    await gone(*family)
            await gone(*family)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_that_was_started_outlives_the_daemon(tmp_path: Path, end: str) -> None:
    limits = {"stop_timeout": 0.5}
    servers: dict[str, Any] = {
        "big": {"command": server("grandchildren"), "limits": limits},
        "bare": {"command": server("grandchildren", "bare"), "limits": limits},
        "deaf": {"command": server("ignores_sigterm"), "limits": limits},
    }
    async with daemon(tmp_path, servers) as running:
        found = set()
        for name in servers:
            for era in ("modern", "legacy"):
                async with client(tmp_path, name, era) as one:
                    await works(one, era)
                    if name != "deaf":
                        found.update(family_in(await one.call("family", era=era)))
        found |= descendants(running.pid)
        if end == "stop":
            await running.stop()
        else:
            running.kill()
            await running.ended()

        await gone(*found)


def family_in(response: dict[str, Any]) -> list[int]:
    return list(map(int, text_of(response).split()))


def commands_of(pid: int, word: str) -> list[str]:
    """Return the command lines with that word among what a process started."""
    lines = []
    for one in descendants(pid):
        try:
            lines.append(Path(f"/proc/{one}/cmdline").read_text(encoding="utf-8"))
        except OSError:
            continue
    return [line for line in lines if word in line]
