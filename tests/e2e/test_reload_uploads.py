"""A request that is still on its way in parts while its server changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests import running
from tests.natsd import NatsServer
from tests.reloads import BOUND, THIN, edited, has_pid
from tests.running import text_of
from tests.waiting import until

LARGE = 5_000_000


class Gate:
    """A way to NATS that lets so much through, and the rest once it is opened."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.passed = 0
        self.opened = asyncio.Event()
        self.most = LARGE // 2
        self._to = port

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._to)
        down = asyncio.create_task(_copy(back, writer))
        while data := await reader.read(65536):
            self.passed += len(data)
            there.write(data)
            if self.passed > self.most:
                await self.opened.wait()
        there.close()
        await down


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def gate(natsd: NatsServer) -> AsyncIterator[Gate]:
    found = Gate(natsd.port)
    listener = await asyncio.start_server(found.take, "127.0.0.1", 0)
    found.port = listener.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        found.opened.set()
        listener.close()


async def test_a_request_that_comes_in_parts_is_taken_to_its_end(tmp_path: Path) -> None:
    (folder := tmp_path / "d").mkdir()
    with NatsServer(tmp_path / "natsd") as natsd:
        nats = {"url": natsd.url}
        async with (
            edited(folder, servers={"a": {"command": THIN}}, nats=nats) as files,
            gate(natsd) as way,
        ):
            quick = await running.shim(folder, "a", "--nats", natsd.url)
            slow = await running.shim(folder, "a", "--nats", f"nats://127.0.0.1:{way.port}")
            before = text_of(await slow.call("pid", bound=BOUND))
            asked = slow.modern("tools/call", name="echo", arguments={"text": "x" * LARGE})
            await until(lambda: way.passed > way.most, BOUND)

            files.edit(servers={"a": {"command": THIN, "env": {"VALUE": "2"}}})
            await files.reloaded()
            await has_pid(quick, before)
            way.opened.set()

            assert text_of(await slow.answer(asked, BOUND)) == "x" * LARGE
            await slow.close()
            await quick.close()
