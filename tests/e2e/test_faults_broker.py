"""nats-server dies, comes back, changes its mind: nothing is lost, nothing runs twice."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import nkeys

from tests import running
from tests.connections import plain
from tests.faults import LATE, Bus, ask, bus, fault_of, seconds, serving
from tests.running import Shim, text_of

NOT_SENT = (-31005, "not-executed")


async def crash(bus: Bus, *witnesses: running.Running, outage: float = 1.0) -> None:
    """Kill nats-server, wait until all know, and let the outage take its time."""
    seen = [len(one.log) for one in witnesses]
    bus.natsd.kill()
    for one, since in zip(witnesses, seen, strict=True):
        await one.said("NATS is away", since=since)
    await asyncio.sleep(outage)
    await asyncio.to_thread(bus.natsd.start)


async def test_calls_in_flight_survive_a_crash_of_nats_and_run_once(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own) as daemon:
        shims = [await own.modern() for _ in range(4)]
        asked = {
            (shim, ask(shim, "record", text=f"call{number}", seconds=2.5)): f"call{number}"
            for number, shim in enumerate(shims * 5)
        }
        await own.record.has(20, "call")

        await crash(own, daemon, *shims)

        for (shim, id), text in asked.items():
            assert text_of(await shim.answer(id, LATE)) == text
        assert own.record.runs() == Counter(["first"] * 4 + list(asked.values()))


async def test_calls_that_end_during_the_outage_are_answered_after_it(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own) as daemon:
        shims = [await own.modern() for _ in range(2)]
        asked = [(one, ask(one, "record", text="short", seconds=0.5)) for one in shims]
        await own.record.has(2, "short")

        await crash(own, daemon, *shims, outage=2.0)

        for shim, id in asked:
            assert text_of(await shim.answer(id, LATE)) == "short"
        assert own.record.runs()["short"] == 2


async def test_a_session_streams_through_two_crashes_of_nats(tmp_path: Path) -> None:
    many, steps = 600, 200
    async with bus(tmp_path) as own, serving(own) as daemon:
        shim = await own.legacy()
        meta = {"progressToken": "ticking"}
        params = {"name": "tick", "arguments": {"steps": steps, "every": 0.01}, "_meta": meta}
        shim.legacy("tools/call", id="tick", **params)

        async def write() -> None:
            for number in range(many):
                shim.legacy("tools/call", id=number, name="record", arguments={"text": f"{number}"})
                await asyncio.sleep(0.004)

        async def fail() -> None:
            for mark in (100, 350):
                await own.record.has(mark)
                await crash(own, daemon, shim, outage=0.3)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(fail())
            read = group.create_task(read_stream(shim, {*range(many), "tick"}))

        assert [text for id, text in read.result() if id != "tick"] == list(map(str, range(many)))
        ticks = [note["params"]["progress"] for note in shim.notes]
        assert ticks == list(range(1, steps + 1))
        assert [text for text in own.record.calls() if text != "-"] == list(map(str, range(many)))


async def read_stream(shim: Shim, wanted: set[object]) -> list[tuple[object, str]]:
    """Read until all is answered; return the answers in the order they came in."""
    found = []
    while wanted:
        message = await shim.read(LATE)
        if "method" in message:
            shim.notes.append(message)
        else:
            wanted.remove(message["id"])
            found.append((message["id"], text_of(message)))
    return found


async def test_without_nats_requests_fail_legibly_and_pings_are_answered(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own):
        modern, legacy, fresh = await own.modern(), await own.legacy(), await own.shim()
        fresh.legacy("ping", id="ready")
        assert await fresh.answer("ready")
        shims = (modern, legacy, fresh)
        own.natsd.kill()
        for shim in shims:
            await shim.said("NATS is away")
        started = seconds()
        ask(modern, "record", id="call", text="never")
        modern.modern("server/discover", id="discover")
        ask(legacy, "record", era="legacy", id="call", text="never")
        legacy.legacy("ping", id="ping")
        fresh.legacy("ping", id="ping")
        fresh.legacy("initialize", id="open", protocolVersion="2025-11-25", capabilities={},
                     clientInfo={"name": "test", "version": "1"})  # fmt: skip

        first = {shim: await shim.read(LATE) for shim in shims}
        discovered = seconds() - started
        second = {shim: await shim.read(LATE) for shim in shims}
        failed = seconds() - started

        assert [first[shim]["id"] for shim in shims] == ["discover", "ping", "ping"]
        assert first[legacy]["result"] == first[fresh]["result"] == {}
        assert fault_of(first[modern]) == NOT_SENT
        assert [fault_of(second[shim]) for shim in shims] == [NOT_SENT] * 3
        assert 6 < discovered < 10 <= failed + 0.5 < LATE

        await asyncio.to_thread(own.natsd.start)
        assert text_of(await modern.call("record", text="after")) == "after"
        assert text_of(await legacy.call("record", era="legacy", text="after")) == "after"
        assert "result" in await fresh.initialize()
        assert own.record.runs() == Counter(first=1, after=2)
        for shim in shims:
            said = [what for line in shim.log for what in ("is away", "is back") if what in line]
            assert said == ["is away", "is back"], shim.log


def users(*words: str) -> str:
    """Return what lets a user in who has that password, or that nkey."""
    return f"authorization {{ users: [{{ {' '.join(words)} }}] }}"


async def test_a_password_that_is_changed_and_changed_back_is_waited_for(tmp_path: Path) -> None:
    one, two = (users(f'user: u, password: "{word}"') for word in ("one", "two"))
    async with bus(tmp_path, one) as own:
        nats = {"url": own.natsd.url, "user": "u", "password": "one"}
        async with serving(own, nats=nats) as daemon:
            shim = await own.modern(MCPNATSD_USER="u", MCPNATSD_PASSWORD="one")
            session = await own.legacy(MCPNATSD_USER="u", MCPNATSD_PASSWORD="one")

            await asyncio.to_thread(own.natsd.reload, two)
            for each in (daemon, shim, session):
                await each.said("NATS refuses us")
            await asyncio.to_thread(own.natsd.reload, one)
            call = await shim.call("record", text="back", bound=LATE)
            told = await session.call("record", era="legacy", text="back", bound=LATE)

            assert text_of(call) == text_of(told) == "back"
            for each in (daemon, shim, session):
                assert sum("NATS refuses us" in line for line in each.log) == 1


async def test_a_password_that_is_changed_is_found_where_the_file_refers_to(tmp_path: Path) -> None:
    one, two = (users(f'user: u, password: "{word}"') for word in ("one", "two"))
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    async with (
        bus(tmp_path, one) as own,
        serving(
            own, nats={"url": own.natsd.url, "user": "u", "password": f"${{file:{secret}}}"}
        ) as daemon,
    ):
        already = len(daemon.log)
        secret.write_text("two\n")
        await asyncio.to_thread(own.natsd.reload, two)
        await daemon.said("NATS is up", since=already)
        shim = await own.modern(MCPNATSD_USER="u", MCPNATSD_PASSWORD="two")
        call = await shim.call("record", text="on", bound=LATE)

        assert text_of(call) == "on"


async def test_an_nkey_that_is_changed_is_found_in_its_file(tmp_path: Path) -> None:
    pairs = [
        nkeys.from_seed(nkeys.encode_seed(word * 32, nkeys.PREFIX_BYTE_USER))
        for word in (b"1", b"2")
    ]
    seed = tmp_path / "seed"
    seed.write_bytes(pairs[0].seed)
    one, two = (users("nkey:", pair.public_key.decode()) for pair in pairs)
    async with (
        bus(tmp_path, one) as own,
        serving(own, nats={"url": own.natsd.url, "nkey": str(seed)}),
    ):
        shim = await own.modern("recorder", "--nkey", str(seed))
        session = await own.legacy("recorder", "--nkey", str(seed))

        seed.write_bytes(pairs[1].seed)
        await asyncio.to_thread(own.natsd.reload, two)
        call = await shim.call("record", text="on", bound=LATE)
        told = await session.call("record", era="legacy", text="on", bound=LATE)

        assert text_of(call) == text_of(told) == "on"


async def test_one_who_listens_to_everything_hides_nothing_from_us(tmp_path: Path) -> None:
    async with bus(tmp_path) as own, serving(own), plain(own.natsd.url) as spy:
        heard: list[str] = []

        async def listen(msg: object) -> None:
            heard.append(getattr(msg, "subject", ""))

        await spy.subscribe(">", cb=listen)
        await spy.flush()
        absent = [await own.shim("absent") for _ in range(2)]
        started = seconds()
        id = ask(absent[0], "echo", text="anybody?")
        opened = asyncio.create_task(absent[1].initialize())
        verb = running.command(
            own.folder, "call", "absent", "echo", "text=x", "--nats", own.natsd.url, code=69
        )
        verb_said = asyncio.create_task(verb)

        for response in (await absent[0].answer(id), await opened):
            assert fault_of(response) == (-31001, None)
            assert "nobody serves 'absent'" in response["error"]["message"]
        assert "absent" in await verb_said
        assert seconds() - started < 15

        modern, legacy = await own.modern(), await own.legacy()
        for number in range(3):
            assert text_of(await modern.call("record", text=f"m{number}")) == f"m{number}"
            told = await legacy.call("record", era="legacy", text=f"l{number}")
            assert text_of(told) == f"l{number}"
        calls = itertools.product("ml", range(3))
        assert own.record.runs() == Counter(["first", *(f"{era}{n}" for era, n in calls)])
        assert heard
