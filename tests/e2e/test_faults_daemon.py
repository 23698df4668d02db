"""A daemon or its server goes away: whoever waits is told, and can go on."""

import asyncio
import json
from pathlib import Path

from tests import running
from tests.faults import LATE, ask, bus, fault_of, serving
from tests.running import text_of
from tests.waiting import until


async def test_calls_go_on_when_a_killed_daemon_is_started_again(tmp_path: Path) -> None:
    async with bus(tmp_path) as own:
        async with serving(own) as first:
            modern, legacy = await own.modern(), await own.legacy()
            first.kill()
            await first.ended()
        async with serving(own):
            assert text_of(await modern.call("record", text="on", bound=LATE)) == "on"
            # The first call finds out that its session is gone.
            told = await legacy.call("record", era="legacy", text="lost", bound=LATE)
            if "error" in told:
                assert fault_of(told) == (-31005, "unknown")
            told = await legacy.call("record", era="legacy", text="on", bound=LATE)
            assert text_of(told) == "on"
            assert own.record.runs()["on"] == 2


async def test_the_processes_of_a_killed_daemon_are_gone_with_it(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own) as daemon:
        modern, legacy = await own.modern(), await own.legacy()
        pids = [
            text_of(await shim.call("pid", era=era))
            for shim, era in ((modern, "modern"), (legacy, "legacy"))
        ]
        assert len({*pids}) == 2

        daemon.kill()
        await daemon.ended()

        await until(lambda: not any(Path("/proc", pid).exists() for pid in pids), LATE)


async def test_each_fault_has_a_code_of_its_own(tmp_path: Path) -> None:
    assert (
        await asyncio.gather(*(faults(tmp_path / era, era) for era in ("modern", "legacy")))
        == [
            {
                "no responders": (-31001, None),
                "forbidden": (-31002, None),
                "too large": (-31003, None),
                "process died": (-31004, None),
                "broker away": (-31005, "not-executed"),
            }
        ]
        * 2
    )


async def faults(folder: Path, era: str) -> dict[str, tuple[int, str | None]]:
    """Return the code and outcome of each fault that one era's client can meet."""
    deny = "mcp.req.recorder.tools.call.sleep", "mcp.ses.recorder.*.*.tools.call.sleep"
    permissions = f"publish: {{ deny: {json.dumps(deny)} }}"
    user = f"user: u, password: p, permissions: {{ {permissions} }}"
    config = f"authorization {{ users: [ {{ {user} }} ] }}"
    async with bus(folder, config) as own:
        nats = {"url": own.natsd.url, "user": "u", "password": "p"}
        limits = {"line_bytes": "64KiB"}
        servers = {"recorder": {"command": own.record.command(), "limits": limits}}
        variables = {"MCPNATSD_USER": "u", "MCPNATSD_PASSWORD": "p"}
        async with running.daemon(folder / "a", servers, nats=nats):
            opened = own.modern if era == "modern" else own.legacy
            shim, absent = await opened(**variables), await own.shim("absent", **variables)

            async def code(tool: str, **arguments: object) -> tuple[int, str | None]:
                return fault_of(await shim.call(tool, era=era, bound=LATE, **arguments))

            found = {
                "forbidden": await code("sleep", seconds=1),
                "too large": await code("echo", text="x" * 100_000),
                "process died": await code("exit", status=3),
            }
            missing = await (absent.call("echo") if era == "modern" else absent.initialize())
            found["no responders"] = fault_of(missing)
            assert text_of(await shim.call("echo", era=era, text="y", bound=LATE)) == "y"
            own.natsd.kill()
            await shim.said("NATS is away")
            id = ask(shim, "echo", era=era, text="z")
            found["broker away"] = fault_of(await shim.answer(id, LATE))
            own.natsd.start()
    return found
