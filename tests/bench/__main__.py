"""Measures the program, its floor and others in one run: `python -m tests.bench`.

    python -m tests.bench [quick] [calls] [translation] [transport] [http] [starts]

Nothing is asserted. The rounds of all ways are interleaved, so that a busy machine does not favour
one of them; what counts is the ratios. A run that is not quick writes its sections to `RESULTS.md`.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import (
    install,
    memory,
    ratios,
    report,
    starts,
    translation,
    transport,
    web,
    web_memory,
)
from tests.bench.chain import Chain
from tests.bench.report import Section
from tests.bench.rounds import FULL, QUICK, Size, said

CHAIN = """\
Our way is client, `mcpnatsd connect`, nats-server, daemon, server; the others' is client, stdio
side, HTTP, server side, server."""
STARTS = "From the start of a program to the answer of the first request, and what it then keeps."
TRANSLATION = """\
From a client to a server, each of one era: the same raw client and the same thin server, one daemon
between them. A client that can be asked declares elicitation, so that a session has one of its
calls at a time. What is translated is set beside what is not: of the same client, and of the same
server. CPU is per call, with 64 in flight: of the shim, the daemon and nats-server."""
TRANSPORT = """\
One `MCPServer` with an `async` tool and one `Client`, both of the Python SDK 2.x on asyncio, in a
process each, with something else between them; over memory streams they share a process. HTTP is
the SDK's own, under uvicorn, which answers in plain JSON. CPU is per call, of the client with 16 in
flight, and of all processes with 64, nats-server among them."""
HTTP = """\
Raw HTTP/1.1 clients, each on a connection that is kept alive, one call at a time; there are 1, 16
and 64 of them. Our way is HTTP, the gateway, nats-server, daemon, stdio, the same thin server that
stands behind the bridges of others; the SDK's own server has nothing behind it. A legacy client
has a session of its own. CPU is per call, with 64 clients: of the daemon or bridge, nats-server and
the servers; and of the clients, which are one process."""
DAEMONS = """\
From the start of a daemon until its control socket takes connections, until it says READY as
systemd wants it, and until the last of its servers (all are started lazily) has answered a first
call of a client that waits on the bus; then its memory. A reload that adds a server, until its
verdict and until the new server has answered; one of an unchanged file; and SIGTERM until it is
gone. mcp-proxy starts every server before it listens, and its first answer is that to `initialize`;
the memory is its own, without the servers."""
RESULTS = Path(__file__).with_name("RESULTS.md")


def install_bridges() -> None:
    try:
        install.install()
    except (subprocess.CalledProcessError, OSError) as error:
        said(f"without the bridges of others: {error}")


def calls(size: Size, folder: Path) -> Iterator[Section]:
    install_bridges()
    with ExitStack() as stack:
        chain = Chain(size, folder, stack)
        found, started = chain.calls(), chain.starts()
        said("memory")
        kept = memory.measure(folder, chain.nats.url)
    rows = [*ratios.of_calls(found), *ratios.of_peers(found)]
    yield Section("Calls", CHAIN, report.calls(found.every), rows)
    rows = [*ratios.of_starts(started), *ratios.of_memory(kept)]
    yield Section("Starts and memory", STARTS, report.starts_and_memory(started, kept), rows)


def translated(size: Size, folder: Path) -> Iterator[Section]:
    ways = translation.measure(size, folder)
    tables = report.translations([way.measured for way in ways])
    yield Section("Translation", TRANSLATION, tables, [*translation.ratios(ways)])


def python(size: Size, folder: Path) -> Iterator[Section]:
    found = transport.measure(size, folder)
    rows = [row for era in found for row in transport.ratios(era)]
    tables = report.transports([way for era in found for way in era.every])
    yield Section("The Python transport", TRANSPORT, tables, rows)


def http(size: Size, folder: Path) -> Iterator[Section]:
    web.install_bridges()
    found = web.measure(size, folder)
    said("what HTTP clients keep")
    kept = web_memory.measure(folder / "memory")
    tables = f"{report.over_http(found.every)}\n\n{report.kept_by_http(kept)}"
    rows = [*web.ratios(found), *web_memory.ratios(kept)]
    yield Section("HTTP", HTTP, tables, rows)


def daemons(size: Size, folder: Path) -> Iterator[Section]:
    install_bridges()
    found = starts.measure(size, folder)
    rows = [*starts.ratios(found)]
    yield Section("Daemons: start, reload, stop", DAEMONS, report.daemons(found), rows)


SECTIONS: dict[str, Callable[[Size, Path], Iterator[Section]]] = {
    "calls": calls,
    "translation": translated,
    "transport": python,
    "http": http,
    "starts": daemons,
}


def main(size: Size, names: list[str]) -> None:
    load = os.getloadavg()[0]
    sections: list[Section] = []
    for name in names:
        with TemporaryDirectory(prefix="bench-") as folder:
            sections += SECTIONS[name](size, Path(folder))
    print(report.page(sections, load))
    if size is FULL:
        text = report.page(sections, load, RESULTS.read_text(encoding="utf-8"))
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    if unknown := {*wanted} - {*SECTIONS, "quick"}:
        sys.exit(f"bench: there is no {sorted(unknown)}: name some of {[*SECTIONS]}")
    main(
        QUICK if "quick" in wanted else FULL,
        [name for name in SECTIONS if name in wanted] or list(SECTIONS),
    )
