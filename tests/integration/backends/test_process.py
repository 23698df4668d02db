"""Server processes that behave, and those that do not."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from mcpnatsd.backends.reaper import Reaper
from mcpnatsd.errors import Busy, ProcessDied
from tests.integration.backends.owner import MIB, Owner, all_gone, is_gone, spec_of
from tests.waiting import until


@pytest.fixture
def owner() -> Owner:
    return Owner()


async def test_a_line_in_brings_a_line_out(reaper: Reaper, owner: Owner) -> None:
    await owner.start(reaper, spec_of("thin"))

    owner.call("echo", text="hello")

    assert await owner.answer() == "hello"


async def test_lines_of_one_pass_keep_their_order(reaper: Reaper, owner: Owner) -> None:
    await owner.start(reaper, spec_of("thin"))

    for number in range(1000):
        owner.call("echo", text=str(number))

    assert [await owner.answer() for _ in range(1000)] == [str(n) for n in range(1000)]


async def test_ten_megabytes_go_both_ways_in_one_line(reaper: Reaper, owner: Owner) -> None:
    await owner.start(reaper, spec_of("thin"))

    owner.call("echo", text="x" * 10 * MIB)

    assert owner.process.unwritten_bytes > 10 * MIB
    assert await owner.answer() == "x" * 10 * MIB
    assert owner.process.unwritten_bytes == 0


async def test_a_server_that_is_told_to_stop_exits_by_itself(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("thin"))
    owner.call("echo", text="last")

    end = await process.stop()

    assert (end.status, end.signal) == (0, None)
    assert owner.heard == ["line", "exit"]
    assert await process.stop() is end
    process.kill()
    assert owner.exits == [end]


async def test_nothing_can_be_written_after_the_end(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("thin"))
    await process.stop()

    with pytest.raises(ProcessDied, match="thin exited with status 0"):
        process.write(b"{}")


async def test_nothing_can_be_written_after_stop_began(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("thin"))
    stopping = asyncio.ensure_future(process.stop())
    await asyncio.sleep(0)

    with pytest.raises(ProcessDied, match="thin was told to stop"):
        process.write(b"{}")
    await stopping


async def test_a_server_that_ignores_everything_is_killed(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("ignores_sigterm", stop_timeout=0.05))
    await owner.message()

    end = await process.stop()

    assert (end.status, end.signal) == (None, "SIGKILL")
    assert end.sentence() == "was ended by SIGKILL"


@pytest.mark.parametrize("server", ["thin", "ignores_sigterm"])
async def test_a_stopped_process_can_be_ended(reaper: Reaper, owner: Owner, server: str) -> None:
    process = await owner.start(reaper, spec_of(server, stop_timeout=0.05))
    owner.call("pid")
    await owner.message()
    os.kill(process.pid, signal.SIGSTOP)

    await process.stop()

    assert is_gone(process.pid)


async def test_stopping_goes_on_when_nobody_waits_any_more(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("ignores_sigterm", stop_timeout=0.05))
    await owner.message()
    waiting = asyncio.ensure_future(process.stop())
    await asyncio.sleep(0)

    waiting.cancel()

    assert (await owner.end()).signal == "SIGKILL"


async def test_a_server_that_never_reads_makes_writing_fail(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("never_reads", pending_bytes=MIB))
    for _ in range(15):
        owner.call("echo", text="x" * 64 * 1024)

    with pytest.raises(Busy, match=r"never_reads does not read its stdin: \d+ bytes"):
        owner.call("echo", text="x" * 128 * 1024)

    assert 15 * 64 * 1024 < process.unwritten_bytes <= MIB
    process.kill()
    assert (await owner.end()).signal == "SIGKILL"


async def test_one_line_over_the_bound_is_taken_when_nothing_waits(
    reaper: Reaper, owner: Owner
) -> None:
    await owner.start(reaper, spec_of("thin", pending_bytes=10))

    owner.call("echo", text="longer than ten bytes")

    assert await owner.answer() == "longer than ten bytes"


async def test_a_line_over_the_limit_is_skipped_and_told(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("thin", output_line_bytes=MIB))
    owner.call("big", bytes=3 * MIB)
    owner.call("echo", text="in step again")

    assert await owner.answer() == "in step again"
    assert len(owner.oversize) == process.oversize_lines == 1
    assert owner.oversize[0] > MIB
    assert (await process.stop()).oversize


async def test_a_banner_is_noise(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("banner"))
    owner.call("echo", text="hello")

    assert await owner.answer() == "hello"
    assert owner.heard == ["line"]
    assert process.noise_lines == 3


async def test_a_flood_on_stdout_hides_no_answer(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("flood_stdout"))
    for number in range(10):
        owner.call("echo", text=str(number))

    assert [await owner.answer() for _ in range(10)] == [str(n) for n in range(10)]
    assert process.noise_lines == 20000


async def test_a_flood_on_stderr_stops_neither_the_server_nor_the_log(
    reaper: Reaper, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mcpnatsd.server")
    process = await owner.start(reaper, spec_of("flood_stderr"))
    owner.call("echo", text="hello")

    assert await owner.answer() == "hello"
    await process.stop()

    assert process.stderr_lines == 20000
    assert process.stderr_tail[-1].startswith("flood 19999 xxx")
    said = [record for record in caplog.records if record.name == "mcpnatsd.server"]
    assert 20 <= len(said) < 200
    assert {record.__dict__["server"] for record in said} == {"flood_stderr"}
    dropped = sum(record.__dict__.get("dropped", 0) for record in said)
    kept = sum("dropped" not in record.__dict__ for record in said)
    assert dropped + kept == 20000


async def test_a_server_that_dies_leaves_its_last_words(reaper: Reaper, owner: Owner) -> None:
    await owner.start(reaper, spec_of("dies_on_call"))

    owner.call("die")

    end = await owner.end()
    assert end.status == 3
    assert end.stderr_tail == ("Traceback: it was", "the tool", "die\\x07")
    assert end.sentence() == (
        'exited with status 3; its last words: "Traceback: it was | the tool | die\\x07"'
    )


async def test_a_server_gets_exactly_its_environment(
    reaper: Reaper, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    await owner.start(reaper, spec_of("thin", env={"KEY": "välue\udcff"}))

    environ = Path(f"/proc/{owner.process.pid}/environ").read_bytes().split(b"\0")

    names = [variable.partition(b"=")[0] for variable in environ if variable]
    assert sorted(names) == [b"KEY", b"MCPNATSD_PROCESS"]
    assert b"KEY=v\xc3\xa4lue\xff" in environ


async def test_a_server_runs_where_it_is_told(reaper: Reaper, owner: Owner, tmp_path: Path) -> None:
    process = await owner.start(reaper, spec_of("thin", cwd=str(tmp_path)))

    assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path


async def test_a_server_has_three_streams_and_no_ignored_signals(
    reaper: Reaper, owner: Owner
) -> None:
    process = await owner.start(reaper, spec_of("never_reads", command=("/bin/sleep", "100")))

    assert sorted(path.name for path in Path(f"/proc/{process.pid}/fd").iterdir()) == list("012")
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    [ignored] = [int(line.split()[1], 16) for line in status.splitlines() if "SigIgn" in line]
    # 32 and 33 are the C library's own: `make` has them ignored, and nobody can change that.
    assert ignored & ~(1 << 31 | 1 << 32) == 0
    assert os.getsid(process.pid) == process.pid


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"command": ("absent", "-x"), "env": {"PATH": "/"}},
            "No such file or directory: 'absent'; check its command, and the PATH that the daemon",
        ),
        (
            {"command": ("/etc/passwd",)},
            "cannot start thin (/etc/passwd): Permission denied: '/etc/passwd'; check its command",
        ),
        (
            {"command": ("/bin/cat",), "cwd": "/absent"},
            "cannot start thin (/bin/cat): No such file or directory: '/absent'; check its cwd",
        ),
        (
            {"command": ("/bin/echo", "x" * (4 * MIB))},
            "Argument list too long: '/bin/echo'; check its command",
        ),
    ],
)
async def test_a_server_that_cannot_start_says_why(
    reaper: Reaper, owner: Owner, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ProcessDied) as caught:
        await owner.start(reaper, spec_of("thin", **changes))

    assert text in str(caught.value)
    assert owner.heard == []


async def test_callers_of_a_server_that_is_not_found_do_not_learn_where_it_was_looked_for(
    reaper: Reaper, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of("thin", command=("absent",), env={"PATH": "/of/this/machine"})

    with pytest.raises(ProcessDied) as caught:
        await owner.start(reaper, spec)

    assert "/of/this/machine" not in str(caught.value)
    assert [vars(record).get("path") for record in caplog.records] == ["/of/this/machine"]


async def test_a_paused_server_is_heard_after_resume(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("banner"))
    process.pause()
    owner.call("big", bytes=4 * MIB)
    await until(lambda: process.unwritten_bytes == 0)
    assert owner.lines == []

    process.resume()
    process.resume()

    assert len(await owner.answer()) == 4 * MIB


async def test_what_a_paused_server_said_before_its_end_is_delivered(
    reaper: Reaper, owner: Owner
) -> None:
    process = await owner.start(
        reaper, spec_of("sh", command=("/bin/sh", "-c", "echo '{}'; printf '{\"half\":'; exit 7"))
    )
    process.pause()

    assert (await owner.end()).status == 7
    assert owner.lines == [b"{}", b'{"half":']
    assert owner.heard == ["line", "line", "exit"]


async def test_whoever_holds_stdout_open_does_not_delay_the_end(reaper: Reaper) -> None:
    """What a server left holds its stdout; while another server lives, nobody knows whose it is."""
    other, owner = Owner(), Owner()
    await other.start(reaper, spec_of("thin"))
    await owner.start(reaper, spec_of("holds_stdout"))
    owner.call("any")

    assert (await owner.end()).status == 0
    assert owner.heard == ["line", "line", "exit"]
    [left] = [json.loads(line)["params"]["pid"] for line in owner.lines if b"params" in line]
    await other.process.stop()
    await all_gone([left])


async def test_a_server_that_closes_its_stdout_is_stopped(reaper: Reaper, owner: Owner) -> None:
    command = ("/bin/sh", "-c", "exec >&-; exec sleep 1000")
    await owner.start(reaper, spec_of("sh", command=command, stop_timeout=0.05))

    assert (await owner.end()).signal == "SIGTERM"


async def test_a_server_that_closes_its_stdin_is_stopped(reaper: Reaper, owner: Owner) -> None:
    command = ("/bin/sh", "-c", "exec <&-; echo '{}'; exec sleep 1000")
    await owner.start(reaper, spec_of("sh", command=command, stop_timeout=0.05))
    await owner.message()

    owner.call("echo", text="nobody reads this")

    assert (await owner.end()).signal == "SIGTERM"


async def test_the_memory_of_the_whole_family_is_counted(reaper: Reaper, owner: Owner) -> None:
    process = await owner.start(reaper, spec_of("grandchildren"))
    await owner.message()

    statm = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()
    alone = int(statm[1]) * os.sysconf("SC_PAGE_SIZE")
    assert (process.rss_bytes() or 0) > alone
    await process.stop()
    assert process.rss_bytes() is None
