"""Each of the four SDKs at each of the four, in each era it knows and in each way that there is."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import peers
from tests.gateways import free_port
from tests.judge import table
from tests.judge.matrix import PLAYED, SERVED, SERVERS, WEB, Cell, is_python, mode_of, sdk_of
from tests.running import Running, command, connect_command, daemon, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")

AT_ONCE = 3
BOUND = 45.0

Play = Callable[[Cell], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def port() -> int:
    """Where the daemon listens for HTTP."""
    return free_port()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def bridge(
    nats_url: str, port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """One daemon with each server in each era it is held to."""
    folder = tmp_path_factory.mktemp("judge")
    servers = {
        name: {"command": peers.command_of(sdk_of(name)), "era": mode_of(name)} for name in SERVERS
    }
    endpoints: list[dict[str, str]] = [{"http": f"127.0.0.1:{port}"}]
    endpoints += [{"unix": str(folder / f"{name}.sock"), "server": name} for name in SERVERS]
    async with daemon(folder, servers, nats_url=nats_url, endpoints=endpoints) as running:
        yield running


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> list[Cell]:
    """The cells of this run."""
    items = [item for item in request.session.items if "play" in getattr(item, "fixturenames", ())]
    return [item.callspec.params["cell"] for item in items if hasattr(item, "callspec")]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def served(
    bridge: Running, nats_url: str, wanted: list[Cell]
) -> AsyncIterator[Mapping[str, str]]:
    """The Python servers on NATS by themselves, too: their names there."""
    names = {kind: f"served-{kind}" for kind in SERVED}
    async with AsyncExitStack() as stack:
        if any(cell.way == "transport" for cell in wanted):
            for kind, name in names.items():
                await stack.enter_async_context(serving(bridge.folder, nats_url, kind, name))
            await on_the_bus(bridge.folder, names.values())
        yield names


@asynccontextmanager
async def serving(folder: Path, url: str, kind: str, name: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *peers.serving_command(sdk_of(kind), name, url, SERVED[kind]),
        stderr=asyncio.subprocess.PIPE, env=environment(folder), limit=1 << 20,
    )  # fmt: skip
    running = Running(process, folder)
    try:
        yield
        assert await running.stop() == 0, running.log[-20:]
    finally:
        await running.close()


async def on_the_bus(folder: Path, names: Iterable[str]) -> None:
    """Wait until all of them can be seen."""
    async with asyncio.timeout(BOUND):
        while True:
            listed = await command(folder, "list")
            if all(name in listed for name in names):
                return


def road(
    cell: Cell, folder: Path, served: Mapping[str, str], nats_url: str, port: int
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the server that the client of a cell is told, and the options that go with it."""
    match cell.way:
        case "direct":
            return peers.command_of(sdk_of(cell.server)), ()
        case "unix":
            socket = str(folder / f"{cell.server}.sock")
            return [sys.executable, "-S", str(peers.HERE / "relay.py"), socket], ()
        case "shim":
            return connect_command(folder, cell.server), ()
        case "http" | "sse" | "ws":
            scheme = "ws" if cell.way == "ws" else "http"
            place = f"{scheme}://127.0.0.1:{port}/{WEB[cell.way]}/{cell.server}"
            return [place], ("--over", cell.way)
    name = served.get(cell.server, cell.server)
    if is_python(cell.client):
        return [name], ("--nats", nats_url)
    return connect_command(folder, name), ()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def play(
    bridge: Running, served: Mapping[str, str], nats_url: str, port: int, wanted: list[Cell]
) -> AsyncIterator[Play]:
    """Play the cells that were asked for, a few at once; a cell that is asked for again anew."""
    few = asyncio.Semaphore(AT_ONCE)

    async def played(cell: Cell) -> dict[str, Any]:
        server, options = road(cell, bridge.folder, served, nats_url, port)
        options = [*options, "--mode", mode_of(cell.client), "--big", str(cell.big)]
        async with few:
            return await asyncio.to_thread(
                peers.play, sdk_of(cell.client), server, *options, bound=BOUND
            )

    tasks = {cell: asyncio.create_task(played(cell)) for cell in wanted}
    yield lambda cell: tasks.pop(cell, None) or asyncio.create_task(played(cell))
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("cell", PLAYED, ids=str)
async def test_a_client_finds_what_the_server_offers(
    play: Play, record_property: Callable[[str, object], None], cell: Cell
) -> None:
    record_property("cell", (str(cell), "FAIL"))
    try:
        wrong = cell.wrong(await play(cell))
    except AssertionError as fault:
        record_property("differs", (str(cell), str(fault)))
        raise
    record_property("cell", (str(cell), table.verdict(wrong)))
    if wrong:
        record_property("differs", (str(cell), "; ".join(map(str, wrong.items()))))

    assert wrong == {}
